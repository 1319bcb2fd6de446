"""Fine-tunes a classifier: first its new last layer alone, then the upper levels of the backbone."""

from pathlib import Path

import numpy as np

from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.data.batches import steps_per_epoch
from visionkit.data.mix import CutMix, Mixup
from visionkit.data.transforms import classification_train
from visionkit.models import MODELS
from visionkit.recipes.shared import backbone_of, training_data
from visionkit.train.learning import Learning
from visionkit.train.recipe import Phase, Recipe
from visionkit.types import DataError
from visionkit.weights.load import load_weights

STEPS = 200  # in all when epochs is None: what small data sets need to stop improving


def classify(
    data: Path,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 224,
    batch_size: int = 32,
    lr: float = 1e-3,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
    head_share: float = 0.4,
    unfreeze: str = "C3",
    class_weights: bool = False,
    label_smoothing: float = 0.1,
    dropout: float = 0.2,
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> Recipe:
    """The backbone with its paper's head: first the new last layer alone, then the upper levels at a fifth of the rate.

    Args:
        data: class folders.
        epochs: by default enough for about 200 steps, 10 to 40.
        head_share: of the epochs in which only the last layer learns.
        unfreeze: levels up to this one stay frozen to the end; None frees all.
        class_weights: weigh the loss of a class by the inverse of how often it occurs.
        patience: epochs without a better score on val after which training stops.
        mixup, cutmix: the alpha of the one that is above 0; see `data.mix`.

    Raises:
        DataError: both are.
    """
    if mixup and cutmix:
        raise DataError(f"--mixup {mixup:g} and --cutmix {cutmix:g}: a batch is blended in one way; leave one out")
    train, val = training_data(data, "classify", seed)
    size, names = (image_size, image_size), train.class_names
    trunk = backbone_of(backbone)
    counts = np.bincount([record.label for record in train.records], minlength=len(names))
    weights = (len(train) / (len(names) * np.maximum(counts, 1))).tolist() if class_weights else None
    model = MODELS["classifier"](
        trunk,
        len(names),
        class_names=names,
        image_size=size,
        dropout=dropout,
        label_smoothing=label_smoothing,
        class_weights=weights,
    )
    load_weights(model, f"{backbone}_imagenet", verbose=False)
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(40, max(10, round(STEPS / steps)))
    first = min(epochs - 1, max(1, round(head_share * epochs)))
    print(f"{backbone} at {size[0]}x{size[1]}: {len(train)} training images, {epochs} epochs of {steps} steps")

    def only_the_last_layer():
        for layer in model.layers:
            layer.trainable = layer.name.startswith("logits")

    def upper_levels():
        for layer in model.layers:  # one by one: Keras passes over `model.trainable = True` where it is True already
            layer.trainable = True
        freeze_levels(trunk, unfreeze)

    def phase(count, peak, prepare):
        return Phase(count, learning.optimizer_for(model, count * steps, peak), prepare)

    phases = (first, 5 * lr, only_the_last_layer), (epochs - first, lr / 5, upper_levels)
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=classification_train(size),
        phases=[phase(*one) for one in phases if one[0]],  # of a single epoch there is the second alone
        batch_size=batch_size,
        evaluate_every=2,
        patience=patience,
        mix=Mixup(mixup) if mixup else CutMix(cutmix) if cutmix else None,
        seed=seed,
    )

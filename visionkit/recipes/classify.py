"""Fine-tunes a classifier: first its new last layer alone, then the upper levels of the backbone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.data.mix import CutMix, Mixup
from visionkit.data.transforms import classification_train
from visionkit.models.classifier import Classifier
from visionkit.models.task import Task
from visionkit.recipes.shared import (
    BACKBONE,
    augmented,
    backbone_of,
    is_published,
    peak_rate,
    refuse_with_start,
    start_model,
    training_data,
)
from visionkit.train.learning import Learning
from visionkit.train.options import From, Map
from visionkit.train.recipe import Phase, Recipe
from visionkit.types import DataError
from visionkit.weights.load import load_weights

STEPS = 200  # in all when epochs is None: what small data sets need to stop improving


def classify(
    data: Path,
    backbone: str = BACKBONE,
    epochs: int | None = None,
    image_size: int = 224,
    batch_size: int = 32,
    lr: float | None = None,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
    head_share: float = 0.4,
    unfreeze: str | None = "C3",
    class_weights: bool = False,
    label_smoothing: float = 0.1,
    dropout: float = 0.2,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    start: From = None,
    renamed: Map = (),
    learn_from: str | None = None,
    augment: dict[str, Any] | None = None,
) -> Recipe:
    """The backbone with its paper's head: first the new last layer alone, then the upper levels at a fifth of the rate.

    Args:
        data: class folders.
        backbone: the name of one with published ImageNet weights.
        epochs: by default enough for about 200 steps, 10 to 40.
        image_size: both sides of the network's input in pixels.
        batch_size: images per step.
        lr: the peak learning rate is 5 `lr` in the first phase and `lr` / 5 in the second. By default 1e-3, and 3e-4
            from a trained model.
        patience: training stops after this many epochs without a better score on val.
        learning: how the weights are updated.
        seed: of the split and the training.
        head_share: share of the epochs in which only the last layer learns.
        unfreeze: levels up to this one stay frozen to the end; None frees all in the second phase.
        class_weights: weigh the loss of a class by the inverse of how often it occurs.
        label_smoothing: share of the target that is spread over all classes.
        dropout: rate before the last layer.
        mixup, cutmix: the alpha of the one that is above 0; see `data.mix`.
        start, renamed: a trained classifier to begin with, in place of `backbone`; see `recipes.detect`.
        learn_from, augment: see `recipes.detect`.

    Raises:
        DataError: both `mixup` and `cutmix` are above 0; or see `training_data`.
    """
    mix = _mix(mixup, cutmix)
    train, val = training_data(data, "classify", seed, learn_from=learn_from)
    size = (image_size, image_size)
    options = {
        "dropout": dropout,
        "label_smoothing": label_smoothing,
        "class_weights": _class_weights(train) if class_weights else None,
    }
    model, name = _model(start, backbone, size, train, renamed, options)
    rate = peak_rate(lr, start)
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(40, max(10, round(STEPS / steps)))
    first = min(epochs - 1, max(1, round(head_share * epochs)))
    print(f"{name} at {size[0]}x{size[1]}: {len(train)} training images, {epochs} epochs of {steps} steps")

    def phase(count: int, peak: float, prepare: Callable[[], None]) -> Phase:
        return Phase(count, learning.optimizer_for(model, count * steps, peak), prepare)

    phases = []
    if first:  # a single epoch is all the second phase's
        phases.append(phase(first, 5 * rate, lambda: _free_last_layer(model)))
    phases.append(phase(epochs - first, rate / 5, lambda: _free_upper_levels(model, model.backbone, unfreeze)))
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=augmented(augment, size, model.resize) or classification_train(size),
        phases=phases,
        batch_size=batch_size,
        evaluate_every=2,
        patience=patience,
        mix=mix,
        seed=seed,
    )


def _model(
    start: str | None,
    backbone: str,
    size: tuple[int, int],
    train: Dataset,
    renamed: Sequence[str],
    options: dict[str, Any],
) -> tuple[Classifier, str]:
    """The classifier to train, with ImageNet's weights or those of `start`, and what it is called in messages."""
    if start is not None:
        refuse_with_start(start, backbone=(backbone, BACKBONE))
        return start_model(start, (Classifier,), None, train, size, renamed, **options), f"classifier from {start}"
    names = train.class_names
    model = Classifier(backbone_of(backbone), len(names), class_names=names, image_size=size, **options)
    if is_published(backbone):
        load_weights(model, f"{backbone}_imagenet", verbose=False)
    return model, backbone


def _mix(mixup: float, cutmix: float) -> Mixup | CutMix | None:
    if mixup and cutmix:
        raise DataError(f"--mixup {mixup:g} and --cutmix {cutmix:g}: a batch is blended in one way; leave one out")
    if mixup:
        return Mixup(mixup)
    return CutMix(cutmix) if cutmix else None


def _class_weights(train: Dataset) -> list[float]:
    """A weight for each class, 1 if all are equally frequent; one without images is treated as having one."""
    labels = [record.label for record in train.records if record.label is not None]
    counts = np.bincount(labels, minlength=len(train.class_names))
    return (len(train) / (len(train.class_names) * np.maximum(counts, 1))).tolist()


def _free_last_layer(model: Task) -> None:
    for layer in model.layers:
        layer.trainable = layer.name.startswith("logits")


def _free_upper_levels(model: Task, trunk: keras.Model, unfreeze: str | None) -> None:
    for layer in model.layers:  # one by one: Keras ignores `model.trainable = True` if it is True already
        layer.trainable = True
    freeze_levels(trunk, unfreeze)

"""Fine-tunes a detector: an SSD or a Faster R-CNN on a pretrained backbone; Mask R-CNN shares `detector`."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.backbones.blocks import freeze_batch_norm
from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.data.transforms import detection_train
from visionkit.models import MODELS
from visionkit.recipes.shared import backbone_of, network_size, training_data
from visionkit.train.learning import Learning
from visionkit.train.recipe import Phase, Recipe
from visionkit.weights.cards import CARDS
from visionkit.weights.load import load_weights

IMAGES = 9600  # seen in all when epochs is None: what small data sets need to stop improving
# A two-stage detector for images of some 400 pixels, half of the papers' size: levels from stride 8 on, anchors of 32
# to 256 pixels, and fewer samples than the papers, which draw theirs from 2,000 proposals.
SMALL = {
    "levels": ("C3", "C4", "C5"),
    "pyramid_channels": 128,
    "anchor_scales": (4.0,),
    "rpn_samples": 128,
    "roi_samples": 64,
    "train_proposals": 300,
}
MASKS = 100  # objects per image whose masks are learned; an image of 1,000 would make every batch of 8 a gigabyte


def detect(
    data: Path,
    model: Literal["ssd", "faster_rcnn"] = "ssd",
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int | None = None,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """A detector with a feature pyramid on a pretrained backbone.

    Args:
        data: a folder in any layout that `open_dataset` recognises.
        model: SSD, or Faster R-CNN, which takes longer and usually finds small objects better.
        backbone: the name of one with published ImageNet weights.
        epochs: by default enough to see about 9,600 images, 10 to 60.
        image_size: the long side of the network's input; the short side follows the images' usual aspect ratio.
        batch_size: by default 16 for SSD and 8 for Faster R-CNN.
        lr: the peak learning rate for 16 images per step; it is scaled in proportion to the images per step.
        freeze: the backbone's levels up to this one keep their pretrained weights; None trains all.
        patience: training stops after this many epochs without a better score on val.
        learning: how the weights are updated; without a `clip` of its own, gradients are clipped at 10.
        seed: of the split and the training.

    Raises:
        DataError: see `training_data`, or there is no such backbone.
    """
    train, val = training_data(data, "detect", seed)
    return detector(
        model,
        train,
        val,
        backbone=backbone,
        epochs=epochs,
        image_size=image_size,
        batch_size=batch_size,
        lr=lr,
        freeze=freeze,
        patience=patience,
        learning=learning,
        seed=seed,
    )


def detector(
    model: str,
    train: Dataset,
    val: Dataset | None,
    *,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int | None = None,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """What `detect` and `instance` do once the data are split; the other arguments are those of `detect`.

    Args:
        model: "ssd", "faster_rcnn" or "mask_rcnn".
        train, val: with boxes, and masks for Mask R-CNN; the last epoch is kept if there is no `val`.
    """
    size = network_size(train, image_size)
    trunk = backbone_of(backbone)
    load_weights(trunk, f"{backbone}_imagenet", verbose=False)
    freeze_levels(trunk, freeze)
    if model != "ssd":
        freeze_batch_norm(trunk)  # a step has too few images for statistics of its own
    options = {"ssd": {}, "faster_rcnn": SMALL, "mask_rcnn": SMALL | {"mask_channels": 128}}[model]
    network = MODELS[model](
        trunk,
        len(train.class_names),
        image_size=size,
        class_names=train.class_names,
        licence=CARDS[f"{backbone}_imagenet"].licence,
        **options,
    )
    if batch_size is None:
        batch_size = 16 if model == "ssd" else 8
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(60, max(10, round(IMAGES / (steps * batch_size))))
    print(f"{model} on {backbone} at {size[0]}x{size[1]}: {len(train)} images, {epochs} epochs of {steps} steps")
    if not learning.clip:
        learning = replace(learning, clip=10.0)
    rate = lr * batch_size * learning.accumulate / 16
    return Recipe(
        model=network,
        train=train,
        val=val,
        transform=detection_train(size, max_expand=2.0),
        phases=[Phase(epochs, learning.optimizer_for(network, epochs * steps, rate))],
        batch_size=batch_size,
        patience=patience,
        max_objects=MASKS if model == "mask_rcnn" else None,
        seed=seed,
    )

"""Fine-tunes a Mask R-CNN: boxes and the outline of each object."""

from pathlib import Path
from typing import Any

from visionkit.recipes.detect import detector
from visionkit.recipes.shared import BACKBONE, training_data
from visionkit.train.learning import Learning
from visionkit.train.options import From, Map
from visionkit.train.recipe import Recipe


def instance(
    data: Path,
    backbone: str = BACKBONE,
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int = 8,
    lr: float | None = None,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    start: From = None,
    renamed: Map = (),
    learn_from: str | None = None,
    augment: dict[str, Any] | None = None,
    seed: int = 0,
) -> Recipe:
    """A Mask R-CNN with a feature pyramid on a pretrained backbone; the arguments are those of `detect`.

    Args:
        data: a folder of images with boxes and masks, in any layout that `open_dataset` recognises.
    """
    train, val = training_data(data, "instance", seed, learn_from=learn_from)
    return detector(
        "mask_rcnn",
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
        start=start,
        renamed=renamed,
        augment=augment,
        seed=seed,
    )

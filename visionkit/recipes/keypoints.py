"""Fine-tunes a Keypoint R-CNN: boxes and the keypoints of each object."""

from pathlib import Path
from typing import Any

from visionkit.recipes.detect import detector
from visionkit.recipes.shared import BACKBONE, check_model, training_data
from visionkit.train.learning import Learning
from visionkit.train.options import From, Map
from visionkit.train.recipe import Recipe


def keypoints(
    data: Path,
    model: str = "keypoint_rcnn",
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
    """A Keypoint R-CNN with a feature pyramid on a pretrained backbone; the arguments are those of `detect`.

    Args:
        data: a folder of images with boxes and keypoints: COCO JSON.
        model: the name of the model in `MODELS`.
    """
    check_model(model, "keypoints")
    train, val = training_data(data, "keypoints", seed, learn_from=learn_from)
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
        start=start,
        renamed=renamed,
        augment=augment,
        seed=seed,
    )

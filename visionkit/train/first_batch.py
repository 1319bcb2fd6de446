"""The first batch of a training, checked and drawn as the network sees it: where people find wrong labels."""

from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.batches import TASKS, batch_ids, check_batch
from visionkit.predict.draw import draw_samples_grid
from visionkit.resizing import to_channels
from visionkit.train.recipe import Recipe
from visionkit.types import PADDING, Sample, check_sample


def check_and_draw(
    batch: tuple[np.ndarray, dict[str, np.ndarray]], recipe: Recipe, file: Path, epoch: int = 0, step: int = 0
) -> None:
    """Checks a batch of `recipe` and draws it, with its boxes, maps or labels and the names of its files, into `file`.

    Nothing is drawn of a batch whose labels were blended by `recipe.mix`: shares of classes have no picture.

    Args:
        batch: (images, targets) as `batches` gives them.
        file: .jpg or .png.
        epoch, step: of the batch, both from 0.

    Raises:
        DataError: the batch breaks a convention of `visionkit.types`.
    """
    images, targets = batch
    names = _names(recipe, epoch, step)
    if "boxes" in targets:
        check_batch(images, targets, recipe.model.num_classes)
        drawn: Any = (images, targets["boxes"], targets["labels"])
        if "keypoints" in targets:
            drawn = _with_keypoints(images, targets, recipe)
        draw_samples_grid(drawn, recipe.train.class_names, file, captions=names)
        return
    image_size = images.shape[1:3]
    if not targets:  # photos for a style network
        samples = [Sample(id=str(i), image=image, image_size=image_size) for i, image in enumerate(images)]
        draw_samples_grid(samples, [], file, captions=names)
        return
    field = TASKS[recipe.model.task][0]  # "label" or "segmentation"
    if targets[field].dtype != np.int32:
        return
    values = targets[field].tolist() if field == "label" else targets[field]
    samples = [
        Sample(id=str(i), image=image, image_size=image_size, **{field: value})
        for i, (image, value) in enumerate(zip(to_channels(images, 3), values, strict=True))
    ]
    for sample in samples:
        check_sample(sample, recipe.model.num_classes)
    draw_samples_grid(samples, recipe.train.class_names, file, captions=names)


def _with_keypoints(images: np.ndarray, targets: dict[str, np.ndarray], recipe: Recipe) -> list[Sample]:
    """The rows of a batch as samples, so that their keypoints are drawn too."""
    samples = []
    for i, image in enumerate(images):
        real = targets["labels"][i] != PADDING
        objects = {name: targets[name][i][real] for name in ("boxes", "labels", "keypoints")}
        skeleton = recipe.train.records[0].skeleton
        samples.append(Sample(id=str(i), image=image, image_size=image.shape[:2], skeleton=skeleton, **objects))
    return samples


def _names(recipe: Recipe, epoch: int, step: int) -> list[str]:
    """The names of the files in a batch, or what the samples are called that come from no file."""
    files = {record.id: record.file for record in recipe.train.records}
    ids = batch_ids(recipe.train, recipe.batch_size, recipe.seed, epoch, step)
    return [id if (file := files[id]) is None else file.name for id in ids]

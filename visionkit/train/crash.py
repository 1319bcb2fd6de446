"""What a run leaves behind when its loss is no longer a number: the batch at which it happened, for you to look at."""

from collections.abc import Callable
from pathlib import Path

from visionkit.data.batches import batch_ids
from visionkit.files import write_json
from visionkit.train.recipe import Recipe
from visionkit.types import DataError, Sample


def write_crash(
    folder: Path, recipe: Recipe, epoch: int, step: int, reason: str, knobs: dict, draw: Callable[[Path], None]
) -> None:
    """Writes crash.json and batch.jpg into `folder`.

    crash.json holds the reason, the batch's samples with their files, boxes and labels, the knobs, and the command that
    reproduces the crash.

    Args:
        epoch, step: of the batch, both from 0.
        draw: checks the batch as it was trained on and draws it into a file; a `DataError` of it is noted.
    """
    folder.mkdir(exist_ok=True)
    by_id = {record.id: record for record in recipe.train.records}
    samples = [by_id[id] for id in batch_ids(recipe.train, recipe.batch_size, recipe.seed, epoch, step)]
    crash = {
        "reason": reason,
        "epoch": epoch + 1,
        "step": step + 1,
        "reproduce": f"visionkit train --resume {folder.parent}",
        "knobs": knobs,
        "samples": [_annotations(sample, recipe.train.class_names) for sample in samples],
    }
    try:
        draw(folder / "batch.jpg")
    except DataError as error:
        crash["batch"] = str(error)
    write_json(folder / "crash.json", crash)


def _annotations(sample: Sample, class_names: list[str]) -> dict:
    """A sample as its data set annotates it, before augmentation."""
    annotations: dict = {"id": sample.id, "file": sample.file and str(sample.file)}
    if sample.boxes is not None and sample.labels is not None:
        annotations["boxes"] = sample.boxes.tolist()
        annotations["labels"] = [class_names[k] for k in sample.labels]
    if sample.label is not None:
        annotations["label"] = class_names[sample.label]
    return annotations

"""What is left behind when the loss is no longer a number: the batch at which it happened, for people to look at."""

from collections.abc import Callable
from pathlib import Path

from visionkit.data.batches import batch_ids
from visionkit.files import write_json
from visionkit.train.recipe import Recipe
from visionkit.types import DataError


def write_crash(
    folder: Path, plan: Recipe, epoch: int, step: int, reason: str, knobs: dict, draw: Callable[[Path], None]
) -> None:
    """Writes crash.json (the reason, the batch's samples with their files, boxes and labels, the knobs, and the command
    that leads there again) and batch.jpg into `folder`.

    Args:
        epoch, step: of the batch, both from 0.
        draw: checks the batch as it was trained on and draws it into a file; what it finds wrong is noted.
    """
    folder.mkdir(exist_ok=True)
    by_id = {record.id: record for record in plan.train.records}
    samples = [by_id[id] for id in batch_ids(plan.train, plan.batch_size, plan.seed, epoch, step)]
    told = {
        "reason": reason,
        "epoch": epoch + 1,
        "step": step + 1,
        "reproduce": f"visionkit train --resume {folder.parent}",
        "knobs": knobs,
        "samples": [_said(sample, plan.train.class_names) for sample in samples],
    }
    try:
        draw(folder / "batch.jpg")
    except DataError as error:
        told["batch"] = str(error)
    write_json(folder / "crash.json", told)


def _said(sample, class_names):
    """What the data set says of a sample, before augmentation."""
    said = {"id": sample.id, "file": sample.file and str(sample.file)}
    if sample.boxes is not None:
        said |= {"boxes": sample.boxes.tolist(), "labels": [class_names[k] for k in sample.labels]}
    if sample.label is not None:
        said["label"] = class_names[sample.label]
    return said

"""Writes the chosen photos for a labelling program, with what the model says of them as a first draft."""

from pathlib import Path

import numpy as np

from visionkit.data.conversion import Mark
from visionkit.data.convert import write_parts
from visionkit.data.dataset import Dataset
from visionkit.image_files import absolute
from visionkit.next_photos.find import Selection
from visionkit.types import DataError, Detections, Sample


def write_tasks(selection: Selection, class_names: list[str], to: str, out: Path) -> str:
    """Writes the chosen photos into the new folder `out`, in their order, with their detections to be corrected.

    Args:
        selection: of a detector.
        class_names: of the model.
        to: "cvat" or "labelstudio".
        out: the folder, which must be new or empty; see `convert.check_new`.

    Returns:
        A line that says what was written.

    Raises:
        DataError: the model is no detector, or see `write_parts`.
    """
    records, marks = [], {}
    for choice in selection.chosen:
        said = choice.prediction
        if not isinstance(said, Detections):
            raise DataError("--to writes boxes; the page and --json list the photos")
        nothing = {"boxes": np.empty((0, 4), np.float32), "labels": np.empty(0, np.int32)}
        records.append(Sample(id=str(choice.file), file=choice.file, image_size=said.image_size, **nothing))
        marks[absolute(choice.file)] = [
            Mark(text=f"{name} ({score:.2f})", score=float(score), label=int(label), box=box)
            for name, score, label, box in zip(said.names, said.scores, said.labels, said.boxes, strict=True)
        ]
    job = write_parts({"": Dataset(records, class_names)}, to, out, marks=marks, unlabelled=True)
    drafts = sum(map(len, marks.values()))
    return f"{out}: {len(records)} photos for {to} with {drafts} boxes to be corrected, {job.places}"

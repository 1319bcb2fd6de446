"""Writes the data set for a labelling program, with the suspects marked in it."""

from collections.abc import Sequence
from pathlib import Path

from visionkit.data.conversion import Mark, file_of
from visionkit.data.convert import convert
from visionkit.image_files import absolute
from visionkit.suspects.predictions import Predictions
from visionkit.suspects.suspect import Suspect
from visionkit.types import DataError

SHOWN_BY = ("cvat", "labelstudio")


def write_tasks(data: Path, to: str, out: Path, predictions: Predictions, suspects: Sequence[Suspect]) -> list[str]:
    """Writes all of `data` to the new folder `out`, with its labels as they are; what comes back is read like any data.

    CVAT and Label Studio show the suspects, with what the model proposes; the other formats have no place for it.

    Args:
        data: the data set.
        to: a key of `convert.WRITERS`.
        out: the folder, which must be new or empty.
        predictions: from which the suspects were found.
        suspects: the most suspicious first.

    Returns:
        Lines that say what was written.

    Raises:
        DataError: these are classes of whole images; or see `convert`.
    """
    if predictions.of_classes or predictions.of_pixels:
        raise DataError("--to writes boxes; the page and --json list images and regions whose class is suspicious")
    names, marks = predictions.dataset.class_names, {}
    for suspect in suspects:
        mark = Mark(
            text=suspect.in_words(names),
            score=suspect.score,
            row=suspect.row,
            label=suspect.proposed_label,
            box=suspect.proposed_box,
        )
        file = absolute(file_of(predictions.dataset.records[suspect.image]))
        marks.setdefault(file, []).append(mark)
    lines = convert(data, to, out, "detect", marks=marks if to in SHOWN_BY else None)
    if to not in SHOWN_BY:
        lines.append(f"{to} has no place for suspects: --json lists them; cvat and labelstudio show them")
    return lines

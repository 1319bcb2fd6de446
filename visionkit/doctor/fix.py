"""What can be put right without a person: written as new annotations; no image and no old annotation is touched."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from visionkit.data.writers import write_annotations
from visionkit.doctor.annotation_checks import repeated_boxes
from visionkit.doctor.examine import Report
from visionkit.types import DataError, Sample


def write_fixed(report: Report, root: Path, out: Path) -> str:
    """Writes `out/annotations/instances_SPLIT.json` (COCO) and `out/images`, a link to `root`: a data set of its own.

    Boxes without area or outside are gone, others are cut to their image, a box that is there twice is there once,
    images that cannot be read are left out, and so is an image of which another split, later in the order train, val,
    test, holds the same. Classes, crowds and masks stay.

    Args:
        report: of `examine` on `root`.
        out: the new folder.

    Returns:
        One line that says what was left out.

    Raises:
        DataError: the data is not for detection, some of its masks would be lost, or `out` is not new or empty.
    """
    if report.what != "objects":
        raise DataError(f"--fix writes boxes; {report.title} is for {report.task}")
    if lost := report.by_kind().get("missing mask"):
        raise DataError(f"{lost[0].message}, so --fix would lose the masks that are there")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: the folder for the fixed annotations must be new or empty")
    boxes = images = 0
    for split, part in report.parts.items():
        ids = [i for i, record in enumerate(part.records) if (split, record.id) not in report.leaked]
        images += len(part) - len(ids)
        with_masks = bool(ids) and part[ids[0]].masks is not None
        twice = {i: repeated_boxes(part.records[i]) for i in ids}
        boxes += sum(map(len, twice.values()))
        fixed = (_without(part[i] if with_masks else part.records[i], twice[i]) for i in ids)  # masks one by one
        file = out / "annotations" / f"instances_{split}.json"
        write_annotations(fixed, part.class_names, file, lambda s: s.file.relative_to(root).as_posix())
    (out / "images").symlink_to(root.resolve(), target_is_directory=True)
    return f"{out}: annotations without {boxes} repeated boxes and {images} images that are in another split too"


def _without(sample: Sample, rows: list[int]) -> Sample:
    fields = {
        name: np.delete(value, rows, axis=0)
        for name in ("boxes", "labels", "ignore", "masks")
        if (value := getattr(sample, name)) is not None
    }
    return replace(sample, image=None, **fields)

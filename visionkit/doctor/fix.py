"""Repairs what needs no human decision: writes new annotations, and changes neither images nor old annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.writers import write_annotations
from visionkit.doctor.annotation_checks import repeated_boxes
from visionkit.doctor.diagnosis import Diagnosis
from visionkit.types import DataError, Sample

# Kinds of findings whose images or boxes the readers leave out.
UNREAD = ("broken image", "missing image", "broken annotation", "zero area", "outside the image")


def write_fixed(diagnosis: Diagnosis, root: Path, out: Path) -> str:
    """Writes `out/annotations/instances_SPLIT.json` (COCO) and `out/images`, a link to `root`: a data set of its own.

    Boxes without area or outside the image are dropped, others are clipped to their image, repeated boxes are written
    once, and images that cannot be read are left out. An image that occurs in several splits stays only in the last of
    them, in the order train, val, test. Classes, crowds and masks are kept.

    Args:
        diagnosis: of `examine` on `root`.
        root: the data set.
        out: the new folder.

    Returns:
        One line about what was left out.

    Raises:
        DataError: the data is not for detection, some of its masks would be lost, or `out` is not new or empty.
    """
    if diagnosis.what != "objects":
        raise DataError(f"--fix writes boxes; {diagnosis.title} is for {diagnosis.task}")
    if lost := diagnosis.by_kind().get("missing mask"):
        raise DataError(f"{lost[0].message}, so --fix would lose the masks that there are")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: the folder for the fixed annotations must be new or empty")

    def file_name(sample: Sample) -> str:
        assert sample.file is not None
        return sample.file.relative_to(root).as_posix()

    dropped_boxes = dropped_images = 0
    for split, part in diagnosis.parts.items():
        ids = [i for i, record in enumerate(part.records) if (split, record.id) not in diagnosis.leaked]
        dropped_images += len(part) - len(ids)
        repeated = {i: repeated_boxes(part.records[i]) for i in ids}
        dropped_boxes += sum(map(len, repeated.values()))
        with_masks = bool(ids) and part[ids[0]].masks is not None
        samples = (part[i] if with_masks else part.records[i] for i in ids)  # masks are drawn one at a time
        fixed = (_without(sample, repeated[i]) for i, sample in zip(ids, samples, strict=True))
        file = out / "annotations" / f"instances_{split}.json"
        write_annotations(fixed, part.class_names, file, file_name)
    (out / "images").symlink_to(root.resolve(), target_is_directory=True)
    dropped = f"{dropped_boxes} repeated boxes and {dropped_images} images that are in another split too were left out"
    return f"{out}: annotations written; {dropped}{_unread(diagnosis.by_kind())}"


def _unread(findings: Mapping[str, Sequence[Any]]) -> str:
    """The end of a sentence on what the readers had left out already, "" if nothing."""
    counts = [f"{kind} {len(findings[kind])}" for kind in UNREAD if kind in findings]
    text = f"; left out as well: {', '.join(counts)}" if counts else ""
    if "missing image" in findings and findings.keys() & {"no label file", "few label files"}:
        text += "; a label without an image may be that of an image without one, which now counts as without objects"
    return text


def _without(sample: Sample, rows: list[int]) -> Sample:
    """The sample without the objects in these rows, and without its image."""
    fields = {
        name: np.delete(value, rows, axis=0)
        for name in ("boxes", "labels", "ignore", "areas", "masks", "keypoints")
        if (value := getattr(sample, name)) is not None
    }
    return replace(sample, image=None, **fields)

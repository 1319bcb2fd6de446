"""Writes a data set of boxes, whatever its format, as COCO, Pascal VOC or YOLO."""

import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import yaml

from visionkit import npboxes
from visionkit.data.annotation_tools import write_cvat, write_label_studio
from visionkit.data.box_formats import check_objects
from visionkit.data.conversion import Job, Mark, file_of, is_utf8
from visionkit.data.dataset import Dataset
from visionkit.data.files import list_images
from visionkit.data.outlines import as_polygon
from visionkit.data.recognise import describe, how_read, open_dataset, splits, tasks_of
from visionkit.data.repair import Repairs
from visionkit.data.segments import segments_of
from visionkit.data.writers import write_annotations
from visionkit.files import temporary_name, whole_text
from visionkit.image_files import absolute
from visionkit.types import DataError, Sample, objects_of, plain

# Stems that readers of YOLO take for lists instead of labels.
_RESERVED = ("classes", "train", "val", "valid", "test")
_UTF8 = ("cvat", "labelstudio")  # formats whose programs take no other names


def convert(
    root: Path,
    to: str,
    out: Path,
    task: str | None = None,
    copy: bool = False,
    marks: Mapping[Path, Sequence[Mark]] | None = None,
) -> list[str]:
    """Writes the data set in `root` to the new folder `out`, which appears whole or not at all.

    Class ids, splits, crowds and masks are kept as far as the format can express them: VOC has no list of classes and
    no masks, YOLO no crowds. Images keep their names, if these are all different.

    Args:
        root: labelled data in any layout that `open_dataset` reads.
        to: a key of WRITERS.
        out: the folder, which must be new or empty.
        task: "detect" for boxes without the masks that there may be, "instance" for masks.
        copy: copy the images instead of making hard links to them, where these are possible.
        marks: absolute image file -> what is to be looked at in it, which CVAT and Label Studio show.

    Returns:
        Lines that say what was written, and what was not kept.

    Raises:
        DataError: the data has no boxes, or masks or names that the format cannot express; or `out` is not empty, or
            inside `root`.
    """
    known = tasks_of(root, task)
    check_new(out, root)
    if not set(known) & {"detect", "instance"}:
        advice = "; if its masks number objects, give --task instance" if known[0] == "segment" else ""
        raise DataError(
            f"{describe(root, task)}: is for {known[0]}, but convert writes boxes and masks of objects{advice}"
        )
    parts = _parts(root, task)
    if to != "coco" and (part := next((part for part in parts.values() if part.records[0].skeleton), None)):
        raise DataError(f"{to} keeps no keypoints, but {part.source}; --task detect writes the boxes alone")
    job = write_parts(parts, to, out, copy, marks)
    first = next(iter(parts.values()))
    return [describe(root, task) + how_read(first), *_summary(job, root if root.is_dir() else root.parent, out, to)]


def write_parts(
    parts: dict[str, Dataset],
    to: str,
    out: Path,
    copy: bool = False,
    marks: Mapping[Path, Sequence[Mark]] | None = None,
    unlabelled: bool = False,
) -> Job:
    """Writes data sets of boxes to the new folder `out`, which appears whole or not at all.

    Args:
        parts: split -> its data; "" if the data is not split.
        to, out, copy, marks: see `convert`.
        unlabelled: nobody has labelled the images yet, so the marks are drafts; see `Job`.

    Returns:
        What was done.

    Raises:
        DataError: the format cannot express something, or `out` could not be written.
    """
    temporary = out.with_name(temporary_name(out))
    try:
        temporary.mkdir(parents=True)
        first = next(iter(parts.values()))
        job = Job(parts, first.class_names, _names(parts, to in _UTF8), temporary, copy, marks or {}, unlabelled)
        WRITERS[to](job)
        temporary.replace(out)
    except OSError as error:
        raise DataError(f"{out}: could not be written ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return job


def check_new(out: Path, root: Path) -> None:
    """Raises a DataError unless `out` is new or empty, and beside the data in `root`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: already exists; choose a new or an empty folder")
    folder = root if root.is_dir() else root.parent
    if absolute(out).is_relative_to(absolute(folder)):
        raise DataError(f"{out}: is inside of the data, {folder}; choose a folder beside it")


def _parts(root: Path, task: str | None) -> dict[str, Dataset]:
    names = splits(root, task)
    for name in names:
        if name != Path(name).name or name in (".", "..") or "\\" in name or plain(name) != name:
            raise DataError(f"{root}: the split {name[:80]!r} cannot be the name of a folder; rename it")
    repairs = Repairs("convert")  # one for all, so that nothing is reported once a split
    try:
        parts = {name or "": open_dataset(root, name, task, repairs=repairs) for name in names or [None]}
    except DataError as error:
        advice = f"`visionkit doctor {shlex.quote(str(root))}` lists everything that is wrong with the data"
        raise DataError(f"{error}; {advice}", error.kind) from None
    check_objects([record for part in parts.values() for record in part.records], root)
    if {"train", "val", "trainval"} <= set(parts):
        files = {name: {record.file for record in part.records} for name, part in parts.items()}
        if files["trainval"] == files["train"] | files["val"]:
            del parts["trainval"]
    known = next(iter(parts.values())).class_names
    for name, part in parts.items():
        if part.class_names != known:
            raise DataError(f"{root}: the classes of {name}, {part.class_names[:9]}, are not {known[:9]}")
    return parts


def _names(parts: dict[str, Dataset], utf8: bool) -> dict[Path, str]:
    """Image file -> its name: its own, if the stems of all are different, otherwise with its folders in front.

    Args:
        parts: of the data.
        utf8: replaces bytes that are not UTF-8.
    """
    records = {file_of(record): record for part in parts.values() for record in part.records}
    names = {file: _plain(file.stem, utf8) + file.suffix for file in records}
    if len({name.rpartition(".")[0] for name in names.values()}) == len(names):
        return names
    common = Path(os.path.commonpath([file.parent for file in records]))
    stems = {file: _plain("_".join(file.relative_to(common).with_suffix("").parts), utf8) for file in records}
    count = Counter(stems.values())
    result: dict[Path, str] = {}
    taken: set[str] = set()
    for file, stem in stems.items():
        own = stem if count[stem] == 1 else f"{stem}_{file.suffix[1:]}"
        number = 2
        while own in taken:
            own, number = f"{stem}_{number}", number + 1
        taken.add(own)
        result[file] = own + file.suffix
    return result


def _plain(stem: str, utf8: bool) -> str:
    """A name that every format can express; without `utf8`, bytes that are not UTF-8 stay."""
    if utf8:
        stem = re.sub(r"[\ud800-\udfff]", "_", stem)
    stem = re.sub(r"[\x00-\x1f\x7f\\]|^[\s.]+|\s+$", "_", stem)
    return f"{stem}_" if stem.lower() in _RESERVED else stem


def _summary(job: Job, folder: Path, out: Path, to: str) -> list[str]:
    lines = []
    for split, part in job.parts.items():
        labels = [label for record in part.records for label in objects_of(record).labels.tolist()]
        counts = ", ".join(f"{labels.count(i)} {name}" for i, name in enumerate(part.class_names[:20]))
        lines.append(f"{split or 'all'}: {len(part)} images, {len(labels)} objects ({counts})")
    if renamed := sum(file.name != name for file, name in job.names.items()):
        lines.append(f"{renamed} images got new names, because their own are not all different or cannot be written")
    known = {absolute(file) for file in job.names}
    if left := sum(absolute(file) not in known for file in list_images(folder)):
        lines.append(f"{left} images of {folder} are in no split or without annotations, and were left out")
    return [*lines, *job.remarks, f"{out}: written as {to}, {job.places}"]


def _write_coco(job: Job) -> None:
    """`annotations/instances_SPLIT.json` beside SPLIT/, or annotations.json beside images/."""
    for split, part in job.parts.items():

        def placed(record: Sample, split: str = split) -> Sample:
            job.place(record, split or "images")
            return record

        file = job.out / "annotations" / f"instances_{split}.json" if split else job.out / "annotations.json"
        write_annotations(
            map(placed, part.records),
            part.class_names,
            file,
            lambda record: job.names[file_of(record)],
            lambda record, part=part: segments_of(part.load, record),
        )


def _write_voc(job: Job) -> None:
    """Annotations/, JPEGImages/ and ImageSets/Main/."""
    for name in job.class_names:
        if name != name.strip() or plain(name) != name or not is_utf8(name):
            raise DataError(f"VOC cannot express the class {name!r}; rename it, or convert to coco")
    used: set[int] = set()
    for split, part in job.parts.items():
        for record in part.records:
            if segments_of(part.load, record) is not None:
                raise DataError(f"VOC has no masks, but {part.source}; --task detect writes the boxes alone")
            job.place(record, "JPEGImages")
            used |= set(objects_of(record).labels.tolist())
            with whole_text(job.out / "Annotations" / f"{job.stem(record)}.xml") as stream:
                stream.write(_voc_xml(job, record))
        if split:
            with whole_text(job.out / "ImageSets" / "Main" / f"{split}.txt") as stream:
                stream.writelines(f"{job.stem(record)}\n" for record in part.records)
    if job.class_names != sorted(job.class_names[i] for i in used):
        job.remarks.append("VOC has no list of classes: their ids become those of the names in use, sorted")


def _voc_xml(job: Job, record: Sample) -> str:
    tree = ElementTree.Element("annotation")
    name = job.names[file_of(record)].encode(errors="surrogateescape").decode(errors="replace")
    ElementTree.SubElement(tree, "filename").text = name
    size = ElementTree.SubElement(tree, "size")
    for key, value in zip(("height", "width", "depth"), (*record.image_size, 3), strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    objects = objects_of(record)
    corners = npboxes.to_voc(objects.boxes).astype(np.float64)
    one_pixel = corners[:, 2:] == corners[:, :2]
    corners[:, 2:][one_pixel] += 0.002  # equal corners would be a slip of the mouse, see `voc`
    for label, ignore, box in zip(objects.labels.tolist(), objects.ignore.tolist(), corners.tolist(), strict=True):
        item = ElementTree.SubElement(tree, "object")
        ElementTree.SubElement(item, "name").text = job.class_names[label]
        ElementTree.SubElement(item, "difficult").text = str(int(ignore))
        bounds = ElementTree.SubElement(item, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(bounds, key).text = f"{value:.9g}"
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, encoding="unicode") + "\n"


def _write_yolo(job: Job) -> None:
    """images/SPLIT beside labels/SPLIT, and data.yaml."""
    crowds = 0
    for split, part in job.parts.items():
        for record in part.records:
            job.place(record, f"images/{split}")
            lines, left_out = _yolo_lines(part, record)
            crowds += left_out
            with whole_text(job.out / "labels" / split / f"{job.stem(record)}.txt") as stream:
                stream.writelines(lines)
    if crowds:
        job.remarks.append(f"{crowds} crowds or difficult objects were left out, which YOLO cannot express")
    if bad := next((name for name in job.class_names if not is_utf8(name)), None):
        raise DataError(f"YOLO cannot express the class {bad!r}; rename it, or convert to coco")
    content = {split: f"images/{split}" for split in job.parts if split}
    with whole_text(job.out / "data.yaml") as stream:
        yaml.safe_dump({**content, "names": job.class_names}, stream, allow_unicode=True, sort_keys=False)


def _yolo_lines(part: Dataset, record: Sample) -> tuple[list[str], int]:
    """(lines of a label file, the number of crowds that are left out)."""
    h, w = record.image_size
    objects = objects_of(record)
    boxes = npboxes.to_yolo(objects.boxes, record.image_size).tolist()
    segments = segments_of(part.load, record)
    lines = []
    for i, label in enumerate(objects.labels.tolist()):
        if objects.ignore[i]:
            continue
        values: Sequence[float] = boxes[i]
        if segments is not None:
            polygon = as_polygon(segments[i], record.image_size)
            if polygon is None:
                text = f"{record.file}: object {i + 1}: its mask cannot be written as one polygon, as YOLO needs"
                raise DataError(f"{text}; --task detect writes the boxes alone, --to coco the masks")
            values = (polygon / (w, h)).ravel().tolist()
        lines.append(" ".join(map(str, [label, *values])) + "\n")
    return lines, int(objects.ignore.sum())


WRITERS: dict[str, Callable[[Job], None]] = {
    "coco": _write_coco,
    "voc": _write_voc,
    "yolo": _write_yolo,
    "cvat": write_cvat,
    "labelstudio": write_label_studio,
}

"""FiftyOne's own export: samples.json beside metadata.json and data/."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.box_formats import WRONG_FORMAT
from visionkit.data.dataset import Dataset
from visionkit.data.files import SPLIT_NAMES, flag, number, read_bytes, read_json, regular, split_name
from visionkit.data.readers.entries import (
    Entry,
    Images,
    Object,
    annotation_files,
    class_name,
    dataset_of,
    polygons,
    splits_of,
)
from visionkit.data.repair import Repairs
from visionkit.data.segments import Segment
from visionkit.types import DataError

LIMIT = 2**29  # bytes of samples.json
NAME, USUAL_FIELD = "samples.json", "ground_truth"
_OBJECTS = {"Detections": "detections", "Polylines": "polylines"}  # kind of label -> where its objects are


def recognise(root: Path, kinds: tuple[str, ...]) -> bool:
    """Whether `root` has FiftyOne's samples.json with labels of one of `kinds`."""
    for file in _files(root):
        data = read_bytes(file, LIMIT)
        if b'"samples"' in data and any(f'"{kind}"'.encode() in data for kind in kinds):
            return True
    return False


objects = partial(recognise, kinds=tuple(_OBJECTS))
classes = partial(recognise, kinds=("Classification",))


def splits(root: Path) -> list[str]:
    """Returns the tags of the samples that are named like splits; [""] if there are none."""
    return splits_of(_entries(root, Repairs("FiftyOne", collect=True))[0])


def fiftyone(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads FiftyOne's samples.json: detections, polylines (closed ones, as masks) or classifications.

    The labels are those of the field `ground_truth`, or of the only field that has any. Class ids are the order of the
    classes in metadata.json, if it has all; otherwise, classes are sorted by name. Masks of detections are left out,
    which is reported.

    Args:
        root: the folder of samples.json.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and sample that is wrong, the fields that could hold the labels, or the splits.
    """
    root = Path(root)
    repairs = Repairs("FiftyOne") if repairs is None else repairs
    entries, names = _entries(root, repairs)
    return dataset_of(root, entries, split, repairs, "FiftyOne", names)


def _files(root: Path) -> list[Path]:
    return annotation_files(root, (".json",), lambda file: file.name == NAME)


def _entries(root: Path, repairs: Repairs) -> tuple[list[Entry], list[str] | None]:
    """(the images, the classes of metadata.json if these are all)."""
    images = Images(root, repairs)
    found = _files(root)
    if len(found) != 1:
        raise DataError(f"{root}: expected one {NAME}, found {len(found)}")
    file = found[0]
    content = read_json(regular(file, root, file), LIMIT)
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise DataError(f"{file}: expected an object with a list of samples")
    label_field = _label_field(samples, file)
    entries = []
    for i, sample in enumerate(samples):
        with repairs.skipping():
            where = f"{file}: samples[{i}]"
            image = images.find(sample.get("filepath"), file.parent, f"{where}: filepath")
            entries.append(_entry(sample, sample.get(label_field), image, where, repairs))
    images.report(str(file))
    if len({entry.label is None for entry in entries}) > 1:
        raise DataError(f"{file}: some samples have no class in {label_field!r}; add it, or take them out")
    names = _declared(file.with_name("metadata.json"), label_field, root)
    used = {item.name for entry in entries for item in entry.objects} | {e.label for e in entries if e.label}
    return entries, names if used <= set(names) else None


def _label_field(samples: list[dict[str, Any]], file: Path) -> str:
    kinds = (*_OBJECTS, "Classification")
    fields = {
        key
        for sample in samples
        for key, value in sample.items()
        if isinstance(value, dict) and value.get("_cls") in kinds
    }
    if USUAL_FIELD in fields:
        return USUAL_FIELD
    if len(fields) == 1:
        return fields.pop()
    names = ", ".join(sorted(fields))[:200] or "none"
    raise DataError(f"{file}: which field has the labels? Expected {USUAL_FIELD!r}, found: {names}; export one of them")


def _declared(file: Path, label_field: str, root: Path) -> list[str]:
    """The classes of a field in metadata.json; [] without that list."""
    content = read_json(regular(file, root, file), LIMIT) if file.is_file() else {}
    content = content if isinstance(content, dict) else {}
    classes = content.get("classes")
    names = (classes.get(label_field) if isinstance(classes, dict) else None) or content.get("default_classes") or []
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return list(dict.fromkeys(name.strip() for name in names)) if valid else []


def _entry(sample: dict[str, Any], labels: Any, image: Path, where: str, repairs: Repairs) -> Entry:
    tags = sample.get("tags") if isinstance(sample.get("tags"), list) else []
    known = [tag for tag in tags or [] if isinstance(tag, str) and split_name(tag) in SPLIT_NAMES]
    if len(known) > 1:
        raise DataError(f"{where}: is tagged as in two splits, {known[0]} and {known[1]}: remove one of the tags")
    split = known[0] if known else ""
    kind = labels.get("_cls") if isinstance(labels, dict) else None
    if kind == "Classification":
        return Entry(where=where, image=image, split=split, label=class_name(labels.get("label"), f"{where}: label"))
    if kind not in (None, *_OBJECTS):
        raise DataError(f"{where}: {str(kind)[:40]} is not read, only {', '.join(_OBJECTS)} and Classification")
    items = labels.get(_OBJECTS[kind]) if kind else []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{where}: expected a list of {_OBJECTS[str(kind)]}, found {str(items)[:40]}")
    found = []
    for i, item in enumerate(items):
        at = f"{where}: {_OBJECTS[str(kind)]}[{i}]"
        with repairs.skipping(image.stem, image):
            found.append(_detection(item, at) if kind == "Detections" else _polyline(item, at))
    if any(item.get("mask") or item.get("mask_path") for item in items):
        text = (
            f"{where.partition(': ')[0]}: masks of detections are not read: export it as COCODetectionDataset for them"
        )
        repairs.note("missing mask", text)
    return Entry(where=where, image=image, split=split, objects=found)


def _detection(item: dict[str, Any], where: str) -> Object:
    box = item.get("bounding_box")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: expected bounding_box [x, y, width, height] in fractions, found {str(box)[:60]}")
    x, y, width, height = (_fraction(value, f"{where}: bounding_box") for value in box)
    ignore = flag(item.get("iscrowd") or 0, f"{where}: iscrowd")
    name = class_name(item.get("label"), f"{where}: label")
    return Object(where=where, name=name, box=(x, y, x + width, y + height), fractions=True, ignore=ignore)


def _polyline(item: dict[str, Any], where: str) -> Object:
    name = class_name(item.get("label"), f"{where}: label")
    parts = item.get("points")
    if not item.get("closed"):
        raise DataError(f"{where}: a line; only closed polylines are read, as masks: close or delete it")
    lists = isinstance(parts, list) and parts and all(isinstance(part, list) and len(part) > 2 for part in parts)
    if not lists or not all(isinstance(p, list) and len(p) == 2 for part in parts or [] for p in part):
        raise DataError(f"{where}: expected points [[[x, y], ...], ...] in fractions, found {str(parts)[:60]}")
    flat = [[_fraction(value, where) for point in part for value in point] for part in parts or []]
    box, _ = polygons(flat, where)
    return Object(where=where, name=name, box=box, fractions=True, mask=partial(_scaled, flat, where))


def _scaled(flat: list[list[float]], where: str, image_size: tuple[int, int]) -> Segment | None:
    pixels = [(np.reshape(part, (-1, 2)) * image_size[::-1]).ravel().tolist() for part in flat]
    return polygons(pixels, where)[1](image_size)


def _fraction(value: Any, where: str) -> float:
    parsed = number(value, where)
    if not -1 <= parsed <= 2:
        raise DataError(f"{where}: expected fractions of the image (0..1), found {parsed:g}", WRONG_FORMAT)
    return parsed

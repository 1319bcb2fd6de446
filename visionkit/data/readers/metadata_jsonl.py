"""Hugging Face's imagefolder: metadata.jsonl with a line for each image, of its class or its objects."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from visionkit.data.dataset import Dataset
from visionkit.data.files import number, read_lines, regular
from visionkit.data.readers.entries import (
    Entry,
    Images,
    Object,
    annotation_files,
    class_name,
    dataset_of,
    split_in,
    splits_of,
)
from visionkit.data.repair import Repairs
from visionkit.types import DataError

LIMIT = 2**28  # bytes of a file
NAME = "metadata.jsonl"
LABELS = ("categories", "category", "labels", "label")


def recognise(root: Path, key: str) -> bool:
    """Whether `root` has a metadata.jsonl with the key "objects", or "label"."""
    return any(f'"{key}"'.encode() in _first_line(file) for file in _files(root))


def splits(root: Path) -> list[str]:
    """Returns the folders of splits that the images are in; [""] if there are none."""
    return splits_of(_entries(root, Repairs("metadata.jsonl", collect=True)))


def metadata_jsonl(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads metadata.jsonl: `file_name`, and `label` or `objects` with `bbox` (x, y, width, height) and `categories`.

    Class names are those of ALL lines, sorted; numbers stay numbers, since their names are not in the file.

    Args:
        root: a folder with metadata.jsonl, or with train/, validation/, test/ that have one.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and line that is wrong, or the available splits.
    """
    root = Path(root)
    repairs = Repairs("metadata.jsonl") if repairs is None else repairs
    return dataset_of(root, _entries(root, repairs), split, repairs, "metadata.jsonl")


boxes = partial(recognise, key="objects")
classes = partial(recognise, key="label")


def _files(root: Path) -> list[Path]:
    return annotation_files(root, (".jsonl",), lambda file: file.name.lower() == NAME)


def _first_line(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.readline(2**20)


def _entries(root: Path, repairs: Repairs) -> list[Entry]:
    images = Images(root, repairs)
    entries = []
    for file in _files(root):
        lines = read_lines(regular(file, root, file), LIMIT)
        for n, line in lines:
            with repairs.skipping():
                entries.append(_entry(line, f"{file}:{n}", file, root, images, repairs))
        images.report(str(file))
    if len({entry.label is None for entry in entries}) > 1:
        raise DataError(f"{root}: some lines of {NAME} have objects and others a label: keep one of the two")
    return entries


def _entry(line: str, where: str, file: Path, root: Path, images: Images, repairs: Repairs) -> Entry:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: broken JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{where}: expected an object with file_name, found {line[:40]}")
    image = images.find(content.get("file_name"), file.parent, f"{where}: file_name")
    split = split_in(image, root)
    if "objects" not in content:
        return Entry(where=where, image=image, split=split, label=class_name(content.get("label"), f"{where}: label"))
    objects = []
    for i, (box, label) in enumerate(_pairs(content["objects"], where)):
        at = f"{where}: object {i}"
        with repairs.skipping(image.stem, image):
            if not isinstance(box, list) or len(box) != 4:
                raise DataError(f"{at}: expected bbox [x, y, width, height], found {str(box)[:60]}")
            x, y, width, height = (number(value, f"{at}: bbox") for value in box)
            objects.append(Object(where=at, name=class_name(label, at), box=(x, y, x + width, y + height)))
    return Entry(where=where, image=image, split=split, objects=objects)


def _pairs(objects: Any, where: str) -> Iterable[tuple[Any, Any]]:
    """(box, class) of each object, which stand in parallel lists, or in one list of objects."""
    if isinstance(objects, list) and all(isinstance(item, dict) for item in objects):
        return [(item.get("bbox"), _label(item)) for item in objects]
    boxes = objects.get("bbox") if isinstance(objects, dict) else None
    labels = _label(objects) if isinstance(objects, dict) else None
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        raise DataError(f"{where}: objects: expected `bbox` and `categories`, two lists of one length")
    return zip(boxes, labels, strict=True)


def _label(item: dict[str, Any]) -> Any:
    return next((item[key] for key in LABELS if key in item), None)

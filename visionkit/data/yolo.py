"""YOLO txt: images/ beside labels/, lines `class cx cy w h` in fractions of the image, names in data.yaml."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.files import (
    check_names,
    choose_split,
    files_of,
    list_images,
    load_image,
    lone_splits,
    number,
    paired_folders,
    read_lines,
    read_names,
    read_text,
    regular,
    sample_ids,
)
from visionkit.data.repair import Repairs
from visionkit.images import image_size
from visionkit.types import DataError, Sample

MAX_CLASSES = 10_000  # without a list of names, a typo in one class id would otherwise make millions of classes
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")


class _Row(NamedTuple):
    """One line of a label file."""

    where: str  # file and line, for messages
    label: int
    box: np.ndarray  # cx, cy, w, h in fractions of the image


def splits(root: Path) -> dict[str, tuple[Path, Path]]:
    """Split -> its folders of images and labels; "" if the data is not split, {} if this is not YOLO."""
    parts = paired_folders(root, ("images",), ("labels",))
    return parts if any(_label_files(labels) for _, labels in parts.values()) else {}


def yolo(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads YOLO txt; an image without a txt file is background; a polygon (`class x y x y x y ...`) gives its box.

    Names come from `names` in a .yaml file (its paths are not used), classes.txt or obj.names; without any of these,
    they are the numbers "0".."K-1" that occur in ALL splits.

    Args:
        root: contains images/ and labels/, or images/train/ and labels/train/, or train/images/ and train/labels/.
        split: one of those folders; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and line that is wrong, or the available splits.
    """
    root = Path(root)
    parts = splits(root)
    if not parts:
        raise DataError(f"{root}: expected images/ beside labels/*.txt, in {root} or in train/, val/, test/")
    repairs = Repairs("yolo") if repairs is None else repairs
    for images, labels in lone_splits(parts):
        with repairs.skipping():
            raise DataError(f"{images}: its labels {labels} do not exist", "missing annotation")
    by_split = {name: _read_split(images, labels, repairs) for name, (images, labels) in parts.items()}
    top = max((row.label for part in by_split.values() for _, rows in part for row in rows), default=-1)
    names = _names(root)
    if names is None and top >= MAX_CLASSES:
        raise DataError(f"{root}: class {top}, and no data.yaml or classes.txt names it")
    names = [str(i) for i in range(top + 1)] if names is None else names
    chosen = parts if split is None else [choose_split(parts, split, root)]
    files = [pair for name in chosen for pair in by_split[name]]
    ids = sample_ids([image.relative_to(root) for image, _ in files])
    records = []
    for id, (image, rows) in zip(ids, files, strict=True):
        with repairs.skipping(id, image, "broken image"):
            records.append(_record(id, image, rows, len(names), repairs))
    repairs.warn()
    return Dataset(records, names, load_image, f"YOLO txt, split {split or 'all'}")


def _record(id: str, image: Path, rows: list[_Row], num_classes: int, repairs: Repairs) -> Sample:
    size = image_size(image)
    known: list[_Row] = []
    for row in rows:
        with repairs.skipping(id, image):
            if row.label >= num_classes:
                text = f"{row.where}: expected a class 0..{num_classes - 1}, found {row.label}"
                raise DataError(text, "unknown class")
            known.append(row)
    boxes = npboxes.from_yolo(np.array([row.box for row in known]).reshape(-1, 4), size)
    boxes, keep = repairs.apply(boxes, size, id, image)
    labels = np.array([known[i].label for i in keep], np.int32)
    return Sample(id=id, file=image, image_size=size, boxes=boxes, labels=labels)


def _label_files(folder: Path) -> list[Path]:
    files = (f for f in folder.rglob("*") if f.suffix.lower() == ".txt")
    return sorted(f for f in files if f.name != "classes.txt" and not f.name.startswith("."))


def _read_split(images: Path, labels: Path, repairs: Repairs) -> list[tuple[Path, list[_Row]]]:
    """(image, its rows) for two parallel folders."""
    texts = {f.relative_to(labels).with_suffix(""): f for f in _label_files(labels)}
    files = list_images(images)
    pairs = []
    for image in files:
        rows: list[_Row] = []
        text = texts.get(image.relative_to(images).with_suffix(""))
        with repairs.skipping(image.stem, image):
            for n, line in read_lines(regular(text, labels, image)) if text else ():
                with repairs.skipping(image.stem, image):
                    rows.append(_row(f"{text}:{n}", line))
        with repairs.skipping(image.stem):
            pairs.append((regular(image, images, image.stem), rows))
    for stem in sorted(set(texts) - {image.relative_to(images).with_suffix("") for image in files}):
        with repairs.skipping(stem.as_posix()):
            text = f"{texts[stem]}: its image {images / stem}.jpg (or .png, ...) does not exist"
            raise DataError(text, "missing image")
    return pairs


def _row(where: str, line: str) -> _Row:
    values = [number(word, where) for word in line.split()]
    is_box, is_polygon = len(values) == 5, len(values) >= 7 and len(values) % 2 == 1
    if not (is_box or is_polygon) or values[0] != int(values[0]) or values[0] < 0:
        raise DataError(f"{where}: expected `class cx cy w h` or `class x y x y x y ...`, found {line[:60]!r}")
    if not all(-1 <= value <= 2 for value in values[1:]):
        raise DataError(f"{where}: expected fractions of the image (0..1), found {line[:60]!r}", "box format")
    box = np.array(values[1:])
    if is_polygon:
        x, y = box[::2], box[1::2]
        box = np.array([x.min() + x.max(), y.min() + y.max(), 2 * np.ptp(x), 2 * np.ptp(y)]) / 2
    return _Row(where, int(values[0]), box)


def _names(root: Path) -> list[str] | None:
    """The class names in a .yaml or .txt file, or None if there is no such file."""
    for file in files_of(root, ".yaml", ".yml"):
        names = _yaml_names(file)
        if names is not None:
            return names
    for file in (root / name for name in _NAME_FILES):
        if file.is_file():
            return read_names(file)
    return None


def _is_name(value: Any) -> bool:
    """Whether `value` can be a class name; an integer of thousands of digits could not even be printed."""
    return isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**18)


def _yaml_names(file: Path) -> list[str] | None:
    """The class names in a .yaml file, or None if it has none."""
    text = read_text(file, 2**20)
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # PyYAML meets bad tags and values with KeyError, IndexError, AttributeError, ...
        raise DataError(f"{file}: broken YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, dict):
        return None
    if "kpt_shape" in content:
        raise DataError(f"{file}: kpt_shape: labels with keypoints cannot be told from polygons, and are not read")
    names = content.get("names")
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if isinstance(names, list) and names and all(map(_is_name, names)):
        return check_names([str(name) for name in names], file)
    if names is not None:
        raise DataError(f"{file}: names: expected a list, or a mapping from 0, 1, ... to names")
    return None

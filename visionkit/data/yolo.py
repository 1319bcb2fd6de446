"""YOLO txt: images/ beside labels/, one `class cx cy w h` a line in fractions of the image, names in data.yaml."""

from pathlib import Path

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

MAX_CLASSES = 10_000  # without a list of names a slip in one class id would otherwise make millions of classes
_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")


def splits(root: Path) -> dict[str, tuple[Path, Path]]:
    """Split -> its folders of images and of labels; "" where the data is not split, {} where this is not YOLO."""
    parts = paired_folders(root, ("images",), ("labels",))
    return parts if any(_label_files(labels) for _, labels in parts.values()) else {}


def yolo(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads YOLO txt; an image without a txt file is background; a polygon (`class x y x y x y ...`) gives its box.

    Names come from a .yaml file's `names` (its paths are not read), classes.txt or obj.names; without any, they are
    the numbers "0".."K-1" found in ALL splits.

    Args:
        root: holds images/ and labels/, or images/train/ and labels/train/, or train/images/ and train/labels/.
        split: one of those folders; None for all.
        repairs: takes down what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and line that is wrong, or the splits there are.
    """
    root = Path(root)
    parts = splits(root)
    if not parts:
        raise DataError(f"{root}: expected images/ beside labels/*.txt, in {root} or in train/, val/, test/")
    repairs = Repairs("yolo") if repairs is None else repairs
    for images, labels in lone_splits(parts):
        with repairs.skipping():
            raise DataError(f"{images}: its labels {labels} do not exist", "missing annotation")
    rows = {split: _read_split(*folders, repairs) for split, folders in parts.items()}
    top = max((int(row[1]) for files in rows.values() for _, found in files for row in found), default=-1)
    names = _names(root)
    if names is None and top >= MAX_CLASSES:
        raise DataError(f"{root}: class {top}, and no data.yaml or classes.txt names it")
    names = [str(i) for i in range(top + 1)] if names is None else names
    chosen = parts if split is None else [choose_split(parts, split, root)]
    records, files = [], [(image, found) for name in chosen for image, found in rows[name]]
    ids = sample_ids([image.relative_to(root) for image, _ in files])
    for id, (image, found) in zip(ids, files, strict=True):
        with repairs.skipping(id, image, "broken image"):
            size, known = image_size(image), []
            for where, label, box in found:
                with repairs.skipping(id, image):
                    if label >= len(names):
                        raise DataError(
                            f"{where}: expected a class 0..{len(names) - 1}, found {label}", "unknown class"
                        )
                    known.append((label, box))
            boxes = npboxes.from_yolo(np.array([box for _, box in known]).reshape(-1, 4), size)
            boxes, keep = repairs.apply(boxes, size, id, image)
            labels = np.array([known[i][0] for i in keep], np.int32)
            records.append(Sample(id=id, file=image, image_size=size, boxes=boxes, labels=labels))
    repairs.warn()
    return Dataset(records, names, load_image, f"YOLO txt, split {split or 'all'}")


def _label_files(folder: Path) -> list[Path]:
    files = (f for f in folder.rglob("*") if f.suffix.lower() == ".txt")
    return sorted(f for f in files if f.name != "classes.txt" and not f.name.startswith("."))


def _read_split(images: Path, labels: Path, repairs: Repairs) -> list[tuple[Path, list]]:
    """[(image, [(where, class id, [cx, cy, w, h])])] of two parallel folders."""
    texts = {f.relative_to(labels).with_suffix(""): f for f in _label_files(labels)}
    found = []
    for image in list_images(images):
        rows, text = [], texts.get(image.relative_to(images).with_suffix(""))
        with repairs.skipping(image.stem, image):
            for n, line in read_lines(regular(text, labels, image)) if text else ():
                with repairs.skipping(image.stem, image):
                    rows.append(_row(f"{text}:{n}", line))
        with repairs.skipping(image.stem):
            found.append((regular(image, images, image.stem), rows))
    for stem in sorted(set(texts) - {image.relative_to(images).with_suffix("") for image in list_images(images)}):
        with repairs.skipping(stem.as_posix()):
            raise DataError(
                f"{texts[stem]}: its image {images / stem}.jpg (or .png, ...) does not exist", "missing image"
            )
    return found


def _row(where: str, line: str):
    values = [number(word, where) for word in line.split()]
    if len(values) < 5 or len(values) == 6 or len(values) % 2 == 0 or values[0] != int(values[0]) or values[0] < 0:
        raise DataError(f"{where}: expected `class cx cy w h` or `class x y x y x y ...`, found {line[:60]!r}")
    if not all(-1 <= value <= 2 for value in values[1:]):
        raise DataError(f"{where}: expected fractions of the image (0..1), found {line[:60]!r}", "box format")
    box = np.array(values[1:])
    if len(box) > 4:
        x, y = box[::2], box[1::2]
        box = np.array([x.min() + x.max(), y.min() + y.max(), 2 * np.ptp(x), 2 * np.ptp(y)]) / 2
    return where, int(values[0]), box


def _names(root: Path) -> list[str] | None:
    for file in files_of(root, ".yaml", ".yml"):
        text = read_text(file, 2**20)
        try:
            content = yaml.safe_load(text)
        except Exception as error:  # PyYAML meets bad tags and values with KeyError, IndexError, AttributeError, ...
            raise DataError(f"{file}: broken YAML: {' '.join(str(error).split())[:200]}") from None
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(content, dict) and "kpt_shape" in content:
            raise DataError(f"{file}: kpt_shape: labels with keypoints cannot be told from polygons, and are not read")
        if isinstance(names, dict) and set(names) == set(range(len(names))):
            names = [names[i] for i in range(len(names))]
        if isinstance(names, list) and names and all(isinstance(name, str | int) for name in names):
            return check_names([str(name) for name in names], file)
        if names is not None:
            raise DataError(f"{file}: names: expected a list, or a mapping from 0, 1, ... to names")
    for file in (root / name for name in _NAME_FILES):
        if file.is_file():
            return read_names(file)
    return None

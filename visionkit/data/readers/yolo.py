"""YOLO txt: lines `class cx cy w h` or `class x y x y ...` in fractions of the image; see `yolo_layouts`."""

import os
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from visionkit import npboxes
from visionkit.data.box_formats import WRONG_FORMAT
from visionkit.data.dataset import Dataset
from visionkit.data.files import (
    choose_split,
    list_images,
    load_image,
    lone_splits,
    number,
    read_lines,
    regular,
    sample_ids,
    spelling,
)
from visionkit.data.readers.yolo_layouts import (
    Part,
    check_labelled,
    images_of,
    is_label_file,
    label_files,
    label_of,
    names_of,
    parts_of,
)
from visionkit.data.repair import Repairs
from visionkit.data.segments import Segment, check_length, check_masks, load_masks
from visionkit.images import image_size
from visionkit.types import DataError, Sample

MAX_CLASSES = 10_000  # without a list of names, a typo in one class id would otherwise make millions of classes


class _Row(NamedTuple):
    """One line of a label file."""

    where: str  # file and line, for messages
    label: int
    box: np.ndarray  # cx, cy, w, h in fractions of the image
    polygon: np.ndarray | None  # [P, 2] x, y in fractions of the image


def splits(root: Path) -> list[str]:
    """Returns the names of the splits: [""] if the data is not split, [] if this is not YOLO."""
    return list(parts_of(root))


def yolo(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads YOLO txt; an image without a txt file is background.

    If every line is a polygon, there are masks, which are drawn when a sample is loaded; otherwise a polygon gives its
    box. Names come from `names` in a .yaml file, from a list that a .data file names, classes.txt, obj.names or
    _darknet.labels; without any of these, they are the numbers "0".."K-1" that occur in ALL splits.

    Args:
        root: a folder in a layout of `yolo_layouts`, or a data.yaml whose train, val and test are used.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and line that is wrong, or the available splits.
    """
    root = Path(root)
    parts = parts_of(root)
    if not parts:
        raise DataError(f"{root}: expected images/ beside labels/*.txt, or *.txt among the images")
    repairs = Repairs("YOLO txt") if repairs is None else repairs
    check_labelled(parts, root, repairs)
    folders = {name: several[0][:2] for name, several in parts.items() if several[0].listed is None}
    by_folder = root.is_dir() and all(name in images.relative_to(root).parts for name, (images, _) in folders.items())
    for images, labels in lone_splits(folders) if by_folder else ():
        with repairs.skipping():
            count = len(list_images(images))
            text = f"{images} has {count} image{'s' if count > 1 else ''} but no labels/: expected them in {labels}"
            raise DataError(f"{text}; label them, or take them out of the data set", "missing annotation")
    by_split = {name: [pair for part in several for pair in _read(part, repairs)] for name, several in parts.items()}
    top = max((row.label for part in by_split.values() for _, rows in part for row in rows), default=-1)
    names = names_of(root, parts)
    if names is None and top >= MAX_CLASSES:
        raise DataError(f"{root}: class {top}, and no data.yaml or classes.txt names it")
    names = [str(i) for i in range(top + 1)] if names is None else names
    chosen = parts if split is None else [choose_split(parts, split, root)]
    files = [pair for name in chosen for pair in by_split[name]]
    ids = sample_ids([image.relative_to(_common(root, files)) for image, _ in files])
    rows = [row for part in by_split.values() for _, rows in part for row in rows]
    polygons = [row.polygon for row in rows if row.polygon is not None]
    source = f"YOLO txt, split {split or 'all'}" + _about_polygons(root, polygons, len(rows), repairs)
    records: list[Sample] = []
    segments: dict[str, list[Segment | None]] = {}
    for id, (image, rows_of_image) in zip(ids, files, strict=True):
        with repairs.skipping(id, image, "broken image"):
            record, segments[id] = _record(id, image, rows_of_image, len(names), repairs)
            records.append(record)
    repairs.warn()
    load = partial(load_masks, segments) if rows and len(polygons) == len(rows) else load_image
    return Dataset(records, names, load, source)


def _common(root: Path, files: list[tuple[Path, list[_Row]]]) -> Path:
    """The folder to which ids are relative: the data set's, or that of all images if a data.yaml names another."""
    if root.is_dir() or not files:
        return root
    return Path(os.path.commonpath([image.parent for image, _ in files]))


def _about_polygons(root: Path, polygons: list[np.ndarray], total: int, repairs: Repairs) -> str:
    """What to add to the data set's description."""
    if not polygons:
        return ""
    if len(polygons) < total:
        missing = f"{total - len(polygons)} of {total} lines are boxes, not polygons"
        repairs.note("missing mask", f"{root}: {missing}: read as boxes alone")
        return f", boxes ({missing})"
    if all(len(polygon) == 4 for polygon in polygons):
        text = "every polygon has four points: perhaps oriented boxes, which are read as masks"
        repairs.note("four points", f"{root}: {text}")
        return f", boxes and masks ({text})"
    return ", boxes and masks"


def _record(
    id: str, image: Path, rows: list[_Row], num_classes: int, repairs: Repairs
) -> tuple[Sample, list[Segment | None]]:
    """The Sample of one image, and the segments of its boxes."""
    size = image_size(image)
    known: list[_Row] = []
    for row in rows:
        with repairs.skipping(id, image):
            if row.label >= num_classes:
                text = f"{row.where}: expected a class 0..{num_classes - 1}, found {row.label}"
                raise DataError(text, "unknown class")
            if row.polygon is not None:
                check_length([row.polygon * (size[1], size[0])], row.where)
            known.append(row)
    if known and all(row.polygon is not None for row in known):
        check_masks(len(known), size, image)
    boxes = npboxes.from_yolo(np.array([row.box for row in known]).reshape(-1, 4), size)
    boxes, keep = repairs.apply(boxes, size, id, image)
    labels = np.array([known[i].label for i in keep], np.int32)
    polygons = [known[i].polygon for i in keep]
    segments: list[Segment | None] = [None if p is None else [p * (size[1], size[0])] for p in polygons]
    return Sample(id=id, file=image, image_size=size, boxes=boxes, labels=labels), segments


def _read(part: Part, repairs: Repairs) -> list[tuple[Path, list[_Row]]]:
    """(image, its rows) for the images of a part."""
    images, labels, listed = part
    among = images == labels
    texts = {} if listed is not None else {f.relative_to(labels).with_suffix(""): f for f in label_files(labels)}
    files, pairs = images_of(part), []
    named: dict[Path, list[Path]] = defaultdict(list)
    for image in files:
        named[image.with_suffix("")].append(image)
    spelled = _spelled_otherwise(images, files, texts, repairs)
    without: list[Path] = []
    for image in files:
        rows: list[_Row] = []
        with repairs.skipping(image.stem, image):
            own = image.relative_to(images).with_suffix("")
            text = texts.get(spelled.get(own, own)) if listed is None else label_of(image, images)
            if text is None:
                without.append(image)
            alike = named[image.with_suffix("")]
            if text and len(alike) > 1:
                if image == alike[0]:  # said once
                    raise DataError(f"{text}: {alike[0]} or {alike[1].name}? Two images have its name", "listed twice")
                text = None
            for n, line in read_lines(regular(text, labels, image)) if text else ():
                with repairs.skipping(image.stem, image):
                    rows.append(_row(f"{text}:{n}", line))
        with repairs.skipping(image.stem):
            pairs.append((regular(image, images, image.stem), rows))
    if without:
        kind = "few label files" if 2 * len(without) > len(files) else "no label file"
        repairs.note(kind, f"{len(without)} of {len(files)} images in {images} have no .txt file{_names(without)}")
    used = {image.relative_to(images).with_suffix("") for image in files} | set(spelled.values())
    for stem in sorted(set(texts) - used):
        text = texts[stem]
        if among and not is_label_file(text):
            continue  # README.txt and the like
        with repairs.skipping(stem.as_posix()):
            message = f"{text}: its image {images / stem}.jpg (or .png, ...) does not exist"
            raise DataError(message, "missing image")
    return pairs


def _names(files: list[Path]) -> str:
    return f" ({', '.join(file.name for file in files[:3])}{', ...' if len(files) > 3 else ''})"


def _spelled_otherwise(images: Path, files: list[Path], texts: dict[Path, Path], repairs: Repairs) -> dict[Path, Path]:
    """Name of an image -> that of its labels, where they differ in case or Unicode form, and only one fits."""
    names = {image.relative_to(images).with_suffix(""): image for image in files}
    without: dict[str, list[Path]] = defaultdict(list)
    for name in names.keys() - texts.keys():
        without[spelling(name.as_posix())].append(name)
    lone: dict[str, list[Path]] = defaultdict(list)
    for name in texts.keys() - names.keys():
        lone[spelling(name.as_posix())].append(name)
    pairs = {own[0]: lone[key][0] for key, own in without.items() if len(own) == len(lone.get(key, [])) == 1}
    if pairs:
        found = sorted(names[name] for name in pairs)
        repairs.left_out("found by name", f"{images} whose labels spell their names otherwise", found)
    return pairs


def _row(where: str, line: str) -> _Row:
    values = [number(word, where) for word in line.split()]
    is_box, is_polygon = len(values) == 5, len(values) >= 7 and len(values) % 2 == 1
    if not (is_box or is_polygon) or values[0] != int(values[0]) or values[0] < 0:
        raise DataError(f"{where}: expected `class cx cy w h` or `class x y x y x y ...`, found {line[:60]!r}")
    if not all(-1 <= value <= 2 for value in values[1:]):
        raise DataError(f"{where}: expected fractions of the image (0..1), found {line[:60]!r}", WRONG_FORMAT)
    box, polygon = np.array(values[1:]), None
    if is_polygon:
        polygon = box.reshape(-1, 2)
        x, y = polygon.T
        box = np.array([x.min() + x.max(), y.min() + y.max(), 2 * np.ptp(x), 2 * np.ptp(y)]) / 2
    return _Row(where, int(values[0]), box, polygon)

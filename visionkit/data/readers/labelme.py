"""LabelMe: a JSON file with `shapes` for each image, beside it or in a folder of its own."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visionkit.data.dataset import Dataset
from visionkit.data.files import HIDDEN, list_images, number, read_bytes, read_json, regular
from visionkit.data.readers.entries import (
    Entry,
    Images,
    Object,
    class_name,
    dataset_of,
    is_wrapper,
    polygons,
    split_in,
    splits_of,
)
from visionkit.data.repair import Repairs
from visionkit.types import DataError

JSON_LIMIT = 2**27  # bytes; LabelMe stores the image in it as text


def recognise(root: Path) -> bool:
    """Whether a JSON file in `root`, among the first of a folder, is LabelMe's."""
    if is_wrapper(root):
        return False
    return any(_is_labelme(file) for _, files in _folders(root) for file in itertools.islice(files, 5))


def splits(root: Path) -> list[str]:
    """Returns the names of the folders of splits; [""] if the data is not split."""
    return splits_of(_entries(root, Repairs("LabelMe", collect=True)))


def labelme(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads LabelMe's JSON: rectangles, and polygons, which are masks if there is nothing else.

    Polygons of one label and one group_id are one object. Class names are those of ALL files, sorted.

    Args:
        root: a folder with JSON files, also in train/, valid/, test/.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and shape that is wrong, such as a circle, or the available splits.
    """
    root = Path(root)
    repairs = Repairs("LabelMe") if repairs is None else repairs
    return dataset_of(root, _entries(root, repairs), split, repairs, "LabelMe")


def _folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """(folder, its JSON files)."""
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        named = (os.path.join(where, name) for name in sorted(names) if name.lower().endswith(".json"))  # noqa: PTH118
        files = [Path(name) for name in named if os.path.isfile(name) and Path(name).name[0] != "."]  # noqa: PTH113
        if files:
            yield Path(where), files


def _is_labelme(file: Path) -> bool:
    data = read_bytes(file, JSON_LIMIT) if file.stat().st_size <= JSON_LIMIT else b""
    return b'"shapes"' in data and b'"imagePath"' in data


def _entries(root: Path, repairs: Repairs) -> list[Entry]:
    images = Images(root, repairs)
    entries: list[Entry] = []
    flagged: list[Path] = []
    for folder, files in _folders(root):
        beside: dict[str, list[Path]] = {}
        for image in list_images(folder, recursive=False):
            beside.setdefault(image.stem, []).append(image)
        for file in files:
            with repairs.skipping(file.stem):
                content = read_json(regular(file, root, file), JSON_LIMIT)
                if not isinstance(content, dict) or "shapes" not in content:
                    continue  # some other JSON file
                image = _image(file, content, beside.get(file.stem, []), images)
                flagged += [file] if _has_flags(content) else []
                entries.append(_entry(file, regular(image, root, file), content, split_in(file, root), repairs))
    images.report(str(root))
    if flagged and not any(entry.objects for entry in entries):
        text = f"{flagged[0]}: LabelMe's `flags`, classes of whole images, are not read, and no file has shapes"
        raise DataError(f"{text}; sort the images into a folder per class")
    return entries


def _image(file: Path, content: dict[str, Any], beside: list[Path], images: Images) -> Path:
    """The image of a file: the one beside it with its name, or the one that it names."""
    if len(beside) == 1:
        return beside[0]
    name = content.get("imagePath")
    named = [image for image in beside if image.name == name]
    if beside and not named:
        raise DataError(f"{file}: {beside[0]} or {beside[1].name}? Two images have its name", "listed twice")
    if not named and content.get("imageData") and not (isinstance(name, str) and images.candidates(name, file.parent)):
        text = "its image is only in the file itself, as imageData, which is not read"
        raise DataError(f"{file}: {text}; save it beside the file with LabelMe's labelme_export_json", "missing image")
    return named[0] if named else images.find(name, file.parent, f"{file}: imagePath")


def _has_flags(content: dict[str, Any]) -> bool:
    flags = content.get("flags")
    return isinstance(flags, dict) and any(value is True for value in flags.values())


def _entry(file: Path, image: Path, content: dict[str, Any], split: str, repairs: Repairs) -> Entry:
    height, width = (number(content.get(f"image{key}") or 0, f"{file}: image{key}") for key in ("Height", "Width"))
    shapes = content["shapes"]
    if not isinstance(shapes, list):
        raise DataError(f"{file}: expected a list of shapes, found {str(shapes)[:40]}")
    groups: dict[Any, list[tuple[str, str, bool, list[float]]]] = {}
    for i, shape in enumerate(shapes):
        with repairs.skipping(file.stem, image):
            name, is_polygon, points = _shape(shape, f"{file}: shapes[{i}]")
            group = shape.get("group_id")
            key = (name, str(group)) if is_polygon and group is not None else i
            groups.setdefault(key, []).append((f"{file}: shapes[{i}]", name, is_polygon, points))
    objects = []
    for parts in groups.values():
        where, name, is_polygon, _ = parts[0]
        box, mask = polygons([points for *_, points in parts], where)
        objects.append(Object(where=where, name=name, box=box, mask=mask if is_polygon else None))
    size = (height, width) if height and width else None
    return Entry(where=str(file), image=image, split=split, size=size, objects=objects)


def _shape(shape: Any, where: str) -> tuple[str, bool, list[float]]:
    """(class, whether it is a polygon, its points as x, y, x, y, ...)."""
    if not isinstance(shape, dict):
        raise DataError(f"{where}: expected an object, found {str(shape)[:40]}")
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if kind not in ("rectangle", "polygon"):
        raise DataError(
            f"{where}: a shape {str(kind)[:40]!r}; only rectangles and polygons are read: redraw or delete it"
        )
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not isinstance(points, list) or not pairs or len(points) not in (_CORNERS if kind == "rectangle" else _MANY):
        raise DataError(f"{where}: expected the points of a {kind} [[x, y], ...], found {str(points)[:60]}")
    numbers = [number(value, f"{where}: points") for point in points for value in point]
    if kind == "rectangle" and (len(set(numbers[::2])) > 2 or len(set(numbers[1::2])) > 2):
        raise DataError(f"{where}: a rectangle that is not upright; only upright ones are read")
    return class_name(shape.get("label"), f"{where}: label"), kind == "polygon", numbers


_CORNERS = (2, 4)  # points of a rectangle: two opposite corners, or all
_MANY = range(3, 10**6)  # points of a polygon

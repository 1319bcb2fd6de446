"""VGG Image Annotator 2 (VIA): regions as JSON, of a project or of its annotations, or as CSV."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionkit.data.dataset import Dataset
from visionkit.data.files import number, read_bytes, read_json, read_text, regular
from visionkit.data.readers.entries import (
    Entry,
    Images,
    Object,
    annotation_files,
    class_name,
    dataset_of,
    polygons,
    split_in,
    splits_of,
)
from visionkit.data.repair import Repairs
from visionkit.types import DataError

LIMIT = 2**28  # bytes of an annotation file
USUAL = ("class", "class_name", "label", "category", "type", "name", "object")  # attributes that hold a class
ONLY_CLASS = "object"  # where regions have no attributes


class _Region(NamedTuple):
    where: str
    shape: Any
    attributes: Any


def files(root: Path) -> list[Path]:
    """Returns the files of VIA in `root`."""
    return annotation_files(root, (".json", ".csv"), _is_via)


def splits(root: Path) -> list[str]:
    """Returns the folders of splits that the files or images are in; [""] if there are none."""
    return splits_of(_entries(root, Repairs("VIA", collect=True)))


def via(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads VIA 2 (and 1): rectangles, and polygons, which are masks if there is nothing else.

    The class is the attribute that all regions have; if there are several, the one with a usual name. If no region has
    an attribute, all are of the class "object". Class names are those of ALL files, sorted.

    Args:
        root: a folder with such a file, also in train/, val/, test/.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and region that is wrong, such as a circle; the attributes, if none of them must be
            the class; or the available splits.
    """
    root = Path(root)
    repairs = Repairs("VIA") if repairs is None else repairs
    return dataset_of(root, _entries(root, repairs), split, repairs, "VIA")


def _is_via(file: Path) -> bool:
    if file.stat().st_size > LIMIT:
        return False
    if file.suffix.lower() == ".csv":
        with file.open("rb") as stream:
            return b"region_shape_attributes" in stream.readline(10_000)
    data = read_bytes(file, LIMIT)
    return b'"regions"' in data and b'"filename"' in data


def _entries(root: Path, repairs: Repairs) -> list[Entry]:
    images = Images(root, repairs)
    read: list[tuple[Path, str, list[_Region]]] = []  # image, where, its regions
    for file in files(root):
        with repairs.skipping():
            described = _of_csv(file) if file.suffix.lower() == ".csv" else _of_json(file)
            for where, name, regions in described:
                with repairs.skipping():
                    read.append((images.find(name, regular(file, root, file).parent, where), where, regions))
        images.report(str(file))
    attribute = _class_attribute(root, [region for *_, regions in read for region in regions])
    entries = []
    for image, where, regions in read:
        objects = []
        for region in regions:
            with repairs.skipping(image.stem, image):
                objects.append(_object(region, attribute))
        entries.append(Entry(where=where, image=image, split=split_in(image, root), objects=objects))
    return entries


def _of_json(file: Path) -> Iterator[tuple[str, Any, list[_Region]]]:
    content = read_json(file, LIMIT)
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected an object with the images of VIA, found {str(content)[:40]}")
    for key, item in content.items():
        where = f"{file}: {str(key)[:80]!r}"
        if not isinstance(item, dict):
            raise DataError(f"{where}: expected an object with filename and regions, found {str(item)[:40]}")
        regions = item.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise DataError(f"{where}: expected a list of regions, found {str(regions)[:40]}")
        pairs = [(region.get("shape_attributes"), region.get("region_attributes")) for region in regions]
        yield where, item.get("filename"), [_Region(f"{where}: region {i}", *p) for i, p in enumerate(pairs)]


def _of_csv(file: Path) -> Iterator[tuple[str, Any, list[_Region]]]:
    """One row a region; an image without regions has one row with an empty shape."""
    rows = csv.DictReader(io.StringIO(read_text(file, LIMIT), newline=""))
    by_image: dict[str, tuple[str, list[_Region]]] = {}
    try:
        for row in rows:
            where = f"{file}:{rows.line_num}"
            regions = by_image.setdefault(row.get("filename") or row.get("#filename") or "", (where, []))[1]
            shape = _json(row.get("region_shape_attributes"), where)
            if shape:
                regions.append(_Region(where, shape, _json(row.get("region_attributes"), where)))
    except csv.Error as error:
        raise DataError(f"{file}:{rows.line_num}: broken CSV: {error}") from None
    for name, (where, regions) in by_image.items():
        yield where, name, regions


def _json(text: str | None, where: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise DataError(f"{where}: expected attributes as JSON, found {str(text)[:60]!r}") from None


def _class_attribute(root: Path, regions: Sequence[_Region]) -> str | None:
    """The attribute that holds the class; None if there are no attributes."""
    attributes = [region.attributes if isinstance(region.attributes, dict) else {} for region in regions]
    known = sorted({str(key) for several in attributes for key in several})
    usual = [key for key in known if key.strip().lower() in USUAL]
    of_all = [key for key in known if all(key in several for several in attributes)]
    for candidates in (usual, of_all):
        if len(candidates) == 1:
            return candidates[0]
    if not known:
        return None
    names = ", ".join(known)[:200]
    raise DataError(f"{root}: which attribute of VIA's regions is the class? Rename it to `class`; there are: {names}")


def _object(region: _Region, attribute: str | None) -> Object:
    where, shape, attributes = region
    kind = shape.get("name") if isinstance(shape, dict) else None
    name = ONLY_CLASS
    if attribute is not None:
        value = attributes.get(attribute) if isinstance(attributes, dict) else None
        if isinstance(value, dict):  # check boxes: {"cat": true}
            ticked = [key for key, on in value.items() if on in (True, "true", 1)]
            if len(ticked) != 1:
                raise DataError(f"{where}: {attribute[:40]}: expected one class, found {str(ticked)[:60]}")
            value = ticked[0]
        name = class_name(value, f"{where}: {attribute[:40]}")
    if kind == "rect":
        x, y, width, height = (number(shape.get(key), f"{where}: {key}") for key in ("x", "y", "width", "height"))
        return Object(where=where, name=name, box=(x, y, x + width, y + height))
    if kind != "polygon":
        raise DataError(
            f"{where}: a shape {str(kind)[:40]!r}; only rectangles and polygons are read: redraw or delete it"
        )
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or len(xs) < 3:
        raise DataError(
            f"{where}: expected all_points_x and all_points_y of three points or more, found {str(xs)[:40]}"
        )
    points = [number(value, f"{where}: points") for pair in zip(xs, ys, strict=True) for value in pair]
    box, mask = polygons([points], where)
    return Object(where=where, name=name, box=box, mask=mask)

"""Label Studio's own JSON: a list of tasks with rectangles and polygons in percent of the image."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree

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
from visionkit.types import DataError, in_words

LIMIT = 2**28  # bytes of a file
CONFIG = "label_config.xml"  # the project's labels, if this file lies beside the tasks
LOCAL = "/data/local-files/?d="  # how Label Studio names files on its own disk
READ = ("rectanglelabels", "polygonlabels")
_REFUSED = ("brushlabels", "ellipselabels", "keypointlabels", "rectangle", "polygon", "brush", "ellipse", "keypoint")


def files(root: Path) -> list[Path]:
    """Returns the files of Label Studio in `root`."""
    return annotation_files(root, (".json",), _is_label_studio)


def splits(root: Path) -> list[str]:
    """Returns the splits that the tasks name, or the folders of splits that the images are in; [""] if none."""
    return splits_of(_entries(root, Repairs("Label Studio", collect=True))[0])


def label_studio(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads the JSON that Label Studio exports (not JSON-MIN); there are masks if every object is a polygon.

    Of several annotations of a task the last that was not cancelled counts, and predictions do not; tasks that nobody
    has annotated are left out. Class ids are the order of the labels in label_config.xml, if it is there; otherwise
    classes are sorted by name. Choices and texts are left out. Tasks that visionkit wrote keep their splits and order.

    Args:
        root: a folder with such a file and the images.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file, the task and the region that is wrong, or the available splits.
    """
    root = Path(root)
    repairs = Repairs("Label Studio") if repairs is None else repairs
    entries, names = _entries(root, repairs)
    return dataset_of(root, entries, split, repairs, "Label Studio", names or None)


def _is_label_studio(file: Path) -> bool:
    if file.stat().st_size > LIMIT:
        return False
    data = read_bytes(file, LIMIT)
    return all(key in data for key in (b'"annotations"', b'"result"', b'"data"'))


def _entries(root: Path, repairs: Repairs) -> tuple[list[Entry], list[str]]:
    """(the images, the labels of the project)."""
    images = Images(root, repairs)
    read: list[tuple[float, Entry]] = []
    names: list[str] = []
    for file in files(root):
        with repairs.skipping():
            tasks = read_json(regular(file, root, file), LIMIT)
            if not isinstance(tasks, list):
                raise DataError(f"{file}: expected a list of tasks, as Label Studio exports as JSON")
            names = list(dict.fromkeys([*names, *_labels(file.parent / CONFIG, root)]))
            for place, task in enumerate(tasks):
                with repairs.skipping():
                    if (result := _result(task, f"{file}: task {place + 1}")) is not None:
                        read.append(
                            _entry(task["data"], result, f"{file}: task {place + 1}", file, root, images, repairs)
                        )
        images.report(str(file))
    return [entry for _, entry in sorted(read, key=lambda pair: pair[0])], names


def _labels(file: Path, root: Path) -> Iterator[str]:
    """The labels of a project's configuration, in its order; none if there is no such file."""
    if not file.is_file():
        return
    try:
        tree = defusedxml.ElementTree.fromstring(read_text(regular(file, root, file)))
    except (ParseError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: broken XML: {in_words(error)}") from None
    for element in tree.iter("Label"):
        yield class_name(element.get("value"), f"{file}: label")


def _result(task: Any, where: str) -> list[Any] | None:
    """The regions of a task; None if nobody has annotated it."""
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise DataError(f"{where}: expected `data` and `annotations`, as Label Studio exports as JSON")
    done = [item for item in task.get("annotations") or () if isinstance(item, dict) and not item.get("was_cancelled")]
    if not done:
        return None
    result = done[-1].get("result")
    if not isinstance(result, list):
        raise DataError(f"{where}: expected a list as `result`, found {str(result)[:40]!r}")
    return result


def _entry(
    data: dict[str, Any], result: list[Any], where: str, file: Path, root: Path, images: Images, repairs: Repairs
) -> tuple[float, Entry]:
    """(the place among all images, the image)."""
    image = images.find(_image_name(data, where), file.parent, where)
    objects: list[Object] = []
    size = None
    for i, region in enumerate(result):
        with repairs.skipping(image.stem, image):
            kind = region.get("type") if isinstance(region, dict) else None
            if kind in _REFUSED:
                raise DataError(f"{where}: a region {kind!r}; only labelled rectangles and polygons are read")
            if kind not in READ:
                continue  # a choice or a text
            objects.append(_object(region, kind, f"{where}: region {i + 1}"))
            size = number(region["original_height"], where), number(region["original_width"], where)
    split = data.get("split")
    split = split if isinstance(split, str) and split else split_in(image, root) or split_in(file, root)
    place = number(data["number"], f"{where}: number") if {"file", "number"} <= data.keys() else 0.0
    return place, Entry(where=where, image=image, split=split, size=size, objects=objects)


def _image_name(data: dict[str, Any], where: str) -> str:
    """The name of a task's image: that of the file which `convert` wrote, or where Label Studio has it."""
    name = data.get("file") or data.get("image")
    if not isinstance(name, str):
        raise DataError(f"{where}: expected the name of an image as `image`, found {str(name)[:40]!r}")
    return name if "file" in data else unquote(name.removeprefix(LOCAL))


def _object(region: dict[str, Any], kind: str, where: str) -> Object:
    value = region.get("value")
    labels = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(labels, list) or len(labels) != 1:
        raise DataError(f"{where}: expected one label, found {str(labels)[:60]!r}")
    assert isinstance(value, dict)
    name = class_name(labels[0], f"{where}: label")
    height, width = (number(region.get(key), f"{where}: {key}") for key in ("original_height", "original_width"))
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or len(points) < 3:
            raise DataError(f"{where}: expected at least three points, found {str(points)[:60]!r}")
        flat = []
        for point in points:
            if not isinstance(point, list) or len(point) != 2:
                raise DataError(f"{where}: expected points [x, y], found {str(point)[:40]!r}")
            flat += [number(point[0], where) / 100 * width, number(point[1], where) / 100 * height]
        box, mask = polygons([flat], where)
        return Object(where=where, name=name, box=box, mask=mask)
    if number(value.get("rotation") or 0, f"{where}: rotation"):
        raise DataError(f"{where}: a rotated rectangle; only upright ones are read: redraw it, or draw a polygon")
    x, y, w, h = (number(value.get(key), f"{where}: {key}") for key in ("x", "y", "width", "height"))
    box = (x / 100 * width, y / 100 * height, (x + w) / 100 * width, (y + h) / 100 * height)
    return Object(where=where, name=name, box=box)

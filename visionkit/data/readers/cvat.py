"""CVAT for images 1.1: one XML file with boxes, polygons and masks, beside images/."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.files import number, regular
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
from visionkit.data.segments import Segment, from_rows
from visionkit.types import DataError

_HEAD = 2**16  # bytes in which the first tag must stand
_MOST_TAGS = 200_000  # of one image; a tree of them takes some hundred bytes for each
PROPOSED = "proposed"  # the attribute that is true for a model's proposals
_NOT_READ = ("polyline", "points", "ellipse", "cuboid", "skeleton")


def files(root: Path) -> list[Path]:
    """Returns the XML files of CVAT in `root`."""
    return annotation_files(root, (".xml",), _is_cvat)


def splits(root: Path) -> list[str]:
    """Returns the subsets of the images, or the folders of splits that they are in; [""] if there are none."""
    return splits_of(_entries(root, Repairs("CVAT for images", collect=True))[0])


def cvat(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads CVAT for images 1.1; there are masks if every object is a polygon or a mask.

    Class ids are the order of the labels of the task, as in the file; without that list, classes are sorted by name.
    Attributes, and tags of whole images, are left out; so are proposals of `visionkit suspects` that nobody has
    accepted, whose attribute `proposed` is true.

    Args:
        root: a folder with an XML file, such as annotations.xml.
        split: one of `splits(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file, the image and the shape that is wrong, or the available splits.
    """
    root = Path(root)
    repairs = Repairs("CVAT for images") if repairs is None else repairs
    entries, names = _entries(root, repairs)
    return dataset_of(root, entries, split, repairs, "CVAT for images", names or None)


def _is_cvat(file: Path) -> bool:
    with file.open("rb") as stream:
        return b"<annotations>" in stream.read(_HEAD)


def _entries(root: Path, repairs: Repairs) -> tuple[list[Entry], list[str]]:
    """(the images, the labels of the task)."""
    images = Images(root, repairs)
    entries: list[Entry] = []
    names: list[str] = []
    proposals: list[Path] = []
    for file in files(root):
        with repairs.skipping():
            for element in _elements(regular(file, root, file)):
                if element.tag == "label":
                    names += [name] if (name := (element.findtext("name") or "").strip()) not in ("", *names) else []
                elif element.tag == "track":
                    raise DataError(f"{file}: CVAT for video; export it as CVAT for images")
                else:
                    with repairs.skipping():
                        entries.append(_entry(element, file, root, images, repairs, proposals))
        images.report(str(file))
    if proposals:
        line = f"{root} with proposals that nobody has accepted, which are left out"
        repairs.left_out("proposal", line, list(dict.fromkeys(proposals)))
    return entries, names


def _elements(file: Path) -> Iterator[Element]:
    """The <label>s, <image>s and <track>s of a file, one after the other, so that its size does not matter."""
    tags, wanted = 0, ("label", "image", "track")
    depth = 0
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(file.open("rb"))
        try:
            for event, element in defusedxml.ElementTree.iterparse(stream, events=("start", "end")):
                tags += event == "start"
                depth += 1 if event == "start" else -1
                if tags > _MOST_TAGS or depth > 100:
                    raise DataError(f"{file}: refused XML: more than {_MOST_TAGS} tags in an image, or 100 in another")
                if event == "end" and element.tag in wanted:
                    yield element
                    element.clear()
                    tags = 0
        except ParseError as error:
            raise DataError(f"{file}: broken XML: {error}") from None
        except DataError:
            raise
        except (ValueError, LookupError) as error:  # defusedxml refuses entities; encodings may be unknown
            raise DataError(f"{file}: refused XML: {error}") from None


def _entry(element: Element, file: Path, root: Path, images: Images, repairs: Repairs, proposals: list[Path]) -> Entry:
    name = element.get("name")
    where = f"{file}: image {str(name)[:80]!r}"
    subset = (element.get("subset") or "").strip()
    subset = "" if subset.lower() == "default" else subset
    image = images.find(name, file.parent, where, subset)
    height, width = (number(element.get(key) or 0, f"{where}: {key}") for key in ("height", "width"))
    objects = []
    for i, shape in enumerate(element):
        with repairs.skipping(image.stem, image):
            if _is_proposal(shape):
                proposals.append(image)
            elif shape.tag in ("box", "polygon", "mask"):
                objects.append(_object(shape, f"{where}: {shape.tag} {i + 1}"))
            elif shape.tag in _NOT_READ:
                raise DataError(
                    f"{where}: a shape {shape.tag!r}; only boxes, polygons and masks are read: redraw or delete it"
                )
    split = subset or split_in(image, root) or split_in(file, root)
    size = (height, width) if height and width else None
    return Entry(where=where, image=image, split=split, size=size, objects=objects)


def _is_proposal(shape: Element) -> bool:
    """Whether a shape is a model's proposal that nobody has accepted; see `annotation_tools.write_cvat`."""
    return any(item.get("name") == PROPOSED and item.text == "true" for item in shape.iterfind("attribute"))


def _object(shape: Element, where: str) -> Object:
    name = class_name(shape.get("label"), f"{where}: label")
    if number(shape.get("rotation") or 0, f"{where}: rotation"):
        raise DataError(f"{where}: a rotated box; only upright ones are read: redraw it, or draw a polygon")
    if shape.tag == "box":
        box = [number(shape.get(key), f"{where}: {key}") for key in ("xtl", "ytl", "xbr", "ybr")]
        return Object(where=where, name=name, box=box)
    if shape.tag == "mask":
        return _mask(shape, name, where)
    points = [number(value, where) for pair in (shape.get("points") or "").split(";") for value in pair.split(",")]
    if len(points) < 6 or len(points) % 2:
        raise DataError(f"{where}: expected points x,y;x,y;x,y, found {str(shape.get('points'))[:60]!r}")
    box, mask = polygons([points], where)
    return Object(where=where, name=name, box=box, mask=mask)


def _mask(shape: Element, name: str, where: str) -> Object:
    numbers = [number(shape.get(key), f"{where}: {key}") for key in ("left", "top", "width", "height")]
    left, top, width, height = map(int, numbers)
    counts = [number(count, f"{where}: rle") for count in (shape.get("rle") or "").split(",")]
    runs = np.array(counts).astype(np.int64)
    box = (left, top, left + width, top + height)
    valid = [left, top, width, height] == numbers and (runs == counts).all() and (runs >= 0).all()
    if not valid or min(width, height) < 1 or runs.sum() != width * height:
        raise DataError(f"{where}: expected run lengths that cover {width} x {height}, found {runs.sum()} pixels")
    return Object(where=where, name=name, box=box, mask=partial(_draw, runs, box, where))


def _draw(runs: np.ndarray, box: tuple[int, int, int, int], where: str, image_size: tuple[int, int]) -> Segment:
    x1, y1, x2, y2 = box
    if x1 < 0 or y1 < 0 or x2 > image_size[1] or y2 > image_size[0]:
        raise DataError(f"{where}: {x1} {y1} {x2} {y2} leaves the image of {image_size[1]} x {image_size[0]}")
    return from_rows(runs, box, image_size)

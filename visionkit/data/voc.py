"""Pascal VOC XML: Annotations/, JPEGImages/ (or images/) and, for splits, ImageSets/Main/."""

from collections import defaultdict
from pathlib import Path
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.files import (
    checked_size,
    choose_split,
    files_of,
    flag,
    inside,
    list_images,
    load_image,
    number,
    read_bytes,
    read_lines,
    regular,
)
from visionkit.data.repair import Repairs
from visionkit.types import DataError, Sample

XML_LIMIT = 2 * 2**20  # bytes; a tree of nothing but tags takes a hundred times as much memory


def folders(root: Path) -> tuple[Path, Path] | None:
    """The folders of annotations and images, or None where `root` holds no such data set."""
    for annotations in (root / "Annotations", root / "annotations"):
        for images in (root / "JPEGImages", root / "images", root / "Images"):
            if images.is_dir() and files_of(annotations, ".xml"):
                return annotations, images
    return None


def splits(root: Path) -> list[str]:
    """The lists in ImageSets/Main; those of single classes (`cat_train.txt`, "000012 -1" a line) are not splits."""
    annotated = {file.stem for file in files_of((folders(root) or [root])[0], ".xml")}

    def of_a_class(lines):  # "IMG 1" is the name of an image
        return lines and all(_id(line) != line and line not in annotated for _, line in lines)

    files = files_of(root / "ImageSets" / "Main", ".txt")
    return [file.stem for file in files if not of_a_class(read_lines(file)[:100])]


def voc(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads Pascal VOC XML.

    Class names are those of ALL annotations, sorted, so that ids are the same in every split. `difficult` objects are
    `ignore`. Coordinates are 1-based pixel indices, as VOC defines them, unless some xmin or ymin of the whole set is
    below 1: then the set is taken as 0-based and continuous; `source` says which. A box whose corners coincide in the
    file is dropped, though the VOC rule would make it one pixel wide: it is a slip of the mouse.

    Args:
        root: the folder that holds Annotations/.
        split: a list of ImageSets/Main without its suffix; None for every annotation.
        repairs: takes down what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file (and object) that is wrong, or the splits there are.
    """
    root = Path(root)
    found = folders(root)
    if found is None:
        raise DataError(f"{root}: expected Annotations/*.xml beside JPEGImages/ or images/")
    annotations, images = found
    repairs = Repairs("voc") if repairs is None else repairs
    files, parsed = {file.stem: file for file in files_of(annotations, ".xml")}, {}
    for id, file in files.items():
        with repairs.skipping(id):
            parsed[id] = _parse(regular(file, annotations, id), repairs)
    names = sorted({name for objects, _, _ in parsed.values() for name, _, _ in objects})
    boxes = np.array([box for objects, _, _ in parsed.values() for _, box, _ in objects]).reshape(-1, 4)
    corners = boxes[boxes.max(axis=1, initial=0) > 1][:, :2]  # others are fractions by mistake, and say nothing
    zero_based = bool(((corners >= 0) & (corners < 1)).any())
    by_stem = defaultdict(list)
    for file in list_images(images, recursive=False):
        by_stem[file.stem].append(file)
    ids = list(files) if split is None else _listed(root, split, files, repairs)
    class_ids, records = {name: i for i, name in enumerate(names)}, []
    for id in [id for id in ids if id in parsed]:
        objects, size, filename = parsed[id]
        xml = files[id]
        with repairs.skipping(id, next(iter(by_stem[id]), None), "broken image"):
            file = regular(_image(images, filename, xml, by_stem, files), images, xml)
            real = checked_size(file, size, xml)
            raw = np.array([box for _, box, _ in objects]).reshape(-1, 4)
            boxes = raw.astype(np.float32) if zero_based else npboxes.from_voc(raw)
            flat = raw[:, 2:] == raw[:, :2]
            boxes[:, 2:][flat] = boxes[:, :2][flat]
            boxes, keep = repairs.apply(boxes, real, id, file)
            labels = np.array([class_ids[objects[i][0]] for i in keep], np.int32)
            ignore = np.array([objects[i][2] for i in keep], bool)
            records.append(Sample(id=id, file=file, image_size=real, boxes=boxes, labels=labels, ignore=ignore))
    others = set().union(*(by_stem[stem] for stem in by_stem.keys() - files.keys())) - {r.file for r in records}
    if split is None and (left := sorted(others)):
        repairs.left_out("missing annotation", f"{images} left out without an XML", left)
    repairs.warn()
    base = "0-based coordinates" if zero_based else "1-based coordinates"
    return Dataset(records, names, load_image, f"Pascal VOC XML ({base}), split {split or 'all'}")


def _image(images: Path, filename: str | None, xml: Path, by_stem: dict, files: dict) -> Path:
    """The image of an annotation: that of its name; of several the one, and of none any, that it names itself."""
    own = by_stem[xml.stem]
    if len(own) == 1:
        return own[0]
    named = inside(images, filename or f"{xml.stem}.jpg", f"{xml}: filename")
    if own and named not in own:
        raise DataError(f"{xml}: {own[0]} or {own[1].name}? Its <filename> names neither", "listed twice")
    if not own and named.stem in files and named.is_file():
        raise DataError(f"{xml}: its image does not exist: {named} is that of {named.stem}.xml", "missing image")
    return named


def _listed(root: Path, split: str, files: dict[str, Path], repairs: Repairs) -> list[str]:
    file = root / "ImageSets" / "Main" / f"{choose_split(splits(root), split, root)}.txt"
    ids = {}
    for line, text in read_lines(file):
        id = text if text in files else _id(text)
        with repairs.skipping(id):
            if id not in files:
                raise DataError(f"{file}:{line}: image {id!r} has no annotation {id}.xml", "missing annotation")
            if id in ids:
                raise DataError(f"{file}:{line}: image {id!r} was already listed in line {ids[id]}", "listed twice")
            ids[id] = line
    return list(ids)


def _id(line: str) -> str:
    """What a line of a list names; that of a class says besides whether it is there: -1, 0 or 1."""
    words = line.rsplit(None, 1)
    return words[0] if len(words) == 2 and words[1] in ("-1", "0", "1") else line


def _parse(file: Path, repairs: Repairs):
    """([(name, [xmin, ymin, xmax, ymax], difficult)], (height, width) or None, filename or None) of one XML file."""
    try:
        tree = defusedxml.ElementTree.fromstring(read_bytes(file, XML_LIMIT))
    except ParseError as error:
        raise DataError(f"{file}: broken XML: {error}") from None
    except (ValueError, LookupError) as error:  # entities and the like are refused; so are unknown encodings
        raise DataError(f"{file}: refused XML: {error}") from None
    objects = []
    for i, element in enumerate(tree.findall("object"), start=1):
        where = f"{file}: object {i}"
        with repairs.skipping(file.stem):
            name = (element.findtext("name") or "").strip()
            if not name:
                raise DataError(f"{where}: expected a <name>")
            keys = ("xmin", "ymin", "xmax", "ymax")
            box = [number(element.findtext(f"bndbox/{key}"), f"{where} ({name[:40]}): {key}") for key in keys]
            objects.append((name, box, flag(element.findtext("difficult") or 0, f"{where}: difficult")))
    size = tuple(int(number(tree.findtext(f"size/{key}") or 0, f"{file}: {key}")) for key in ("height", "width"))
    return objects, size if all(size) else None, (tree.findtext("filename") or "").strip() or None

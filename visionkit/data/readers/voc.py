"""Pascal VOC XML: Annotations/, JPEGImages/ (or images/) and ImageSets/Main/, or XML among the images."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset, join
from visionkit.data.files import (
    annotated_among,
    checked_size,
    choose_split,
    files_of,
    flag,
    inside,
    list_images,
    load_image,
    lone_splits,
    number,
    paired_folders,
    read_bytes,
    read_lines,
    regular,
    spelling,
)
from visionkit.data.repair import Repairs
from visionkit.types import DataError, Sample

XML_LIMIT = 2 * 2**20  # bytes; a tree of nothing but tags takes a hundred times as much memory


class _Object(NamedTuple):
    name: str
    corners: list[float]  # xmin, ymin, xmax, ymax
    difficult: bool


class _Annotation(NamedTuple):
    """The content of one XML file."""

    objects: list[_Object]
    size: tuple[int, int] | None  # (height, width)
    filename: str | None


class _Part(NamedTuple):
    """What was read from the folders of one split, or of all of them."""

    annotation_folder: Path
    images: Path
    files: dict[str, Path]  # id -> its XML
    annotations: dict[str, _Annotation]  # those of them that can be read


def folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Split -> folders of annotations and of images; "" if all are in one; {} if `root` has no such data set."""
    whole = _whole(root)
    if whole:
        return {"": whole}
    pairs = paired_folders(root, ("JPEGImages", "images", "Images", "data"), ("Annotations", "annotations", "labels"))
    apart = {split: (xml, images) for split, (images, xml) in pairs.items() if files_of(xml, ".xml")}
    return apart or {split: (part, part) for split, part in annotated_among(root, ".xml", _is_voc).items()}


def _whole(root: Path) -> tuple[Path, Path] | None:
    """The folders of annotations and images of the official layout, whose splits are lists."""
    for annotations in (root / "Annotations", root / "annotations"):
        for images in (root / "JPEGImages", root / "images", root / "Images"):
            if images.is_dir() and files_of(annotations, ".xml"):
                return annotations, images
    return None


def _is_voc(file: Path) -> bool:
    with file.open("rb") as stream:
        return re.search(rb"<annotation[\s>]", stream.read(4096)) is not None


def splits(root: Path) -> list[str]:
    """Returns the names of folders of splits, or of the lists in ImageSets/Main.

    Lists of single classes (`cat_train.txt`, lines "000012 -1") do not count.
    """
    parts = folders(root)
    if "" not in parts:
        return list(parts)
    annotated = {file.stem for file in files_of(parts[""][0], ".xml")}

    def of_one_class(lines: Sequence[tuple[int, str]]) -> bool:
        # A line such as "IMG 1" may also be the name of an image.
        return bool(lines) and all(_id(line) != line and line not in annotated for _, line in lines)

    files = files_of(root / "ImageSets" / "Main", ".txt")
    return [file.stem for file in files if not of_one_class(read_lines(file, errors="surrogateescape")[:100])]


def voc(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads Pascal VOC XML.

    Class names are those of ALL annotations, sorted, so that ids are the same in every split. `difficult` objects are
    `ignore`. Coordinates are 1-based pixel indices, as VOC defines them, unless some xmin or ymin in the data set is
    below 1: then the whole set is taken as 0-based and continuous; `source` tells which. A box whose corners coincide
    is dropped as a slip of the mouse, although the VOC rule would make it one pixel wide.

    Args:
        root: the folder that contains Annotations/, or XML files among the images, or train/, val/, test/ with either.
        split: a list of ImageSets/Main without its suffix, or a folder; None for every annotation.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file (and object) that is wrong, or the available splits.
    """
    root = Path(root)
    found = folders(root)
    if not found:
        raise DataError(f"{root}: expected Annotations/*.xml beside JPEGImages/ or images/, or XML among the images")
    repairs = Repairs("Pascal VOC XML") if repairs is None else repairs
    for images, xml in lone_splits({name: (images, xml) for name, (xml, images) in found.items()}):
        with repairs.skipping():
            raise DataError(f"{images}: its annotations {xml / '*.xml'} do not exist", "missing annotation")
    parts = {name: _read_part(xml, images, repairs) for name, (xml, images) in found.items()}
    annotations = [annotation for part in parts.values() for annotation in part.annotations.values()]
    names = sorted({item.name for annotation in annotations for item in annotation.objects})
    zero_based = _zero_based(parts.values(), repairs, root)
    base = f"boxes counted from {0 if zero_based else 1}"

    def dataset(part: _Part, ids: list[str], name: str | None) -> Dataset:
        records = _records(part, ids, names, zero_based, repairs, name is None)
        return Dataset(records, names, load_image, f"Pascal VOC XML ({base}), split {name or 'all'}")

    if "" in parts:
        whole = parts[""]
        ids = list(whole.files) if split is None else _listed(root, split, whole.files, repairs)
        data = dataset(whole, ids, split)
    else:
        chosen = parts if split is None else [choose_split(parts, split, root)]
        data = join([dataset(parts[name], list(parts[name].files), split) for name in chosen])
    repairs.warn()
    return data


def _read_part(annotation_folder: Path, images: Path, repairs: Repairs) -> _Part:
    found = files_of(annotation_folder, ".xml")
    if annotation_folder == images:
        deeper = {f.parent for f in list_images(images)} - {images}
        found += [file for folder in sorted(deeper) for file in files_of(folder, ".xml")]
    files = {_key(file, annotation_folder): file for file in found}
    annotations: dict[str, _Annotation] = {}
    for id, file in files.items():
        with repairs.skipping(id):
            annotations[id] = _parse(regular(file, annotation_folder, id), repairs)
    return _Part(annotation_folder, images, files, annotations)


def _key(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _records(
    part: _Part, ids: list[str], names: list[str], zero_based: bool, repairs: Repairs, everything: bool
) -> list[Sample]:
    by_key: dict[str, list[Path]] = defaultdict(list)
    by_spelling: dict[str, list[Path]] = defaultdict(list)
    for file in list_images(part.images, recursive=part.annotation_folder == part.images):
        key = _key(file, part.images)
        by_key[key].append(file)
        if key not in part.files:
            by_spelling[spelling(key)].append(file)
    spelled = {id: by_spelling[spelling(id)] for id in ids if id not in by_key and len(by_spelling[spelling(id)]) == 1}
    if spelled:
        alike = [file for files in spelled.values() for file in files]
        repairs.left_out("found by name", f"{part.images} whose XML spells their names otherwise", alike)
    by_key |= spelled
    records = []
    for id in ids:
        if id not in part.annotations:
            continue
        with repairs.skipping(id, next(iter(by_key[id]), None), "broken image"):
            annotation = part.annotations[id]
            image = _image(part, annotation.filename, id, by_key)
            file = regular(image, part.images, part.files[id])
            size = checked_size(file, annotation.size, part.files[id])
            records.append(_record(id, file, size, annotation.objects, names, zero_based, repairs))
    if everything:
        _report_unannotated(part.images, by_key, part.files, records, repairs)
    return records


def _zero_based(parts: Iterable[_Part], repairs: Repairs, root: Path) -> bool:
    """Whether some xmin or ymin is below 1, so that coordinates cannot be 1-based indices; notes how many there are."""
    total, first = 0, []
    for part in parts:
        for id, annotation in part.annotations.items():
            corners = np.array([item.corners for item in annotation.objects]).reshape(-1, 4)
            low = corners[corners.max(axis=1, initial=0) > 1][:, :2]  # others are fractions by mistake, prove nothing
            total += len(low)
            first += [part.files[id]] * int(((low >= 0) & (low < 1)).any(axis=1).sum())
    if first and len(first) <= max(1, total // 100):
        begin = "begins" if len(first) == 1 else "begin"
        text = f"{len(first)} of {total} boxes {begin} at 0 (such as in {first[0]}), so all are counted from 0"
        repairs.note("box base", f"{root}: {text}")
    return bool(first)


def _record(
    id: str,
    file: Path,
    image_size: tuple[int, int],
    objects: list[_Object],
    names: list[str],
    zero_based: bool,
    repairs: Repairs,
) -> Sample:
    corners = np.array([item.corners for item in objects]).reshape(-1, 4)
    boxes = corners.astype(np.float32) if zero_based else npboxes.from_voc(corners)
    flat = corners[:, 2:] == corners[:, :2]
    boxes[:, 2:][flat] = boxes[:, :2][flat]
    boxes, keep = repairs.apply(boxes, image_size, id, file)
    labels = np.array([names.index(objects[i].name) for i in keep], np.int32)
    ignore = np.array([objects[i].difficult for i in keep], bool)
    return Sample(id=id, file=file, image_size=image_size, boxes=boxes, labels=labels, ignore=ignore)


def _report_unannotated(
    images: Path, by_stem: dict[str, list[Path]], files: Collection[str], records: list[Sample], repairs: Repairs
) -> None:
    """Reports the images that no XML file describes."""
    unannotated = {file for stem, same_stem in by_stem.items() if stem not in files for file in same_stem}
    if left := sorted(unannotated - {record.file for record in records}):
        repairs.left_out("unannotated image", f"{images} left out without an XML", left)


def _image(part: _Part, filename: str | None, id: str, by_key: dict[str, list[Path]]) -> Path:
    """The image of an annotation: the one with its name; if there are several or none, the one that it names."""
    same_name, xml = by_key[id], part.files[id]
    if len(same_name) == 1:
        return same_name[0]
    named = inside((part.images / id).parent, filename or f"{xml.stem}.jpg", f"{xml}: filename")
    if same_name and named not in same_name:
        raise DataError(f"{xml}: {same_name[0]} or {same_name[1].name}? Its <filename> names neither", "listed twice")
    if not same_name and _key(named, part.images) in part.files and named.is_file():
        raise DataError(f"{xml}: its image does not exist: {named} is that of {named.stem}.xml", "missing image")
    return named


def _listed(root: Path, split: str, files: Collection[str], repairs: Repairs) -> list[str]:
    """The ids in the list of a split."""
    file = root / "ImageSets" / "Main" / f"{choose_split(splits(root), split, root)}.txt"
    ids: dict[str, int] = {}  # id -> its line
    for line, text in read_lines(file, errors="surrogateescape"):
        id = text if text in files else _id(text)
        with repairs.skipping(id):
            if id not in files:
                raise DataError(f"{file}:{line}: image {id!r} has no annotation {id}.xml", "missing annotation")
            if id in ids:
                raise DataError(f"{file}:{line}: image {id!r} was already listed in line {ids[id]}", "listed twice")
            ids[id] = line
    return list(ids)


def _id(line: str) -> str:
    """The id in a line of a list; lists of single classes add whether the class is present: -1, 0 or 1."""
    words = line.rsplit(None, 1)
    return words[0] if len(words) == 2 and words[1] in ("-1", "0", "1") else line


def _parse(file: Path, repairs: Repairs) -> _Annotation:
    try:
        tree = defusedxml.ElementTree.fromstring(read_bytes(file, XML_LIMIT))
    except ParseError as error:
        raise DataError(f"{file}: broken XML: {error}") from None
    except (ValueError, LookupError) as error:  # defusedxml refuses entities and the like; encodings may be unknown
        raise DataError(f"{file}: refused XML: {error}") from None
    objects = []
    for i, element in enumerate(tree.findall("object"), start=1):
        where = f"{file}: object {i}"
        with repairs.skipping(file.stem):
            name = (element.findtext("name") or "").strip()
            if not name:
                raise DataError(f"{where}: expected a <name>")
            keys = ("xmin", "ymin", "xmax", "ymax")
            corners = [number(element.findtext(f"bndbox/{key}"), f"{where} ({name[:40]}): {key}") for key in keys]
            objects.append(_Object(name, corners, flag(element.findtext("difficult") or 0, f"{where}: difficult")))
    height, width = (int(number(tree.findtext(f"size/{key}") or 0, f"{file}: {key}")) for key in ("height", "width"))
    size = (height, width) if height and width else None
    return _Annotation(objects, size, (tree.findtext("filename") or "").strip() or None)

"""Images and their objects as annotation programs describe them, and how they become a Dataset."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.files import (
    HIDDEN,
    SPLIT_NAMES,
    checked_size,
    choose_split,
    inside,
    list_images,
    load_image,
    regular,
    sample_ids,
    spelling,
    split_name,
)
from visionkit.data.repair import Repairs
from visionkit.data.segments import Segment, check_masks, load_masks, parse_segment
from visionkit.image_files import IMAGE_SUFFIXES
from visionkit.types import DataError, Sample

MOST_FILES = 20  # in a folder, of a format with one file for many images
Mask = Callable[[tuple[int, int]], Segment | None]  # (height, width) of the image -> what is drawn when it is loaded


@dataclass(frozen=True, kw_only=True)
class Object:
    """One annotated object.

    Args:
        where: file and place, for messages.
        name: of its class.
        box: x1, y1, x2, y2 in pixels, or in fractions of the image.
        fractions: whether `box` is in fractions.
        mask: its mask, or None if it has only a box.
        ignore: whether it is a crowd.
    """

    where: str
    name: str
    box: Sequence[float]
    fractions: bool = False
    mask: Mask | None = None
    ignore: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image and what is known about it.

    Args:
        where: file and place, for messages.
        image: the image file.
        split: its split, "" if the data is not split.
        size: (height, width) as annotated, or None.
        objects: none for background.
        label: the class of the whole image, or None where there are objects instead.
    """

    where: str
    image: Path
    split: str = ""
    size: tuple[float, float] | None = None
    objects: list[Object] = field(default_factory=list)
    label: str | None = None


class Images:
    """Finds the images of a data set that its annotations name.

    Args:
        root: the data set; nothing outside of it is read.
        repairs: is told which images are not where the annotations say.
    """

    def __init__(self, root: Path, repairs: Repairs):
        self.root = root
        self.repairs = repairs
        self._by_name: dict[str, list[Path]] = {}  # base name, and the name without suffix -> images; listed if needed
        self._by_spelling: dict[str, list[Path]] = {}  # the same without regard to case and Unicode form
        self._found_by_name: list[Path] = []
        self._known: dict[tuple[str, Path, str], Path] = {}  # tables name an image once for each box

    def find(self, name: Any, folder: Path, where: str, within: str = "") -> Path:
        """Returns the image `name`: relative to the annotation's folder, to the usual folders beside it, or to `root`.

        Otherwise it is the only image of the data set with that base name; or, for a name without a suffix, with that
        name before its suffix.

        Args:
            name: as in the annotation.
            folder: of the annotation file.
            where: the start of an error message.
            within: a folder in one of these that may hold it, such as its split.

        Raises:
            DataError: there is no such image in the data set, or several have its name.
        """
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{where}: expected the name of an image, found {str(name)[:40]!r}")
        key = (name, folder, within)
        if key not in self._known:
            self._known[key] = self._search(name, folder, where, within)
        return self._known[key]

    def candidates(self, name: str, folder: Path) -> list[Path]:
        """Returns the image that is where `name` says, or else those with its base name; arguments as in `find`."""
        placed = self._placed(name, folder, "")
        return [placed] if placed else self._named(name)

    def _placed(self, name: str, folder: Path, within: str) -> Path | None:
        base = Path(os.path.abspath(self.root))  # noqa: PTH100 (resolve() follows links)
        bases = [start / inner for start in (folder, self.root) for inner in ("images", "data", "")]
        for place in (*(start / within for start in bases if within), folder, *bases):
            path = Path(os.path.abspath(place / name.replace("\\", "/")))  # noqa: PTH100
            if path.is_relative_to(base) and os.path.isfile(path):  # noqa: PTH113 (Path.is_file raises on long names)
                return self.root / path.relative_to(base)
        return None

    def _search(self, name: str, folder: Path, where: str, within: str) -> Path:
        placed = self._placed(name, folder, within)
        found = [placed] if placed else self._named(name)
        if len(found) > 1:
            raise DataError(f"{where}: {found[0]} or {found[1]}? Both have the name {name[:80]!r}", "listed twice")
        if not found:
            inside(self.root, name, where)
            raise DataError(f"{where}: there is no image {name[:80]!r} in {self.root}", "missing image")
        image = regular(found[0], self.root, where)
        if placed is None:
            self._found_by_name.append(image)
        return image

    def report(self, what: str) -> None:
        """Says which images were found by their base names since the last report, if any; `what`: the annotations."""
        if self._found_by_name:
            line = f"{what} found by base name, since they are not where it says, or spelled otherwise"
            self.repairs.left_out("found by name", line, self._found_by_name)
            self._found_by_name = []

    def _named(self, name: str) -> list[Path]:
        if not self._by_name:
            self._by_name, self._by_spelling = defaultdict(list), defaultdict(list)
            for file in list_images(self.root):
                for own in (file.name, file.stem):
                    self._by_name[own].append(file)
                    self._by_spelling[spelling(own)].append(file)
        base = name.replace("\\", "/").rpartition("/")[2]
        key = "name" if any(base.lower().endswith(suffix) for suffix in IMAGE_SUFFIXES) else "stem"
        exact = [file for file in self._by_name.get(base, []) if getattr(file, key) == base]
        alike = self._by_spelling.get(spelling(base), [])
        return exact or [file for file in alike if spelling(getattr(file, key)) == spelling(base)]


def dataset_of(
    root: Path,
    entries: Sequence[Entry],
    split: str | None,
    repairs: Repairs,
    source: str,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Returns the data set of `entries`.

    Args:
        root: its folder; ids are the paths of the images in it.
        entries: of ALL splits, so that class ids are the same in every split.
        split: the one to return; None for all.
        repairs: records what is wrong.
        source: the format.
        class_names: in the order of the class ids; by default all names that occur, sorted.

    Raises:
        DataError: there is no such split; an image is described twice, or broken, or has another size; a class is not
            among `class_names`.
    """
    if not entries and not repairs.findings:
        raise DataError(f"{root}: expected annotations of {source}, found none")
    used = {item.name for entry in entries for item in entry.objects} | {
        entry.label for entry in entries if entry.label
    }
    names = sorted(used, key=_natural) if class_names is None else list(class_names)
    chosen = list(entries)
    if split is not None:
        name = choose_split(splits_of(entries), split, root)
        chosen = [entry for entry in entries if entry.split == name]
    ids = sample_ids([entry.image.relative_to(root) for entry in chosen])
    records: list[Sample] = []
    segments: dict[str, list[Segment | None]] = {}
    seen: dict[Path, Entry] = {}
    for id, entry in zip(ids, chosen, strict=True):
        with repairs.skipping(id, entry.image, "broken image"):
            if entry.image in seen:
                text = f"{entry.where}: {entry.image} was already described in {seen[entry.image].where}"
                raise DataError(text, "listed twice")
            seen[entry.image] = entry
            id = id if id not in segments else entry.image.relative_to(root).as_posix()
            record, segments[id] = _record(id, entry, names, repairs)
            records.append(record)
    if split is None and (left := sorted(set(list_images(root)) - {entry.image for entry in entries})):
        repairs.left_out("unannotated image", f"{root} left out, which no annotation names", left)
    repairs.warn()
    has_objects = any(entry.label is None for entry in chosen)
    what, has_masks = _about_masks(root, segments, repairs) if has_objects else ("", False)
    load = partial(load_masks, segments) if has_masks else load_image
    return Dataset(records, names, load, f"{source}, split {split or 'all'}{what}")


def _record(id: str, entry: Entry, names: list[str], repairs: Repairs) -> tuple[Sample, list[Segment | None]]:
    """The Sample of an image, and the segments of its boxes."""
    size = checked_size(entry.image, entry.size, entry.where)
    if entry.label is not None:
        return Sample(id=id, file=entry.image, image_size=size, label=names.index(entry.label)), []
    objects: list[Object] = []
    boxes: list[np.ndarray] = []
    masks: list[Segment | None] = []
    for item in entry.objects:
        with repairs.skipping(id, entry.image):
            if item.name not in names:
                raise DataError(f"{item.where}: {item.name[:80]!r} is not among its classes", "unknown class")
            masks.append(item.mask(size) if item.mask else None)
            objects.append(item)
            boxes.append(np.array(item.box) * (np.tile(size[::-1], 2) if item.fractions else 1))
    kept, rows = repairs.apply(np.reshape(boxes, (-1, 4)), size, id, entry.image)
    record = Sample(
        id=id,
        file=entry.image,
        image_size=size,
        boxes=kept,
        labels=np.array([names.index(objects[row].name) for row in rows], np.int32),
        ignore=np.array([objects[row].ignore for row in rows], bool),
    )
    masks = [masks[row] for row in rows]
    if all(mask is not None for mask in masks):
        check_masks(len(masks), size, entry.where)
    return record, masks


def _about_masks(root: Path, segments: dict[str, list[Segment | None]], repairs: Repairs) -> tuple[str, bool]:
    """What to add to the data set's description, and whether it has masks: only if every object has one."""
    total = sum(map(len, segments.values()))
    without = sum(segment is None for several in segments.values() for segment in several)
    if total and not without:
        return ", boxes and masks", True
    if without == total:
        return ", boxes", False
    missing = f"{without} of {total} objects have no mask"
    repairs.note("missing mask", f"{root}: {missing}: read as boxes alone")
    return f", boxes ({missing})", False


def splits_of(entries: Sequence[Entry]) -> list[str]:
    """Returns the splits of `entries`; [""] if the data is not split."""
    return list(dict.fromkeys(entry.split for entry in entries))


def split_in(path: Path, root: Path) -> str:
    """Returns the first folder of `path` in `root` that is named like a split, or ""."""
    folders = path.relative_to(root).parts[:-1]
    return next((name for name in folders if split_name(name) in SPLIT_NAMES), "")


def is_wrapper(root: Path) -> bool:
    """Whether `root` contains nothing but one folder, which is no split: then that folder is the data set."""
    inner = [path for path in root.iterdir() if not path.name.startswith(HIDDEN)] if root.is_dir() else []
    return len(inner) == 1 and os.path.isdir(inner[0]) and split_name(inner[0].name) not in SPLIT_NAMES  # noqa: PTH112


def annotation_files(root: Path, suffixes: Sequence[str], matches: Callable[[Path], bool]) -> list[Path]:
    """Returns the files in `root`, or in folders of it, up to two deep, that have one of `suffixes` and match.

    Folders with more than a few such files have a file for each image, and are not looked into.
    """
    found: list[Path] = []
    for files in () if is_wrapper(root) else _shallow(root, depth=2):
        candidates = [file for file in files if file.suffix.lower() in suffixes]
        if len(candidates) <= MOST_FILES:
            found += [file for file in candidates if matches(file)]
    return found


def _shallow(root: Path, depth: int, seen: frozenset[str] = frozenset()) -> Iterator[list[Path]]:
    """The files of `root`, and those of each folder in it; links that lead back to a folder are not followed."""
    real = os.path.realpath(root)
    if real in seen or not root.is_dir():
        return
    paths = sorted(path for path in root.iterdir() if not path.name.startswith(HIDDEN))
    yield [path for path in paths if os.path.isfile(path)]  # noqa: PTH113 (Path raises on links in a circle)
    for path in paths:
        if depth and os.path.isdir(path):  # noqa: PTH112
            yield from _shallow(path, depth - 1, seen | {real})


def polygons(points: Sequence[Sequence[Any]], where: str) -> tuple[tuple[float, ...], Mask]:
    """Returns the box around polygons in pixels, each [x, y, x, y, ...], and their mask."""
    xy = np.concatenate([np.reshape(np.asarray(polygon, np.float64), (-1, 2)) for polygon in points])
    box = (*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist())
    flat = [np.asarray(polygon, np.float64).tolist() for polygon in points]
    return box, partial(_polygon_mask, flat, where)


def _polygon_mask(flat: list[list[float]], where: str, image_size: tuple[int, int]) -> Segment | None:
    return parse_segment(flat, image_size, where)


def class_name(value: Any, where: str) -> str:
    """Returns a class name from an annotation file as text; raises a `DataError` if it is none."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: expected the name of a class, found {str(value)[:40]!r}")
    return value.strip()


def _natural(name: str) -> tuple[int, int, str]:
    """Sorts class names that are numbers by their value, before the others."""
    return (0, int(name), "") if name.isascii() and name.isdigit() and len(name) < 18 else (1, 0, name)

"""COCO JSON: boxes; and masks from polygons or run lengths if every annotation has one, or keypoints."""

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from visionkit import limits, npboxes
from visionkit.data.dataset import Dataset, join
from visionkit.data.files import (
    HIDDEN,
    SPLIT_NAMES,
    checked_size,
    choose_split,
    flag,
    inside,
    list_images,
    load_image,
    number,
    read_bytes,
    read_json,
    regular,
    sample_ids,
    spelling,
    split_name,
    subfolders,
)
from visionkit.data.keypoints import parse_keypoints, skeleton_in
from visionkit.data.repair import Repairs
from visionkit.data.segments import Segment, check_masks, load_masks, parse_segment
from visionkit.types import DataError, Sample, Skeleton

_OTHERS = ("captions", "image_info", "panoptic", "stuff")  # COCO's files for other tasks
_KEYPOINTS = "person_keypoints"  # and for this one

Id = int | str  # COCO's ids are numbers, but some programs write text
Item = dict[str, Any]  # an object of the JSON file
Segments = dict[str, list[Segment | None]]  # sample id -> the segment of each of its boxes


def splits(root: Path, keypoints: bool = False) -> dict[str, Path]:
    """Split -> annotation file: `instances_val2017.json` is "val2017", `train/_annotations.coco.json` is "train".

    Args:
        root: a folder.
        keypoints: only files with keypoints, among them `person_keypoints_val2017.json`, which are not looked at else.
    """
    inner = subfolders(root) if root.is_dir() else []
    is_wrapper = len(inner) == 1 and split_name(inner[0].name) not in SPLIT_NAMES  # the data set is that folder
    for pattern in ("annotations/*.json", "*.json", "*/_annotations.coco.json", "*/*.json", "*/annotations/*.json"):
        if pattern.startswith("*/") and is_wrapper:
            break
        files: dict[str, Path] = {}
        for file in sorted(root.glob(pattern)):
            hidden = any(part.startswith(HIDDEN) for part in file.relative_to(root).parts)
            is_file = os.path.isfile(file)  # noqa: PTH113 (Path raises on links in a circle)
            is_other = file.stem.startswith(_OTHERS if keypoints else (*_OTHERS, _KEYPOINTS))
            if is_file and not hidden and not is_other and _looks_like_coco(file, keypoints):
                files.setdefault(_split_of(file, root), file)
        if files:
            return files
    return {}


def _split_of(file: Path, root: Path) -> str:
    """The split of an annotation file: the folder if that has the name of one, or the name of the file."""
    folder = file.relative_to(root).parts[0]
    is_split = split_name(folder) in SPLIT_NAMES or file.stem == "_annotations.coco"
    stem = file.stem.removeprefix("instances_").removeprefix(f"{_KEYPOINTS}_")
    return folder if is_split and file.parent != root else stem


def coco(root: Path, split: str | None = None, repairs: Repairs | None = None, keypoints: bool = False) -> Dataset:
    """Reads COCO JSON.

    Class ids are 0..K-1 in the order of the category ids, without their gaps. Crowds are `ignore`. An image without
    annotations is background. Masks are drawn when a sample is loaded.

    Args:
        root: a folder with annotations/*.json, *.json, or train/_annotations.coco.json.
        split: "val" means `instances_val2017.json`, if it is the only val; None for all files.
        repairs: records what is wrong; by default it is logged, or raised.
        keypoints: reads keypoints in place of masks, from the files that have them.

    Raises:
        DataError: names the file and annotation that is wrong, or the available splits.
    """
    root = Path(root)
    files = splits(root, keypoints)
    if not files:
        raise DataError(f"{root}: expected COCO annotations in annotations/*.json, *.json or */_annotations.coco.json")
    if split is None:
        parts = [_FileReader(root, name, file, repairs, keypoints).read() for name, file in files.items()]
        return parts[0] if len(parts) == 1 else join(parts)
    name = choose_split(files, split, root)
    return _FileReader(root, name, files[name], repairs, keypoints).read()


keypoint_splits = partial(splits, keypoints=True)
coco_keypoints = partial(coco, keypoints=True)


def _looks_like_coco(file: Path, keypoints: bool) -> bool:
    data = read_bytes(file, limits.JSON)  # searching the bytes takes a hundredth of the time of parsing them
    keys = (b'"images"', b'"annotations"', b'"categories"', *((b'"keypoints"',) if keypoints else ()))
    return all(key in data for key in keys)


class _FileReader:
    """Reads one annotation file."""

    def __init__(self, root: Path, split: str, file: Path, repairs: Repairs | None, keypoints: bool):
        self.root = root
        self.file = file
        self.repairs = Repairs("COCO JSON") if repairs is None else repairs
        beside = file.parent
        self.image_folders = (
            *(beside, root / "images" / split, root / split, root / "images", root),
            *(root / "data", beside / "data", beside / "images", beside.parent / "images", beside.parent / "data"),
        )
        self.by_name: dict[str, list[Path]] | None = None  # base name -> the images in `root`; listed when needed
        self.by_spelling: dict[str, list[Path]] = defaultdict(list)  # the same; case and Unicode form do not matter
        self.found_by_name: list[Path] = []
        self.used: set[Path] = set()
        self.images, self.annotations, categories = _load_json(file)
        categories = _without_project(categories, self.annotations)
        self.names, self.class_ids = _classes(categories, file)
        self.skeleton = skeleton_in(categories, file) if keypoints else None

    def read(self) -> Dataset:
        by_image: dict[Id, list[tuple[int, Item]]] = defaultdict(list)  # image id -> (index, annotation)
        for i, annotation in enumerate(self.annotations):
            with self.repairs.skipping():
                by_image[_id(annotation, "image_id", f"{self.file}: annotations[{i}]")].append((i, annotation))
        records, segments = self._records(by_image)
        self._report_found_by_name()
        self._report_missing_images(by_image)
        self._report_gaps()
        self.repairs.warn()
        source, has_masks = self._source(segments)
        load = partial(load_masks, segments) if has_masks else load_image
        return Dataset(records, self.names, load, source)

    def _records(self, by_image: dict[Id, list[tuple[int, Item]]]) -> tuple[list[Sample], Segments]:
        named = []
        for i, image in enumerate(self.images):
            with self.repairs.skipping():
                where = f"{self.file}: images[{i}]: file_name"
                by_name = self._by_base_name(image.get("file_name"))
                path = by_name or inside(self.root, image.get("file_name"), where)
                named.append((i, image, path))
        ids = sample_ids([path.relative_to(self.root) for _, _, path in named])
        records: list[Sample] = []
        segments: Segments = {}
        seen: set[Id] = set()
        for (i, image, path), id in zip(named, ids, strict=True):
            where = f"{self.file}: images[{i}] ({str(image['file_name'])[:80]!r})"
            with self.repairs.skipping(id, kind="broken image"):
                key = _id(image, "id", where)
                if key in seen or id in segments:
                    text = f"{where}: its id {_short(key)} or file name is that of an earlier image"
                    raise DataError(text, "listed twice")
                seen.add(key)
                record, segments[id] = self._record(image, path, id, by_image.get(key, []), where)
                records.append(record)
        return records, segments

    def _record(
        self, image: Item, path: Path, id: str, annotations: Sequence[tuple[int, Item]], where: str
    ) -> tuple[Sample, list[Segment | None]]:
        """The Sample of one image, and the segments of its boxes."""
        path = self._image_file(image, path, where)
        height, width = (number(image.get(key) or 0, f"{where}: {key}") for key in ("height", "width"))
        size = checked_size(path, (height, width) if height and width else None, where)
        boxes: list[list[float]] = []
        labels: list[int] = []
        ignore: list[bool] = []
        areas: list[float] = []
        segments: list[Segment | None] = []
        keypoints: list[np.ndarray] = []
        for i, annotation in annotations:
            at = f"{self.file}: annotations[{i}]"
            with self.repairs.skipping(id, path):
                box, category = annotation.get("bbox"), _id(annotation, "category_id", at)
                if not isinstance(box, list) or len(box) != 4:
                    raise DataError(f"{at}: expected bbox [x, y, width, height], found {str(box)[:60]}")
                if category not in self.class_ids:
                    raise DataError(f"{at}: no category has the id {_short(category)}", "unknown class")
                box = [number(value, f"{at}: bbox") for value in box]
                segment = None
                if self.skeleton is None:
                    segment = parse_segment(annotation.get("segmentation"), size, f"{at}: segmentation")
                else:
                    outside = partial(self.repairs.keypoint, id=id, file=path)
                    given = annotation.get("keypoints")
                    keypoints.append(parse_keypoints(given, self.skeleton, size, f"{at}: keypoints", outside))
                crowd = flag(annotation.get("iscrowd") or 0, f"{at}: iscrowd")
                boxes.append(box)
                labels.append(self.class_ids[category])
                ignore.append(crowd)
                areas.append(_area(annotation.get("area")))
                segments.append(segment)
        kept, rows = self.repairs.apply(npboxes.from_xywh(np.reshape(boxes, (-1, 4))), size, id, path)
        if path in self.used:
            raise DataError(f"{where}: {path} is that of an earlier image", "listed twice")
        self.used.add(path)
        record = Sample(
            id=id,
            file=path,
            image_size=size,
            boxes=kept,
            labels=np.array(labels, np.int32)[rows],
            ignore=np.array(ignore, bool)[rows],
            areas=np.array(areas, np.float64)[rows],
            skeleton=self.skeleton,
            keypoints=_stacked(keypoints, self.skeleton)[rows] if self.skeleton else None,
        )
        segments = [segments[row] for row in rows]
        if all(segment is not None for segment in segments):
            check_masks(len(segments), size, where)
        return record, segments

    def _places(self, name: str) -> Iterator[tuple[Path, Path]]:
        """(where the image may be, the folder that it must be in)."""
        for folder in self.image_folders:
            with contextlib.suppress(DataError):
                yield inside(folder, name, ""), folder

    def _by_base_name(self, name: Any) -> Path | None:
        """The only image in the data set with the base name of `name`, if it is not where `name` says.

        Label Studio and others write paths of the machine that the images were uploaded to.
        """
        if not isinstance(name, str) or any(path.is_file() for path, _ in self._places(name)):
            return None
        if self.by_name is None:
            self.by_name = defaultdict(list)
            for file in list_images(self.root):
                self.by_name[file.name].append(file)
                self.by_spelling[spelling(file.name)].append(file)
        base = name.replace("\\", "/").rpartition("/")[2]
        same = self.by_name.get(base) or self.by_name.get(unquote(base.partition("?")[0]))
        same = same or self.by_spelling.get(spelling(base)) or []
        return same[0] if len(same) == 1 else None

    def _image_file(self, image: Item, path: Path, where: str) -> Path:
        name = image["file_name"]
        for place, folder in self._places(name):
            if place.is_file():
                return regular(place, folder, where)
        if path.is_file():
            self.found_by_name.append(path)
            return regular(path, self.root, where)
        inside(self.file.parent, name, where)
        places = ", ".join(dict.fromkeys(str(folder) for folder in self.image_folders if folder.is_dir()))
        raise DataError(f"{where}: no such image in any of {places}", "missing image")

    def _report_found_by_name(self) -> None:
        if self.found_by_name:
            what = f"{self.file} found by base name, since they are not where it says, or spelled otherwise"
            self.repairs.left_out("found by name", what, self.found_by_name)

    def _report_missing_images(self, by_image: dict[Id, list[tuple[int, Item]]]) -> None:
        known = {image.get("id") for image in self.images if isinstance(image.get("id"), Id)}
        for key in by_image.keys() - known:
            with self.repairs.skipping():
                first = by_image[key][0][0]
                text = f"{self.file}: annotations[{first}]: no image has the id {_short(key)}"
                raise DataError(text, "missing image")

    def _report_gaps(self) -> None:
        """Notes category ids that are skipped between those that are used."""
        numbers = [key for key in self.class_ids if isinstance(key, int) and abs(key) <= 10**6]
        if not numbers or len(numbers) < len(self.class_ids):
            return
        if missing := sorted(set(range(min(numbers), max(numbers))) - set(numbers)):
            gaps = ", ".join(map(str, missing[:9]))
            text = f"{self.file}: {len(numbers)} category ids with gaps ({gaps} are missing)"
            self.repairs.note("class-id gaps", f"{text}; visionkit closes them, other tools may not")

    def _source(self, segments: Segments) -> tuple[str, bool]:
        """The data set's description, and whether it has masks: only if every annotation has one."""
        total = sum(map(len, segments.values()))
        without = sum(segment is None for of_sample in segments.values() for segment in of_sample)
        source = f"COCO JSON {self.file.name}"
        if self.skeleton is not None:
            return f"{source}, boxes and keypoints", False
        if total and not without:
            return f"{source}, boxes and masks", True
        if without == total:
            return f"{source}, boxes", False
        missing = f"{without} of {total} annotations have no mask"
        self.repairs.note("missing mask", f"{self.file}: {missing}: read as boxes alone")
        return f"{source}, boxes ({missing})", False


def _without_project(categories: list[Item], annotations: list[Item]) -> list[Item]:
    """The categories without the one that Roboflow puts first: the project, the parent of the others, never used."""
    parents = {str(category.get("supercategory")) for category in categories}
    used = {str(annotation.get("category_id")) for annotation in annotations}

    def is_project(category: Item) -> bool:
        is_parent = category.get("supercategory") == "none" and str(category.get("name")) in parents
        return is_parent and str(category.get("id")) not in used

    return [category for category in categories if not is_project(category)] or categories


def _classes(categories: list[Item], file: Path) -> tuple[list[str], dict[Id, int]]:
    """(names by rising category id, category id -> class id)."""
    names: dict[Id, str] = {}
    for i, category in enumerate(categories):
        key, name = _id(category, "id", f"{file}: categories[{i}]"), category.get("name")
        if not isinstance(name, str) or not name or key in names or name in names.values():
            raise DataError(
                f"{file}: categories[{i}]: expected a new id and a new name, found {_short(key)}, {_short(name)}"
            )
        names[key] = name
    order = sorted(names, key=lambda key: (isinstance(key, str), key))
    return [names[key] for key in order], {key: i for i, key in enumerate(order)}


def _stacked(keypoints: Sequence[np.ndarray], skeleton: Skeleton) -> np.ndarray:
    """The keypoints `[P, 3]` of each object as `[N, P, 3]`, also where there is no object."""
    return np.stack([*keypoints, np.zeros((len(skeleton.names), 3), np.float32)])[:-1]


def _short(value: Any) -> str:
    """A value from an untrusted file for a message, shortened because it may be megabytes."""
    return repr(value[:40] if isinstance(value, str) else value)[:60]


def _area(value: Any) -> float:
    """An annotation's `area`; NaN where it has none, or one that no object has, such as Label Studio's 0."""
    is_area = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1e12
    return float(value) if is_area else math.nan


def _id(item: Item, field: str, where: str) -> Id:
    key = item.get(field)
    if not isinstance(key, Id):
        raise DataError(f"{where}: expected {field}, a whole number, found {str(key)[:40]}")
    return key


def _load_json(file: Path) -> tuple[list[Item], list[Item], list[Item]]:
    """(images, annotations, categories) of an annotation file."""
    content = read_json(file, limits.JSON)

    def items(key: str) -> list[Item]:
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise DataError(f"{file}: expected an object with a list of objects {key!r}")
        return found

    return items("images"), items("annotations"), items("categories")

"""COCO instances JSON: boxes, and masks from polygons or run lengths where every annotation has one."""

import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset, join
from visionkit.data.files import (
    checked_size,
    choose_split,
    flag,
    inside,
    load_image,
    number,
    read_bytes,
    regular,
    sample_ids,
)
from visionkit.data.repair import Repairs
from visionkit.data.segments import parse_segment, rasterise
from visionkit.types import DataError, Sample, check_sample

JSON_LIMIT = 2**30  # bytes; instances_train2017.json has 449 MB
_OTHERS = ("captions", "person_keypoints", "image_info", "panoptic", "stuff")  # COCO's files for other tasks


def splits(root: Path) -> dict[str, Path]:
    """Split -> annotation file: `instances_val2017.json` is "val2017", `train/_annotations.coco.json` is "train"."""
    found = {}
    for pattern in ("annotations/*.json", "*.json", "*/_annotations.coco.json"):
        for file in sorted(root.glob(pattern)):
            name = file.parent.name if file.stem == "_annotations.coco" else file.stem.removeprefix("instances_")
            if not file.stem.startswith(_OTHERS) and _looks_like_coco(file):
                found.setdefault(name, file)
        if found:
            break
    return found


def coco(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads COCO instances JSON.

    Class ids are 0..K-1 in the order of the category ids, whose gaps vanish. Crowds are `ignore`. An image without
    annotations is background. Masks are drawn when a sample is loaded.

    Args:
        root: a folder with annotations/*.json, *.json, or train/_annotations.coco.json.
        split: "val" means `instances_val2017.json`, if it is the only val; None for all files.
        repairs: takes down what is wrong; by default it is logged, or raised.

    Raises:
        DataError: names the file and annotation that is wrong, or the splits there are.
    """
    root = Path(root)
    files = splits(root)
    if not files:
        raise DataError(f"{root}: expected COCO annotations in annotations/*.json, *.json or */_annotations.coco.json")
    if split is None:
        parts = [_read(root, name, file, repairs) for name, file in files.items()]
        return parts[0] if len(parts) == 1 else join(parts)
    name = choose_split(files, split, root)
    return _read(root, name, files[name], repairs)


def _looks_like_coco(file: Path) -> bool:
    data = read_bytes(file, JSON_LIMIT)  # searching the bytes takes a hundredth of the time of parsing them
    return all(key in data for key in (b'"images"', b'"annotations"', b'"categories"'))


def _read(root: Path, split: str, file: Path, repairs: Repairs | None) -> Dataset:
    repairs = Repairs("coco") if repairs is None else repairs
    images, annotations, categories = _load_json(file)
    names, class_ids = _classes(_without_project(categories, annotations), file)
    folders = (file.parent, root / "images" / split, root / split, root / "images", root)
    by_image = defaultdict(list)
    for i, annotation in enumerate(annotations):
        with repairs.skipping():
            by_image[_key(annotation, "image_id", f"{file}: annotations[{i}]")].append((i, annotation))
    named = []
    for i, image in enumerate(images):
        with repairs.skipping():
            named.append((i, image, inside(root, image.get("file_name"), f"{file}: images[{i}]: file_name")))
    ids = sample_ids([path.relative_to(Path(root)) for _, _, path in named])
    records, segments, seen = [], {}, set()
    for (i, image, _), id in zip(named, ids, strict=True):
        where = f"{file}: images[{i}] ({str(image['file_name'])[:80]!r})"
        with repairs.skipping(id, kind="broken image"):
            key = _key(image, "id", where)
            if key in seen or id in segments:
                raise DataError(
                    f"{where}: its id {_short(key)} or file name is that of an earlier image", "listed twice"
                )
            seen.add(key)
            record, segments[id] = _record(image, id, folders, by_image.get(key, []), class_ids, file, where, repairs)
            records.append(record)
    known = {image.get("id") for image in images if isinstance(image.get("id"), int | str)}
    for key in by_image.keys() - known:
        with repairs.skipping():
            raise DataError(
                f"{file}: annotations[{by_image[key][0][0]}]: no image has the id {_short(key)}", "missing image"
            )
    missing = sorted(set(range(min(class_ids), max(class_ids))) - set(class_ids)) if _whole(class_ids) else []
    if missing:
        text = f"{file}: {len(class_ids)} category ids with gaps ({', '.join(map(str, missing[:9]))} are missing)"
        repairs.note("class-id gaps", f"{text}; visionkit closes them, other tools may not")
    repairs.warn()
    total, without = sum(map(len, segments.values())), sum(s is None for all in segments.values() for s in all)
    if 0 < without < total:
        repairs.note("missing mask", f"{file}: {without} of {total} annotations have no mask: read as boxes alone")
    source = f"COCO JSON {file.name}"
    if total and not without:
        return Dataset(records, names, partial(_load_masks, segments), f"{source}, boxes and masks")
    missing = f" ({without} of {total} annotations have no mask)" if without < total else ""
    return Dataset(records, names, load_image, f"{source}, boxes{missing}")


def _record(image, id, folders, annotations, class_ids, file, where, repairs):
    """The Sample of one image, and the segments of its boxes."""
    candidates = [(inside(folder, image["file_name"], where), folder) for folder in folders]
    path = next((regular(path, folder, where) for path, folder in candidates if path.is_file()), None)
    if path is None:
        places = ", ".join(dict.fromkeys(str(folder) for folder in folders))
        raise DataError(f"{where}: no such image in any of {places}", "missing image")
    said = tuple(number(image.get(key) or 0, f"{where}: {key}") for key in ("height", "width"))
    size = checked_size(path, said if all(said) else None, where)
    boxes, labels, ignore, segments = [], [], [], []
    for i, annotation in annotations:
        at = f"{file}: annotations[{i}]"
        with repairs.skipping(id, path):
            box, category = annotation.get("bbox"), _key(annotation, "category_id", at)
            if not isinstance(box, list) or len(box) != 4:
                raise DataError(f"{at}: expected bbox [x, y, width, height], found {str(box)[:60]}")
            if category not in class_ids:
                raise DataError(f"{at}: no category has the id {_short(category)}", "unknown class")
            box = [number(value, f"{at}: bbox") for value in box]
            segments.append(parse_segment(annotation.get("segmentation"), size, f"{at}: segmentation"))
            boxes.append(box)
            labels.append(class_ids[category])
            ignore.append(flag(annotation.get("iscrowd") or 0, f"{at}: iscrowd"))
    boxes, keep = repairs.apply(npboxes.from_xywh(np.reshape(boxes, (-1, 4))), size, id, path)
    labels, ignore = np.array(labels, np.int32)[keep], np.array(ignore, bool)[keep]
    record = Sample(id=id, file=path, image_size=size, boxes=boxes, labels=labels, ignore=ignore)
    return record, [segments[k] for k in keep]


def _without_project(categories, annotations):
    """The categories but for that which Roboflow puts first: the project, above the others, of which no object is."""
    above = {str(category.get("supercategory")) for category in categories}
    used = {str(annotation.get("category_id")) for annotation in annotations}

    def project(category):
        first = category.get("supercategory") == "none" and str(category.get("name")) in above
        return first and str(category.get("id")) not in used

    return [category for category in categories if not project(category)] or categories


def _classes(categories, file):
    """(names by rising category id, category id -> class id)."""
    found = {}
    for i, category in enumerate(categories):
        key, name = _key(category, "id", f"{file}: categories[{i}]"), category.get("name")
        if not isinstance(name, str) or not name or key in found or name in found.values():
            raise DataError(
                f"{file}: categories[{i}]: expected a new id and a new name, found {_short(key)}, {_short(name)}"
            )
        found[key] = name
    order = sorted(found, key=lambda key: (isinstance(key, str), key))
    return [found[key] for key in order], {key: i for i, key in enumerate(order)}


def _short(value) -> str:
    """What a stranger wrote, for a message: it may be megabytes."""
    return repr(value[:40] if isinstance(value, str) else value)[:60]


def _whole(class_ids):
    return class_ids and all(isinstance(key, int) and abs(key) <= 10**6 for key in class_ids)


def _key(item, field, where):
    key = item.get(field)
    if not isinstance(key, int | str):
        raise DataError(f"{where}: expected {field}, a whole number, found {str(key)[:40]}")
    return key


def _load_json(file: Path):
    try:
        content = json.loads(read_bytes(file, JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: broken JSON: {error}") from None
    lists = []
    for key in ("images", "annotations", "categories"):
        items = content.get(key) if isinstance(content, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError(f"{file}: expected an object with a list of objects {key!r}")
        lists.append(items)
    return lists


def _load_masks(segments: dict, record: Sample) -> Sample:
    masks = [rasterise(segment, record.image_size) for segment in segments[record.id]]
    masks = np.stack(masks) if masks else np.zeros((0, *record.image_size), np.uint8)
    return check_sample(replace(load_image(record), masks=masks))

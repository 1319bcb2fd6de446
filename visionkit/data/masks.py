"""Images with masks of the same name: class maps (semantic) or numbered objects (instances).

Layouts: images/ beside masks/ (also image/ label/, JPEGImages/ SegmentationClass/, PNGImages/ PedMasks/), whole, with
split folders inside or outside, or with lists of names (train.txt, also in ImageSets/Segmentation/); or, as CamVid,
train/ beside trainannot/. A mask may be called as its image or that plus `_mask`. Numbers are what `read_mask` gives.
"""

import itertools
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.files import (
    SPLIT_NAMES,
    SPLITS,
    choose_split,
    list_images,
    load_image,
    lone_splits,
    paired_folders,
    read_lines,
    read_names,
    regular,
    sample_ids,
    split_name,
)
from visionkit.data.repair import Repairs
from visionkit.image_files import IMAGE_SUFFIXES
from visionkit.images import image_size, read_mask
from visionkit.types import IGNORE, DataError, Sample, check_sample

MAX_INSTANCES = 1000  # more objects in an image than this are a photograph or a class map read as a mask
_IMAGES = ("images", "image", "JPEGImages", "PNGImages")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "SegmentationClass", "PedMasks")
UNKNOWN = -1
_VOID = ("void", "ignore", "ignored", "unlabelled", "unlabeled")


def folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Split -> its folders of images and of masks; "" where the data is not split, {} where there are no masks."""
    if not root.is_dir():
        return {}
    beside = {s: (root / s, root / f"{s}annot") for s in (*SPLITS, "validation") if (root / f"{s}annot").is_dir()}
    parts = beside or paired_folders(root, _IMAGES, _MASKS)
    if parts and "" not in parts and _lists(root) and not any(split_name(part) in SPLIT_NAMES for part in parts):
        first, second = next(iter(parts.values()))
        parts = {"": (first.parent, second.parent)}  # folders of scenes; the lists say what is learned
    return parts if any(list_images(masks) for _, masks in parts.values()) else {}


def splits(root: Path) -> list[str]:
    """The names of split folders or of lists."""
    parts = folders(root)
    return [file.stem for file in _lists(root)] if "" in parts else list(parts)


def semantic_masks(
    root: Path,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    repairs: Repairs | None = None,
) -> Dataset:
    """Reads images with class maps: Samples with `segmentation`.

    Every mask of ALL splits is read once to find the values in use; they become class ids 0..K-1 in rising order, and
    their names are the values. 255 is ignored, except where 0 and 255 are all there is: then 255 is class 1. A file
    of classes names the values 0, 1, ... line by line instead; the name "void" (ignore, unlabelled) makes its value
    ignored.

    Args:
        root: see the layouts above.
        split: a split folder or list; None for all.
        classes: the file of classes; by default classes.txt in `root`, where there is one.
        void: one more value that is neither trained on nor scored, e.g. 11 in CamVid.
        repairs: takes down what is wrong; by default it is raised.

    Raises:
        DataError: a mask that is broken, has no image, or another size; a value without a name; names the file.
    """
    root, repairs = Path(root), Repairs("masks") if repairs is None else repairs
    everything, chosen = _choose(root, split, repairs)
    values, good = _values(everything, repairs)
    table, names = _classes(classes or root / "classes.txt", classes is not None, values, void, repairs)
    records, masks = _records(root, [pair for pair in chosen if pair in good], repairs)
    return Dataset(records, names, partial(_load_map, masks, table), f"images and class maps, split {split or 'all'}")


def instance_masks(root: Path, split: str | None = None, *, repairs: Repairs | None = None) -> Dataset:
    """Reads images with numbered objects (0 = background): Samples with boxes, masks and the one class 0.

    Its name is the line of `root`/classes.txt, or "object". Arguments and errors as `semantic_masks`.
    """
    root, repairs = Path(root), Repairs("masks") if repairs is None else repairs
    _, chosen = _choose(root, split, repairs)
    file = root / "classes.txt"
    names = read_names(file) if file.is_file() else ["object"]
    if len(names) != 1:
        raise DataError(f"{file}: expected one class, since the masks number objects, found {len(names)}")
    records, (everything, masks) = [], _records(root, chosen, repairs)
    for record in everything:
        with repairs.skipping(record.id, record.file, "broken mask"):
            boxes = npboxes.of_numbers(_numbers(masks[record.id], record.image_size))
            records.append(replace(record, boxes=boxes, labels=np.zeros(len(boxes), np.int32)))
    source = f"images and instance masks, split {split or 'all'}"
    return Dataset(records, names, partial(_load_instances, masks), source)


def _choose(root: Path, split: str | None, repairs: Repairs):
    """(all pairs of image and mask, those of `split`)."""
    parts = folders(root)
    if not parts:
        raise DataError(f"{root}: expected images/ beside masks/, or train/ beside trainannot/")
    for images, masks in lone_splits(parts):
        with repairs.skipping():
            raise DataError(f"{images}: its masks {masks} do not exist", "missing annotation")
    name = None if split is None else choose_split(splits(root), split, root)
    pairs = {part: _pairs(*both, repairs) for part, both in parts.items()}
    everything = [pair for part in pairs.values() for pair in part]
    if name is None:
        return everything, everything
    if name in pairs:
        return everything, pairs[name]
    file = next(file for file in _lists(root) if file.stem == name)
    return everything, _listed(file, pairs[""], parts[""], repairs)


def _stem(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _pairs(images: Path, masks: Path, repairs: Repairs) -> list[tuple[Path, Path]]:
    named, found = defaultdict(list), {}  # "a" and "a.jpg" -> the images that a mask of this name may be of
    everything = list_images(images)
    for image in everything:
        for name in {_stem(image, images), image.relative_to(images).as_posix()}:
            named[name].append(image)
    for mask in list_images(masks):
        stem = _stem(mask, masks)
        stem = stem if stem in named else stem.removesuffix("_mask")
        with repairs.skipping(stem):
            if stem not in named:
                raise DataError(f"{mask}: its image {images / stem}.jpg (or .png, ...) does not exist", "missing image")
            image, *more = named[stem]
            if more:
                raise DataError(f"{mask}: of {image} or {more[0].name}? Name it {image.name}.png", "listed twice")
            if image in found:
                raise DataError(f"{mask}: {found[image]} is a mask of the same image", "listed twice")
            found[regular(image, images, mask)] = regular(mask, masks, mask)
    if left := [image for image in everything if image not in found]:
        repairs.left_out("missing annotation", f"{images} left out without a mask", left)
    return sorted(found.items())


def _lists(root: Path) -> list[Path]:
    names = (*SPLIT_NAMES, "validation")
    files = [folder / f"{name}.txt" for folder in (root, root / "ImageSets" / "Segmentation") for name in names]
    return [file for file in files if file.is_file()]


def _listed(file: Path, pairs: list[tuple[Path, Path]], folders: tuple[Path, Path], repairs: Repairs):
    """The pairs a list names: by as much of a path as tells them apart, since such lists are of another machine."""
    by_stem, found = defaultdict(list), {}
    for image, mask in pairs:
        *above, stem = _stem(image, folders[0]).split("/")
        by_stem[stem].append((above, image, mask))
    for n, line in read_lines(file):
        first = line.split()[0]  # of two columns, or of a name with spaces
        columns = (first, line) if Path(first).suffix.lower() in IMAGE_SUFFIXES else (line, first)
        paths = [word.replace("\\", "/").split("/") for word in columns]
        paths = [(above, stem) for *above, name in paths for stem in (name, name.rsplit(".", 1)[0])]
        with repairs.skipping(line):
            above, stem = next(((above, stem) for above, stem in paths if stem in by_stem), (None, None))
            if stem is None:
                where = f"{file}:{n}: {line[:80]!r} has no image in {folders[0]} with a mask in {folders[1]}"
                raise DataError(where, "missing annotation")
            alike = [_common(above, other) for other, *_ in by_stem[stem]]
            if alike.count(max(alike)) > 1:
                raise DataError(f"{file}:{n}: {line[:80]!r} may be any of {len(alike)} images", "listed twice")
            _, image, mask = by_stem[stem][alike.index(max(alike))]
            if image in found:
                raise DataError(f"{file}:{n}: {line[:80]!r} is listed twice", "listed twice")
            found[image] = mask
    return list(found.items())


def _common(one: list[str], other: list[str]) -> int:
    """How many names at the ends of two paths are the same."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _records(root: Path, pairs, repairs: Repairs) -> tuple[list[Sample], dict[str, Path]]:
    """(a record for each image, id -> its mask)."""
    ids, records = sample_ids([image.relative_to(root) for image, _ in pairs]), []
    for id, (image, _) in zip(ids, pairs, strict=True):
        with repairs.skipping(id, image, "broken image"):
            records.append(Sample(id=id, file=image, image_size=image_size(image)))
    return records, dict(zip(ids, (mask for _, mask in pairs), strict=True))


def _values(pairs, repairs: Repairs) -> tuple[dict[int, Path], set[tuple[Path, Path]]]:
    """(value -> a mask that holds it, the pairs whose mask can be read and is as large as its image)."""
    found, good = {}, set()
    for image, mask in pairs:
        with repairs.skipping(image.stem, image, "broken image"):
            size = image_size(image)
            with repairs.skipping(image.stem, image, "broken mask"):
                for value in np.unique(_check_size(read_mask(mask), mask, size)).tolist():
                    found.setdefault(value, mask)
                good.add((image, mask))
    if not found:
        raise DataError(f"{pairs[0][1].parent if pairs else 'masks'}: holds no mask that can be read")
    return found, good


def _classes(
    file: Path, given: bool, values: dict[int, Path], void: int | None, repairs: Repairs
) -> tuple[np.ndarray, list[str]]:
    """(int32 table from mask value to class id, 255 or, for values that mean nothing, -1; class names).

    The last entry is -1 and stands for all values beyond it.
    """
    if void is not None and not 0 <= void <= 65535:
        raise DataError(f"void: expected a value of the masks, 0 to 65535, found {void}")
    unnamed = set()
    if given or file.is_file():
        named = dict(enumerate(read_names(file)))
        if set(values) == {0, 255} and len(named) == 2 and void != 255 and named[1].lower() not in _VOID:
            named = {0: named[0], 255: named[1]}  # black and white: 255 cannot be all that is not to be learned
        for value in sorted(values.keys() - named.keys() - {IGNORE, void}):
            with repairs.skipping(values[value].stem, values[value]):
                text = f"{values[value]}: holds the value {value}, but {file} names 0..{len(named) - 1}"
                raise DataError(text, "unknown class")
            unnamed.add(value)  # noted: it goes on as if it were void
    else:
        binary = set(values) <= {0, 255}
        named = {value: str(value) for value in sorted(values) if binary or value != IGNORE}
    ignored = {value for value, name in named.items() if name.lower() in _VOID}
    ignored |= unnamed | ({IGNORE} - named.keys()) | (set() if void is None else {void})
    named = {value: name for value, name in named.items() if value not in ignored}
    if len(named) > IGNORE or min(values) < 0 or max(values) > 65535:
        where = values[max(values)]
        raise DataError(f"{where}: expected a class map of at most {IGNORE} values, found {len(named)}: photographs?")
    table = np.full(max(*values, *named, *ignored) + 2, UNKNOWN, np.int32)
    table[list(ignored)] = IGNORE
    table[list(named)] = np.arange(len(named))
    return table, list(named.values())


def _check_size(mask: np.ndarray, file: Path, image_size: tuple[int, int]) -> np.ndarray:
    if mask.shape != image_size:
        kind = "EXIF orientation" if mask.shape == image_size[::-1] else "image size"
        raise DataError(f"{file}: height, width {mask.shape}, but its image has {image_size}", kind)
    return mask


def _load_map(masks: dict, table: np.ndarray, record: Sample) -> Sample:
    file = masks[record.id]
    values = _check_size(read_mask(file), file, record.image_size)
    segmentation = table[np.minimum(values, len(table) - 1)]
    if (segmentation == UNKNOWN).any():  # all masks were looked at when the data set was opened
        found = values[segmentation == UNKNOWN][0]
        raise DataError(f"{file}: holds the value {found}, which is no class; the file has changed since it was opened")
    return check_sample(replace(load_image(record), segmentation=segmentation))


def _numbers(file: Path, image_size: tuple[int, int]) -> np.ndarray:
    """Which object a pixel is of, `[H, W]`, counted from 1; 0 is none."""
    mask = _check_size(read_mask(file), file, image_size)
    ids = np.unique(mask[mask > 0])
    if len(ids) > MAX_INSTANCES:
        raise DataError(f"{file}: {len(ids)} values are above the limit of {MAX_INSTANCES} objects: a photograph?")
    return np.where(mask > 0, np.searchsorted(ids, mask) + 1, 0)


def _load_instances(masks: dict, record: Sample) -> Sample:
    numbers = _numbers(masks[record.id], record.image_size)
    objects = (numbers == np.arange(1, len(record.boxes) + 1)[:, None, None]).view(np.uint8)  # [N, H, W]
    return check_sample(replace(load_image(record), masks=objects))

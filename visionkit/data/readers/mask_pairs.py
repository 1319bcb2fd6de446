"""Finds the mask of each image.

Layouts: images/ beside masks/ (also image/ label/, JPEGImages/ SegmentationClass/, PNGImages/ PedMasks/), whole, with
split folders inside or outside, or with lists of names (train.txt, also in ImageSets/Segmentation/); or, as CamVid,
train/ beside trainannot/. A mask has the name of its image, or that plus `_mask`.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from visionkit.data.files import (
    SPLIT_NAMES,
    SPLITS,
    choose_split,
    list_images,
    lone_splits,
    paired_folders,
    read_lines,
    regular,
    split_name,
)
from visionkit.data.repair import Repairs
from visionkit.image_files import IMAGE_SUFFIXES
from visionkit.types import DataError

_IMAGES = ("images", "image", "JPEGImages", "PNGImages")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "SegmentationClass", "PedMasks")

Pair = tuple[Path, Path]  # an image and its mask


def folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Split -> its folders of images and masks; "" if the data is not split, {} if there are no masks."""
    if not root.is_dir():
        return {}
    beside = {s: (root / s, root / f"{s}annot") for s in (*SPLITS, "validation") if (root / f"{s}annot").is_dir()}
    parts = beside or paired_folders(root, _IMAGES, _MASKS)
    if parts and "" not in parts and _lists(root) and not any(split_name(part) in SPLIT_NAMES for part in parts):
        first, second = next(iter(parts.values()))
        parts = {"": (first.parent, second.parent)}  # the folders are scenes; the lists are the splits
    return parts if any(list_images(masks) for _, masks in parts.values()) else {}


def splits(root: Path) -> list[str]:
    """Returns the names of split folders or of lists."""
    parts = folders(root)
    return [file.stem for file in _lists(root)] if "" in parts else list(parts)


def all_pairs(root: Path, split: str | None, repairs: Repairs) -> tuple[list[Pair], list[Pair]]:
    """Returns all pairs of image and mask, and those of `split`.

    Raises:
        DataError: there are no masks or no such split, or a pair is incomplete or ambiguous.
    """
    parts = folders(root)
    if not parts:
        raise DataError(f"{root}: expected images/ beside masks/, or train/ beside trainannot/")
    for images, masks in lone_splits(parts):
        with repairs.skipping():
            raise DataError(f"{images}: its masks {masks} do not exist", "missing annotation")
    name = None if split is None else choose_split(splits(root), split, root)
    pairs = {part: _pairs(images, masks, repairs) for part, (images, masks) in parts.items()}
    everything = [pair for part in pairs.values() for pair in part]
    if name is None:
        return everything, everything
    if name in pairs:
        return everything, pairs[name]
    file = next(file for file in _lists(root) if file.stem == name)
    return everything, _listed(file, pairs[""], parts[""], repairs)


def _stem(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _pairs(images: Path, masks: Path, repairs: Repairs) -> list[Pair]:
    """The pairs of two parallel folders."""
    everything = list_images(images)
    named: dict[str, list[Path]] = defaultdict(list)  # "a" and "a.jpg" -> the images that such a mask may belong to
    for image in everything:
        for name in {_stem(image, images), image.relative_to(images).as_posix()}:
            named[name].append(image)
    pairs: dict[Path, Path] = {}
    for mask in list_images(masks):
        stem = _stem(mask, masks)
        stem = stem if stem in named else stem.removesuffix("_mask")
        with repairs.skipping(stem):
            if stem not in named:
                raise DataError(f"{mask}: its image {images / stem}.jpg (or .png, ...) does not exist", "missing image")
            image, *others = named[stem]
            if others:
                raise DataError(f"{mask}: of {image} or {others[0].name}? Name it {image.name}.png", "listed twice")
            if image in pairs:
                raise DataError(f"{mask}: {pairs[image]} is a mask of the same image", "listed twice")
            pairs[regular(image, images, mask)] = regular(mask, masks, mask)
    if left := [image for image in everything if image not in pairs]:
        repairs.left_out("unannotated image", f"{images} left out without a mask", left)
    return sorted(pairs.items())


def _lists(root: Path) -> list[Path]:
    """The files that list the images of a split."""
    names = (*SPLIT_NAMES, "validation")
    files = [folder / f"{name}.txt" for folder in (root, root / "ImageSets" / "Segmentation") for name in names]
    return [file for file in files if file.is_file()]


def _listed(file: Path, pairs: list[Pair], folders: tuple[Path, Path], repairs: Repairs) -> list[Pair]:
    """The pairs that a list names.

    The paths in such lists come from another machine, so only the part that tells the images apart is used.
    """
    by_stem: dict[str, list[tuple[list[str], Path, Path]]] = defaultdict(list)  # stem -> (parents, image, mask)
    for image, mask in pairs:
        *parents, stem = _stem(image, folders[0]).split("/")
        by_stem[stem].append((parents, image, mask))
    listed: dict[Path, Path] = {}
    for n, line in read_lines(file):
        with repairs.skipping(line):
            match = next(((parents, stem) for parents, stem in _readings(line) if stem in by_stem), None)
            if match is None:
                where = f"{file}:{n}: {line[:80]!r} has no image in {folders[0]} with a mask in {folders[1]}"
                raise DataError(where, "missing annotation")
            parents, stem = match
            alike = [_common(parents, others) for others, *_ in by_stem[stem]]
            if alike.count(max(alike)) > 1:
                raise DataError(f"{file}:{n}: {line[:80]!r} may be any of {len(alike)} images", "listed twice")
            _, image, mask = by_stem[stem][alike.index(max(alike))]
            if image in listed:
                raise DataError(f"{file}:{n}: {line[:80]!r} is listed twice", "listed twice")
            listed[image] = mask
    return list(listed.items())


def _readings(line: str) -> list[tuple[list[str], str]]:
    """(parent folders, stem) that a line of a list may mean: it has one or two columns, and names may have spaces."""
    first = line.split()[0]
    columns = (first, line) if Path(first).suffix.lower() in IMAGE_SUFFIXES else (line, first)
    readings = []
    for column in columns:
        *parents, name = column.replace("\\", "/").split("/")
        readings += [(parents, name), (parents, name.rsplit(".", 1)[0])]
    return readings


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many names at the ends of two paths are equal."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

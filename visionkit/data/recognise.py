"""Finds out by looking what kind of data set a folder holds, and reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from visionkit.data import arrays, coco, folder, masks, voc, yolo
from visionkit.data.dataset import Dataset, join
from visionkit.data.files import SPLITS, load_image, split_name, subfolders
from visionkit.data.repair import Repairs
from visionkit.types import DataError


class Format(NamedTuple):
    """A kind of data set: what it is for, how it is told, which splits it has, and its reader."""

    name: str
    tasks: tuple[str, ...]  # detect, instance, classify or segment; the usual one first
    looks_for: str
    found: Callable  # root -> truth
    splits: Callable  # root -> names
    read: Callable  # root, split -> Dataset


def _many_classes(root: Path) -> bool:  # one folder of images is a folder of images, not a class
    return len({name for part in folder.splits(root).values() for name in folder.classes(part)}) > 1


FORMATS = (  # the first that fits is taken, so class folders, which nearly anything is, come last
    Format("Pascal VOC XML", ("detect",), "Annotations/*.xml beside JPEGImages/", voc.folders, voc.splits, voc.voc),
    Format("COCO JSON", ("detect", "instance"), "annotations/*.json or *.json", coco.splits, coco.splits, coco.coco),
    Format("YOLO txt", ("detect",), "images/ beside labels/*.txt", yolo.splits, yolo.splits, yolo.yolo),
    Format(
        "images and class maps",
        ("segment",),
        "images/ beside masks/, or train/ beside trainannot/",
        masks.folders,
        masks.splits,
        masks.semantic_masks,
    ),
    Format(
        "images and instance masks",
        ("instance", "detect"),
        "images/ beside masks/",
        masks.folders,
        masks.splits,
        masks.instance_masks,
    ),
    Format("MNIST", ("classify",), arrays.FILE, arrays.splits, arrays.splits, arrays.mnist),
    Format(
        "class folders", ("classify",), "CLASS/*.jpg or train/CLASS/*.jpg", _many_classes, folder.splits, folder.folder
    ),
)
TASKS = tuple(dict.fromkeys(task for form in FORMATS for task in form.tasks))


def open_dataset(
    root: Path | str,
    split: str | None = None,
    task: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    repairs: Repairs | None = None,
) -> Dataset:
    """Reads the data set in `root`, whatever its format.

    Args:
        root: its folder, or a folder that holds nothing but that folder.
        split: a name of `splits(root)`, or several joined by "+", e.g. "train+val"; None for everything.
        task: "detect", "instance", "classify" or "segment"; needed only where a folder serves two, as images with masks
            do (without it: segment). "detect" gives boxes without the masks that there may be.
        classes, void: for class maps alone: which value is what; see `masks.semantic_masks`.
        repairs: takes down what is wrong, see `data.repair`; by default it is logged, or raised.

    Raises:
        DataError: nothing is recognised (says what was looked for), no such split, or what the reader finds wrong.
    """
    root, found = _recognise(root, task)
    meaning = {key: value for key, value in (("classes", classes), ("void", void)) if value is not None}
    if meaning and "segment" not in found.tasks:
        raise DataError(f"{root}: {' and '.join(meaning)} say what the values of class maps are; found {found.name}")
    names = [None] if split is None else split.split("+")
    parts = [found.read(root, name, repairs=repairs, **meaning) for name in names]
    dataset = parts[0] if len(parts) == 1 else join(parts)
    if task == "detect" and any(part.load is not load_image for part in parts):
        # Drawing the masks would take longer than reading the image, and be for nothing.
        source = dataset.source.replace("boxes and masks", "boxes")
        dataset = Dataset(dataset.records, dataset.class_names, load_image, source)
    if not len(dataset):
        raise DataError(f"{root}: {dataset.source}: holds no images")
    return dataset


def splits(root: Path | str, task: str | None = None) -> list[str]:
    """The names `open_dataset` takes as `split`, train, val and test first; [] where the data is not split."""
    root, found = _recognise(root, task)
    names = [name for name in found.splits(root) if name]
    common = [split_name(name) for name in names]
    if len(set(common)) == len(common):
        names = common
    if len(names) == 1 and names[0] not in (*SPLITS, "trainval"):  # a lone annotations.json is not a split
        return []
    return sorted(names, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def tasks_of(root: Path | str, task: str | None = None) -> tuple[str, ...]:
    """What the data that `task` finds in `root` is for, the usual task first."""
    return _recognise(root, task)[1].tasks


def describe(root: Path | str, task: str | None = None) -> str:
    """One line for people, e.g. "Pascal VOC XML in DIR, splits: train, val, test"."""
    where, found = _recognise(root, task)
    return f"{found.name} in {where}, splits: {', '.join(splits(where, task)) or 'none'}"


def _recognise(root: Path | str, task: str | None) -> tuple[Path, Format]:
    root = where = Path(root)
    if task not in (None, *TASKS):
        raise DataError(f"task: expected {', '.join(TASKS)}, found {task!r}")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    for _ in range(3):  # archives often unpack to a folder in a folder
        fitting = [form for form in FORMATS if form.found(where)]
        for form in fitting:
            if task in (None, *form.tasks):
                return where, form
        if fitting:
            raise DataError(f"{where}: found {fitting[0].name}, which is for {fitting[0].tasks[0]}, not {task}")
        inner = subfolders(where)
        if len(inner) != 1:
            break
        where = inner[0]
    wanted = "; ".join(f"{form.looks_for} ({form.name})" for form in FORMATS if task in (None, *form.tasks))
    raise DataError(f"{root}: no data set recognised; looked for {wanted}")

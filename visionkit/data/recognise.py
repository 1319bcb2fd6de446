"""Recognises the format of the data set in a folder, and reads it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from visionkit.data.box_formats import check_box_format
from visionkit.data.dataset import Dataset, join
from visionkit.data.files import SPLIT_NAMES, SPLITS, load_image, split_name, subfolders
from visionkit.data.readers import READERS
from visionkit.data.readers.refusals import why_not
from visionkit.data.readers.yolo_layouts import YAML_SUFFIXES
from visionkit.data.repair import Finding, Repairs
from visionkit.files import address_of
from visionkit.types import DataError

TASKS = tuple(dict.fromkeys(task for reader in READERS.values() for task in reader.tasks))


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
        root: its folder, or a folder that contains only that folder.
        split: a name of `splits(root)`, or several joined by "+", e.g. "train+val"; None for everything.
        task: "detect", "instance", "keypoints", "classify" or "segment"; needed only if a folder serves two tasks, as
            images with masks do (segment by default). "detect" returns boxes without masks and keypoints.
        classes, void: for class maps only: the meaning of their values; see `masks.semantic_masks`.
        repairs: records what is wrong, see `data.repair`; by default it is logged, or raised.

    Returns:
        The samples of the split, whose images are read when they are asked for.

    Raises:
        DataError: no format is recognised (lists what was looked for), there is no such split, or the reader finds
            something wrong.
    """
    root, name = _recognise(root, task)
    reader = READERS[name]
    mask_values = {key: value for key, value in (("classes", classes), ("void", void)) if value is not None}
    if mask_values and "segment" not in reader.tasks:
        keys = " and ".join(mask_values)
        raise DataError(f"{root}: only class maps take {keys}, found {name}")
    wanted = [None] if split is None else split.split("+")
    repairs = Repairs(name) if repairs is None else repairs
    known = len(repairs.findings)
    parts = [reader.open(root, part, repairs=repairs, **mask_values) for part in wanted]
    dataset = parts[0] if len(parts) == 1 else join(parts)
    if task == "detect" and len(reader.tasks) > 1 and any(part.load is not load_image for part in parts):
        # The masks are not needed, and drawing them would take longer than reading the image.
        source = dataset.source.replace("boxes and masks", "boxes")
        dataset = Dataset(dataset.records, dataset.class_names, load_image, source)
    if task == "detect" and any(record.skeleton for record in dataset.records):
        records = [replace(record, keypoints=None, skeleton=None) for record in dataset.records]
        source = dataset.source.replace("boxes and keypoints", "boxes")
        dataset = Dataset(records, dataset.class_names, dataset.load, source)
    if not len(dataset):
        raise DataError(f"{root}: {dataset.source}: {_why_empty(repairs.findings[known:])}")
    check_box_format(dataset.records, name, repairs, root)
    return dataset


def _why_empty(findings: list[Finding]) -> str:
    """Why a data set holds no images, from what its reader left out."""
    if not findings:
        return "holds no images"
    kinds = Counter(finding.kind for finding in findings)
    kind, count = kinds.most_common(1)[0]
    first = next(finding.message for finding in findings if finding.kind == kind)
    words = {
        "broken image": f"all {count} images are broken" if count > 1 else "its only image is broken",
        "file outside the folder": f"all {count} images are links or paths that lead out of the data set",
        "missing image": f"none of its {count} images exists",
    }
    what = words.get(kind) if len(kinds) == 1 else None
    return f"{what or f'no image can be used ({count} times {kind})'}; the first: {first}"


def splits(root: Path | str, task: str | None = None) -> list[str]:
    """Returns the names that `open_dataset` takes as `split`, train, val and test first; [] for data without splits.

    Args:
        root: the data set's folder.
        task: as for `open_dataset`.

    Raises:
        DataError: no format is recognised.
    """
    root, format = _recognise(root, task)
    names = [name for name in READERS[format].splits(root) if name]
    common = [split_name(name) for name in names]
    if len(set(common)) == len(common):
        names = common
    if len(names) == 1 and names[0] not in SPLIT_NAMES:  # a single annotations.json is not a split
        return []
    return sorted(names, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))


def tasks_of(root: Path | str, task: str | None = None) -> tuple[str, ...]:
    """Returns the tasks that the data set which `task` finds in `root` is for, the usual one first."""
    return READERS[_recognise(root, task)[1]].tasks


def describe(root: Path | str, task: str | None = None) -> str:
    """Returns a one-line description, e.g. "Pascal VOC XML in DIR, splits: train, val, test"."""
    where, format = _recognise(root, task)
    return f"{format} in {where}, splits: {', '.join(splits(where, task)) or 'none'}"


def how_read(dataset: Dataset) -> str:
    """Returns what `describe` cannot know before a data set is read, e.g. " (boxes counted from 1)", or ""."""
    rest = dataset.source.removeprefix("Pascal VOC XML (")
    return f" ({rest.partition(')')[0]})" if rest != dataset.source else ""


def _recognise(root: Path | str, task: str | None) -> tuple[Path, str]:
    """(the folder that holds the data set, its format, a key of READERS)."""
    root = where = Path(root)
    if task not in (None, *TASKS):
        raise DataError(f"task: expected {', '.join(TASKS)}, found {task!r}")
    if root.is_file() and root.suffix.lower() in YAML_SUFFIXES and task in (None, *READERS["YOLO txt"].tasks):
        return root, "YOLO txt"
    if not root.exists():
        if address := address_of(root):
            what = "only visionkit finetune and visionkit evaluate take data in a store; copy them to a folder"
            raise DataError(f"{address}: {what}")
        raise DataError(f"{root}: no such folder")
    readers = READERS if root.is_dir() else {}
    for _ in range(3):  # archives often unpack to a folder in a folder
        matching: list[str] = []
        for name, reader in readers.items():
            if reader.recognise(where):
                if task in (None, *reader.tasks):
                    return where, name
                matching.append(name)
        if matching:
            usual = READERS[matching[0]].tasks[0]
            raise DataError(f"{where}: found {matching[0]}, which is for {usual}, not {task}")
        inner = subfolders(where) if readers else []
        if len(inner) != 1:
            break
        where = inner[0]
    wanted = "; ".join(f"{reader.layout} ({name})" for name, reader in READERS.items() if task in (None, *reader.tasks))
    raise DataError(why_not(root, wanted))

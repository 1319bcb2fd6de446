"""Image classification from class folders: ROOT/CLASS/*.jpg or ROOT/train/CLASS/*.jpg."""

import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.data.files import (
    SPLIT_NAMES,
    choose_split,
    list_images,
    load_image,
    regular,
    sample_ids,
    split_name,
    subfolders,
)
from visionkit.data.readers.refusals import foreign_format
from visionkit.data.repair import Repairs
from visionkit.image_files import unread
from visionkit.images import image_size
from visionkit.types import DataError, Sample

_CONTAINERS = ("images", "image", "imgs", "jpegimages", "masks", "labels", "annotations")  # of other layouts


def splits(root: Path) -> dict[str, Path]:
    """Split -> its folder of class folders; {"": root} if the data is not split, {} if there are no classes."""
    parts = {f.name: f for f in subfolders(root) if split_name(f.name) in SPLIT_NAMES and classes(f)}
    return parts or ({"": root} if classes(root) else {})


def classes(folder: Path) -> list[str]:
    """Returns the names of the folders in `folder` that directly contain images.

    If all of them are named like splits or like `images`, they hold data of another layout, and there are no classes.
    """
    names = [f.name for f in subfolders(folder) if list_images(f, recursive=False)]
    return names if any(not _is_split(name) and name.lower() not in _CONTAINERS for name in names) else []


def recognise(root: Path) -> bool:
    """Whether there are two class folders or more; a single folder of images is not a data set of one class.

    Folders with as many annotations of a foreign format as images are something else, such as photographs of two days.
    """
    parts = splits(root)
    if len({name for part in parts.values() for name in classes(part)}) < 2:
        return False
    some = [part / classes(part)[0] for part in parts.values()]
    files = [file for where in some for file in sorted(where.iterdir()) if not file.name.startswith(".")]
    labels = [file for file in files if file.suffix.lower() in (".json", ".xml", ".txt")]
    return 2 * len(labels) < len(files) or foreign_format(labels) is None


def _is_split(name: str) -> bool:
    return split_name(name) in SPLIT_NAMES


def _check_classes(part: Path, split: str) -> None:
    """Raises a `DataError` if a folder that is no class lies between class folders."""
    for name in classes(part):
        # Inside train/, a folder `train` between others is a class, as of vehicles; beside others it may be a split.
        if name.lower() in _CONTAINERS or (_is_split(name) and not split):
            what = "a split" if _is_split(name) else "a folder of another layout"
            others = ", ".join(other for other in classes(part) if other != name)[:80]
            advice = "move it away; if it is a class, rename it or put all class folders into train/"
            raise DataError(f"{part / name}: has the name of {what}, but lies beside the classes {others}: {advice}")


def folder(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads class folders; class names are the folders of ALL splits, sorted.

    Args:
        root: the folder that contains the class folders, or train, val (valid, validation) and test with them inside.
        split: one of those; None for all of them.
        repairs: records what is wrong; by default it is raised.

    Raises:
        DataError: there are no class folders or no such split, or an image cannot be read; names it.
    """
    root = Path(root)
    parts = splits(root) if root.is_dir() else {}
    if not parts:
        raise DataError(f"{root}: expected folders of images, one per class, or train/, val/, test/ with such folders")
    repairs = Repairs("class folders") if repairs is None else repairs
    for name, part in parts.items():
        _check_classes(part, name)
    names = sorted({name for part in parts.values() for name in classes(part)})
    chosen = parts.values() if split is None else [parts[choose_split(parts, split, root)]]
    files = [(name, f) for part in chosen for name in classes(part) for f in list_images(part / name)]
    ids = sample_ids([f.relative_to(root) for _, f in files])
    _report_left_out(parts.values(), names, repairs)
    records = []
    for id, (name, f) in zip(ids, files, strict=True):
        with repairs.skipping(id, f, "broken image"):
            size = image_size(regular(f, f.parent, id))
            records.append(Sample(id=id, file=f, image_size=size, label=names.index(name)))
    return Dataset(records, names, load_image, f"class folders, split {split or 'all'}")


def _report_left_out(parts: Iterable[Path], names: Collection[str], repairs: Repairs) -> None:
    """Reports images of formats that are not read, and folders whose images are too deep to be a class."""
    for part in parts:
        if left := unread(file for inner in subfolders(part) for file in inner.rglob("*")):
            _leave_out("unread image", f"{part}: {left}", repairs)
        for other in subfolders(part):
            if other.name not in names and (images := list_images(other)):
                line = f"{other}: not a class, because its images are deeper: {images[0].relative_to(other)}, ..."
                _leave_out("deeper folder", line, repairs)


def _leave_out(kind: str, line: str, repairs: Repairs) -> None:
    repairs.note(kind, line)
    if not repairs.collect:
        logging.getLogger("visionkit").warning("class folders: %s", line)

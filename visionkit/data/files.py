"""File handling shared by the readers: bounded reading, names that stay inside the root, finding images."""

import itertools
import json
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from visionkit import limits
from visionkit.image_files import IMAGE_SUFFIXES
from visionkit.images import image_size, read_image
from visionkit.types import DataError, Sample, check_sample, in_words

SPLITS = ("train", "val", "test")
SPLIT_NAMES = (*SPLITS, "trainval")  # the common names that `split_name` returns
HIDDEN = (".", "__", "@")  # beginnings of the names of folders that are not looked into, such as a NAS's @eaDir
_ALIASES = {
    **{"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"},
    **{"train_val": "trainval", "train-val": "trainval"},
    **{f"{name}_set": name for name in SPLITS},
    **{"training_set": "train", "valid_set": "val", "validation_set": "val", "testing_set": "test"},
}


def read_bytes(file: Path, limit: int = limits.TEXT) -> bytes:
    """Returns the content of `file`; raises a `DataError` that names it if it has more than `limit` bytes."""
    with file.open("rb") as stream:
        data = stream.read(limits.raised(limit) + 1)
        size = max(len(data), os.fstat(stream.fileno()).st_size)
    limits.check(size, limit, f"{file}: above the limit of {{limit}} MB for such a file", unit=2**20)
    return data


def read_text(file: Path, limit: int = limits.TEXT, errors: str = "strict") -> str:
    """Returns the UTF-8 text of `file`; raises a `DataError` that names it if it is anything else.

    With `errors="surrogateescape"`, other bytes are kept, since names of files need not be UTF-8.
    """
    try:
        return read_bytes(file, limit).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def read_json(file: Path, limit: int) -> Any:
    """Returns the content of a JSON file; raises a `DataError` that names it if it is broken or above `limit` bytes."""
    try:
        return json.loads(read_bytes(file, limit))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: broken JSON: {in_words(error)}") from None


def read_lines(file: Path, limit: int = limits.TEXT, errors: str = "strict") -> list[tuple[int, str]]:
    """Returns the lines of a text file that are not blank, stripped, each with its number counted from 1."""
    lines = ((i, line.strip()) for i, line in enumerate(read_text(file, limit, errors).split("\n"), start=1))
    return [(i, line) for i, line in lines if line]


def read_names(file: Path) -> list[str]:
    """Reads class names, one per line, without repeats.

    A blank line between them is an error, because class ids are line numbers.
    """
    lines = read_lines(file)
    for place, (n, name) in enumerate(lines, start=1):
        if n != place:
            raise DataError(f"{file}:{place}: expected the name of a class, found a blank line before {name[:80]!r}")
    return check_names([name for _, name in lines], file)


def check_names(names: list[str], file: Path) -> list[str]:
    """Returns `names`; raises a `DataError` if one occurs twice."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{file}: the class {twice[0][:80]!r} is named twice")
    return names


def number(value: Any, where: str) -> float:
    """Returns `value` (text or a number) as a finite float; raises a `DataError` that begins with `where` otherwise."""
    try:
        parsed = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        parsed = math.nan
    if not abs(parsed) <= 1e9:  # refuses nan too; larger numbers would overflow float32 arithmetic
        raise DataError(f"{where}: expected a number, found {str(value)[:40]!r}")
    return parsed


def flag(value: Any, where: str) -> bool:
    """Returns `value` (text, a number or a bool) as a bool; raises a `DataError` that begins with `where` otherwise."""
    word = str(value).strip().lower()
    if word not in ("", "0", "1", "false", "true", "0.0", "1.0"):
        raise DataError(f"{where}: expected 0 or 1, found {str(value)[:40]!r}")
    return word in ("1", "true", "1.0")


def inside(folder: Path, name: Any, where: str) -> Path:
    """Returns `folder / name`, for a `name` from an untrusted file: one that leads out of `folder` is refused.

    Only the names are considered, so that folders of a data set may be links.

    Args:
        folder: the folder that the file must be in.
        name: the name as read from the file; anything but text is refused.
        where: the start of an error message.

    Raises:
        DataError: `name` is not the name of a file inside `folder`.
    """
    base = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve() would follow links)
    path = Path(os.path.abspath(base / name.replace("\\", "/"))) if isinstance(name, str) else base  # noqa: PTH100
    parts = path.relative_to(base).parts if path.is_relative_to(base) else ()
    if not parts or "\0" in str(path) or max(len(part.encode(errors="replace")) for part in parts) > 255:
        raise DataError(
            f"{where}: {str(name)[:80]!r} is not the name of a file inside {folder}", "file outside the folder"
        )
    return folder.joinpath(*parts)


def regular(file: Path, folder: Path, where: object) -> Path:
    """Returns `file`, if it is a file in `folder`. `folder` itself may be a link; a link that leads out is refused.

    Args:
        file: a path below `folder`.
        folder: the folder that the file must be in.
        where: the start of an error message.

    Raises:
        DataError: there is no such file, or it is a link that leads out of `folder`.
    """
    if not file.is_file():
        raise DataError(f"{where}: its image {file} does not exist", "missing image")
    below = [file, *file.parents][: len(file.relative_to(folder).parts)]
    if any(path.is_symlink() for path in below) and not file.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{where}: {file} is a link to {file.resolve()}, outside the data set; copy that file, or link its folder",
            "file outside the folder",
        )
    return file


def checked_size(file: Path, annotated: tuple[float, float] | None, where: object) -> tuple[int, int]:
    """Returns (height, width) of the image `file`, which must agree with the annotated size, if there is one.

    Args:
        file: the image.
        annotated: (height, width) in the annotation, or None.
        where: the start of an error message; names the annotation.

    Raises:
        DataError: the sizes differ, or the image cannot be read.
    """
    real = image_size(file)
    if annotated is not None and tuple(annotated) != real:
        turned = tuple(annotated) == real[::-1]
        advice = ": annotated before its EXIF orientation was applied?" if turned else ""
        raise DataError(
            f"{where}: says height, width {tuple(annotated)}, but {file} has {real}{advice}",
            "EXIF orientation" if turned else "image size",
        )
    return real


def files_of(folder: Path, *suffixes: str) -> list[Path]:
    """Returns the files of `folder` with one of the suffixes (in any case), sorted, without hidden ones (`._a.xml`)."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(f for f in files if f.suffix.lower() in suffixes and not f.name.startswith("."))


def list_images(folder: Path, recursive: bool = True) -> list[Path]:
    """Returns the image files of `folder`, sorted, without hidden ones (`._x.jpg` of macOS archives, @eaDir/)."""
    files = (f for f in (folder.rglob("*") if recursive else folder.iterdir()) if f.suffix.lower() in IMAGE_SUFFIXES)
    shown = (f for f in files if not f.name.startswith("."))
    return sorted(f for f in shown if not any(part.startswith(HIDDEN) for part in f.relative_to(folder).parts[:-1]))


def spelling(name: str) -> str:
    """Returns a name without regard to case and to the Unicode form of accents, in which systems differ."""
    return unicodedata.normalize("NFC", name).casefold()


def sample_ids(files: Sequence[Path]) -> list[str]:
    """Returns unique ids for files relative to their folder: without suffix, unless two differ only in that."""
    short = [f.with_suffix("").as_posix() for f in files]
    count = Counter(short)
    return [s if count[s] == 1 else f.as_posix() for s, f in zip(short, files, strict=True)]


def subfolders(folder: Path) -> list[Path]:
    """Returns the folders in `folder`, sorted, without hidden ones and `__MACOSX`."""
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(HIDDEN))


def paired_folders(root: Path, firsts: Sequence[str], seconds: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Finds parallel folders, e.g. of images and labels: split -> the two folders, "" if the data is not split.

    Looks for `images/train` beside `labels/train`, then `train/images` beside `train/labels`, then `images` beside
    `labels`, with the names of `firsts` for images and of `seconds` for labels. If `images` contains both images and
    folders, a folder counts as a split only if it has the name of one.
    """
    if not root.is_dir():
        return {}
    both = [(root / a, root / b) for a in firsts for b in seconds if (root / a).is_dir() and (root / b).is_dir()]
    for first, second in both:
        inner = {f.name: (f, second / f.name) for f in subfolders(first) if (second / f.name).is_dir()}
        named = any(split_name(name) in SPLIT_NAMES for name in inner)
        if inner and (named or not list_images(first, recursive=False)):
            return inner
    if both:
        return {"": both[0]}
    return {
        part.name: (part / a, part / b)
        for part in subfolders(root)
        for a in firsts
        for b in seconds
        if split_name(part.name) in SPLIT_NAMES and (part / a).is_dir() and (part / b).is_dir()
    }


def lone_splits(parts: dict[str, tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Finds splits that `paired_folders` left out: (images, the folder that should be beside them)."""
    if "" in parts or not parts:
        return []
    split, (first, second) = next(iter(parts.items()))
    inner = first.name == split  # images/train, not train/images
    lone = []
    for folder in subfolders(first.parent if inner else first.parent.parent):
        if folder.name in parts:
            continue
        images = folder if inner else folder / first.name
        beside = second.parent / folder.name if inner else folder / second.name
        if (
            split_name(folder.name) in SPLIT_NAMES
            and (first == second or not beside.exists())
            and images.is_dir()
            and list_images(images)
        ):
            lone.append((images, beside))
    return lone


def annotated_among(root: Path, suffix: str, is_annotation: Callable[[Path], bool]) -> dict[str, Path]:
    """Finds folders in which annotations lie among the images: split -> folder, "" if the data is not split, or {}.

    Args:
        root: of the data set; train/, valid/, test/ in it count as splits.
        suffix: of the annotations, which have the names of their images.
        is_annotation: whether a file with that suffix is one; asked of up to 50 files a folder.
    """

    def has_annotations(folder: Path) -> bool:
        for where, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
            stems = {Path(name).stem for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES}
            named = (Path(where, name) for name in sorted(names) if Path(name).suffix.lower() == suffix)
            beside = (f for f in named if f.stem in stems and not f.name.startswith("."))
            if any(is_annotation(file) for file in itertools.islice(beside, 50)):
                return True
        return False

    if not root.is_dir():
        return {}
    parts = {f.name: f for f in subfolders(root) if split_name(f.name) in SPLIT_NAMES and has_annotations(f)}
    return parts or ({"": root} if has_annotations(root) else {})


def split_name(name: str) -> str:
    """Returns the common name of a split: "valid", "validation", "dev", "val2017" and "val_1" are all "val"."""
    word = re.sub(r"[_-]?\d+$", "", name.lower())
    known = _ALIASES.get(word, word)
    return known if known in SPLIT_NAMES else name


def choose_split(available: Iterable[str], split: str, root: Path) -> str:
    """Returns the one of the `available` names (of files or folders) that `split` means.

    Raises:
        DataError: there is none, or more than one; lists the names.
    """
    available = [name for name in available if name]
    if split in available:
        return split
    matches = [name for name in available if split_name(name) == split_name(split)]
    if len(matches) != 1:
        raise DataError(f"{root}: no split {split!r}; there are: {', '.join(sorted(available)) or 'none'}")
    return matches[0]


def load_image(record: Sample) -> Sample:
    """The `load` of readers whose records lack only the pixels."""
    assert record.file is not None
    try:
        image = read_image(record.file)
    except DataError as error:
        error.kind = error.kind or "broken image"
        raise
    return check_sample(replace(record, image=image))

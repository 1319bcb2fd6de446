"""Finding image files, and naming them."""

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from visionkit.types import DataError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
UNREAD_SUFFIXES = (".avif", ".heic", ".heif", ".jp2", ".jxl")  # pictures too; a warning names those left out
WRITABLE_SUFFIXES = (".jpg", ".jpeg", ".png")  # what `images.write_image` writes


def find_images(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """The image files that `paths` name, sorted and each once.

    Args:
        paths: files, folders (searched recursively for `IMAGE_SUFFIXES`, following links, without hidden files and
            folders), globs, or .txt lists of paths, one per line, relative to the list.

    Raises:
        DataError: a path does not exist, or a glob, a folder or a list has no images.
    """
    found: dict[Path, Path] = {}
    for path in [paths] if isinstance(paths, Path | str) else paths:
        for file in _files_of(Path(path)):
            found.setdefault(absolute(file), file)  # a file with several names keeps the first
    return sorted(found.values())


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        files = _readable(path, [f for f in files_below(path) if f.is_file()])
    elif path.suffix.lower() == ".txt" and path.is_file():
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
        files = [path.parent / line.strip() for line in lines if line.strip()]
        if missing := [f for f in files if not f.is_file()]:
            raise DataError(f"{path}: no such file: {missing[0]}")
    elif path.is_file():
        files = [path]
    elif glob.has_magic(str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob refuses absolute patterns)
        files = _readable(path, [f for f in map(Path, names) if f.is_file()])
    else:
        raise DataError(f"{path}: no such file or folder")
    if not files:
        raise DataError(f"{path}: holds no images ({' '.join(IMAGE_SUFFIXES)})")
    return files


def files_below(folder: Path) -> Iterator[Path]:
    """The entries of a folder and its subfolders, without hidden ones; a folder that links lead to again comes once."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in names if not name.startswith("."))


def _readable(source: Path, files: Sequence[Path]) -> list[Path]:
    """The files that can be read; logs a warning about pictures that cannot."""
    if left_out := unread(files):
        logging.getLogger("visionkit").warning("%s: %s", source, left_out)
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]


def unread(files: Iterable[Path]) -> str | None:
    """One line about those of `files` that are pictures of a kind that cannot be read; None if there are none."""
    left_out = sorted(file for file in files if file.suffix.lower() in UNREAD_SUFFIXES)
    if not left_out:
        return None
    pictures, more = ("pictures are", ", ...") if len(left_out) > 1 else ("picture is", "")
    count = f"{len(left_out)} {pictures} left out, of a kind that is not read"
    return f"{count} ({left_out[0].name}{more}): save as JPEG or PNG"


def absolute(file: Path) -> Path:
    """`file` as an absolute path without "..", which `Path.absolute` would keep; links are not followed."""
    return Path(os.path.abspath(file))  # noqa: PTH100


def relative_names(files: Sequence[Path], folder: Path | None = None) -> list[str]:
    """Names that are all different: paths relative to `folder`, by default the deepest one that contains all files."""
    whole = [absolute(file) for file in files]
    common = os.path.commonpath([file.parent for file in whole]) if folder is None else absolute(folder)
    return [file.relative_to(common).as_posix() for file in whole]

"""Which image files there are, and what they are called."""

import glob
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from visionkit.types import DataError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
UNREAD_SUFFIXES = (".avif", ".heic", ".heif", ".jp2", ".jxl")  # pictures all the same: said, where they are left out


def find_images(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """The image files that `paths` name, sorted and each once.

    Args:
        paths: files, folders (searched to the bottom for `IMAGE_SUFFIXES`, but for hidden files), globs, or .txt lists
            of paths, one a line, relative to the list.

    Raises:
        DataError: a path that does not exist, a glob or folder without images.
    """
    found = {}
    for path in [paths] if isinstance(paths, Path | str) else paths:
        path = Path(path)
        if path.is_dir():
            visible = [f for f in path.rglob("*") if not any(p.startswith(".") for p in f.relative_to(path).parts)]
            files = _readable(path, [f for f in visible if f.is_file()])
        elif path.suffix.lower() == ".txt" and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
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
        found = {absolute(file): file for file in files} | found  # by the first of its names
    return sorted(found.values())


def _readable(source: Path, files: Sequence[Path]) -> list[Path]:
    if left := unread(files):
        logging.getLogger("visionkit").warning("%s: %s", source, left)
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]


def unread(files: Iterable[Path]) -> str | None:
    """One line about those of `files` that are pictures of a kind that is not read, or None."""
    found = sorted(file for file in files if file.suffix.lower() in UNREAD_SUFFIXES)
    count = f"{len(found)} picture{'s are' if len(found) > 1 else ' is'} left out, of a kind that is not read"
    return f"{count} ({found[0].name}{', ...' * (len(found) > 1)}): save as JPEG or PNG" if found else None


def absolute(file: Path) -> Path:
    """`file` from the root on, without "..", which `Path.absolute` keeps; links are not followed."""
    return Path(os.path.abspath(file))  # noqa: PTH100


def relative_names(files: Sequence[Path]) -> list[str]:
    """Names that differ: the bare ones where all files lie in one folder, else relative to their common folder."""
    whole = [absolute(file) for file in files]
    common = os.path.commonpath([file.parent for file in whole])
    return [file.relative_to(common).as_posix() for file in whole]

"""Which image files there are, and what they are called."""

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from visionkit.types import DataError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
UNREAD_SUFFIXES = (".avif", ".heic", ".heif", ".jp2", ".jxl")  # pictures all the same: said, where they are left out


def find_images(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """The image files that `paths` name, sorted and each once.

    Args:
        paths: files, folders (searched to the bottom for `IMAGE_SUFFIXES`, also behind links, but for hidden files),
            globs, or .txt lists of paths, one a line, relative to the list.

    Raises:
        DataError: a path that does not exist, a glob or folder without images.
    """
    found = {}
    for path in [paths] if isinstance(paths, Path | str) else paths:
        path = Path(path)
        if path.is_dir():
            files = _readable(path, [f for f in _walk(path) if f.is_file()])
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
        for file in files:
            found.setdefault(absolute(file), file)  # by the first of its names
    return sorted(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    """What lies in a folder and below, each folder once, also where a link leads to it; hidden ones are left out."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in names if not name.startswith("."))


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


def relative_names(files: Sequence[Path], folder: Path | None = None) -> list[str]:
    """Names that differ: relative to `folder`, where it is given, else to the folder that all have in common."""
    whole = [absolute(file) for file in files]
    common = os.path.commonpath([file.parent for file in whole]) if folder is None else absolute(folder)
    return [file.relative_to(common).as_posix() for file in whole]

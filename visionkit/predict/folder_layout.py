"""Which images a run over a folder takes, and what the files that it writes for them are called."""

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from visionkit.files import would_be_lost
from visionkit.image_files import WRITABLE_SUFFIXES, absolute, find_images, relative_names
from visionkit.predict.formats import CLASSES, bare_names
from visionkit.predict.journal import claimed
from visionkit.types import DataError

JOURNAL = "results.jsonl"


class FolderLayout:
    """Which images a run takes, and what the files that it writes for them are called.

    Args:
        paths: files, folders, globs or lists; see `find_images`.
        out: the output folder; images in it are left out.
        tables: names of the files that every run writes anew.
        pictures: whether there is a picture of each image.
        masks: whether there is a mask of each image.
    """

    def __init__(
        self,
        paths: Path | str | Iterable[Path | str],
        out: Path,
        *,
        tables: Sequence[str],
        pictures: bool,
        masks: bool,
    ):
        paths = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
        self.out = out
        self.earlier_files = set(claimed(out / JOURNAL))  # what earlier runs wrote and this one may write again
        self.files = _outside(find_images(paths), out, self.earlier_files)
        self.names = relative_names(self.files, paths[0] if len(paths) == 1 and paths[0].is_dir() else None)
        self.masks: list[str] = []  # names of the files, one for each image, or none
        if masks:
            self.masks = [f"masks/{name}.png" for name in bare_names(self.names)]
        self.pictures: list[str] = []  # likewise
        if pictures:
            self.pictures = _picture_names(self.names, self.masks)
        self.always_written = {*self.pictures, *tables}

    def written_for(self, number: int) -> list[str]:
        """Names of the files that are written for one image."""
        return [names[number] for names in (self.pictures, self.masks) if names]

    def check_nothing_is_lost(self) -> None:
        """Raises a `DataError` if this run would overwrite its sources, or files that no earlier run has written."""
        sources = {file.resolve() for file in self.files}
        for name in self.pictures:
            if (self.out / name).resolve() in sources:
                raise DataError(
                    f"{self.out / name}: the picture would overwrite its source; choose another output folder"
                )
        # Somebody's tables, photos or hand-drawn masks. Beside classes.txt of an earlier run, the journal decides
        # for each mask whether it may be written.
        guarded = sorted(self.always_written)
        if CLASSES not in self.earlier_files:
            guarded += self.masks
        for name in guarded:
            if name not in self.earlier_files and (self.out / name).exists():
                raise would_be_lost(self.out / name)


def _outside(files: list[Path], out: Path, earlier_files: Collection[str]) -> list[Path]:
    """The files that are not in `out`; all of them if every file is."""
    out = absolute(out)
    inside = {f: absolute(f).relative_to(out).as_posix() for f in files if absolute(f).is_relative_to(out)}
    if len(inside) == len(files):
        return files
    others = [file for file, name in inside.items() if name not in earlier_files]
    if others:
        what, more = ("images there are", ", ...") if len(others) > 1 else ("image there is", "")
        line = f"{out}: results go there, and {len(others)} {what} left out: {others[0].name}{more}"
        logging.getLogger("visionkit").warning("%s", line)
    return [file for file in files if file not in inside]


def _picture_names(names: Sequence[str], masks: Sequence[str]) -> list[str]:
    """A name for the picture of each image: its own where it can be written and no mask has it, else with .jpg added.

    A mask has it where the sources contain data/a.jpg and also data/masks/a.png.
    """
    mask_names = set(masks)
    taken = {*names, *mask_names}
    pictures = []
    for name in names:
        writable = Path(name).suffix.lower() in WRITABLE_SUFFIXES
        picture = name if writable and name not in mask_names else _free_name(name, taken)
        taken.add(picture)
        pictures.append(picture)
    return pictures


def _free_name(name: str, taken: Collection[str]) -> str:
    free, number = f"{name}.jpg", 1
    while free in taken:
        number += 1
        free = f"{name}-{number}.jpg"
    return free

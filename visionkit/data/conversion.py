"""One conversion of a data set: what is written, where, and what is to be looked at in it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.image_files import absolute
from visionkit.types import DataError, Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Mark:
    """Something to be looked at in an image.

    Args:
        text: what, in a few words.
        score: in 0..1, how urgent it is.
        row: of the object in its sample; None for one that is not annotated.
        label: the class id that is proposed, or None.
        box: float32 `[4]`, the box that is proposed, or None.
    """

    text: str
    score: float
    row: int | None = None
    label: int | None = None
    box: np.ndarray | None = None


@dataclass
class Job:
    """One conversion.

    Args:
        parts: split -> its data; "" if the data is not split.
        class_names: of the class ids.
        names: image file -> its name in the new data set; their stems are all different.
        out: where it is written.
        copy: copies the images in any case.
        marks: absolute image file -> what is to be looked at in it; for programs that can show it.
        unlabelled: nobody has labelled the images yet: proposals are drafts of labels, and there are no labels to mark.
        remarks: what could not be kept, and is therefore said.
    """

    parts: dict[str, Dataset]
    class_names: list[str]
    names: dict[Path, str]
    out: Path
    copy: bool
    marks: Mapping[Path, Sequence[Mark]] = field(default_factory=dict)
    unlabelled: bool = False
    remarks: list[str] = field(default_factory=list)
    linked: int = 0
    copied: int = 0

    def place(self, record: Sample, folder: str) -> None:
        """Links or copies the image of a record into a folder of the new data set, unless it is already there."""
        file = file_of(record)
        target = self.out / folder / self.names[file]
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if not self.copy:
            try:
                os.link(os.path.realpath(file), target)
                self.linked += 1
                return
            except OSError:  # another file system, one without hard links, or a file of somebody else
                pass
        shutil.copyfile(file, target)
        self.copied += 1

    @property
    def places(self) -> str:
        """How many images were linked or copied, in words."""
        counts = ((self.linked, "linked"), (self.copied, "copied"))
        return " and ".join(f"{count} images {how}" for count, how in counts if count)

    def stem(self, record: Sample) -> str:
        """The name of a record's image in the new data set, without its suffix."""
        return self.names[file_of(record)].rpartition(".")[0]

    def marks_of(self, record: Sample) -> Sequence[Mark]:
        """What is to be looked at in a record, the most urgent first."""
        return self.marks.get(absolute(file_of(record)), ()) if self.marks else ()


def file_of(record: Sample) -> Path:
    """The image file of a record; raises a DataError if it has none."""
    if record.file is None:
        raise DataError(f"sample {record.id!r}: has no image file to convert")
    return record.file


def is_utf8(name: str) -> bool:
    """Whether a name can be written as UTF-8; names of files need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

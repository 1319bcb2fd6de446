"""A data set is a sequence of Samples whose pixels are read only when a sample is asked for."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import overload

from visionkit.data.files import load_image
from visionkit.image_files import absolute
from visionkit.types import DataError, Sample, check_sample

Load = Callable[[Sample], Sample]


class Dataset(Sequence[Sample]):
    """What every reader returns: `dataset[i]` is a complete Sample, `dataset.records[i]` one without pixels.

    Args:
        records: Samples whose `image` (and `masks`, `segmentation`) may be None. Boxes, labels, image_size and file
            are filled in, so statistics, class counts and scoring need no decoding.
        class_names: names of the class ids 0..K-1.
        load: fills in the pixels of one record; by default the image is read from its file, or is there already.
        source: a one-line description, e.g. "Pascal VOC XML, split test".

    Raises:
        DataError: two samples have the same id, or two classes the same name.
        ValueError: `class_names` is a text and not a list of names.
    """

    def __init__(
        self, records: Sequence[Sample], class_names: Sequence[str], load: Load | None = None, source: str = ""
    ):
        if isinstance(class_names, str):
            raise ValueError(f"class_names: expected a list of names, such as [{class_names!r}], found a text")
        self.records = list(records)
        self.class_names = list(class_names)
        self.load: Load = load or _with_image
        self.source = source
        self._refuse_equal("classes are named", self.class_names)  # a model's classes are found by their names
        self._refuse_equal("samples have the id", [record.id for record in self.records])

    def _refuse_equal(self, what: str, values: Sequence[str]) -> None:
        if len(set(values)) < len(values):
            value, count = Counter(values).most_common(1)[0]
            raise DataError(f"{self.source or 'the data set'}: {count} {what} {value!r}; each needs one of its own")

    @property
    def made_in_python(self) -> bool:
        """Whether its samples are what the caller made of them, so that no format says how their boxes are meant."""
        return self.load is _with_image

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Dataset": ...

    def __getitem__(self, index: int | slice) -> "Sample | Dataset":
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        return self.load(self.records[index])

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Returns the samples at `indices`, in that order, as a data set; an index may occur more than once."""
        some = Dataset([], self.class_names, self.load, self.source)
        some.records = [self.records[i] for i in indices]
        return some


def _with_image(record: Sample) -> Sample:
    """The record itself, checked, if it has its image; otherwise with the image of its file."""
    if record.image is not None:
        return check_sample(record)
    if record.file is None:
        raise DataError(
            f"sample {record.id!r}: has neither an image nor a file to read it from; give it one of the two"
        )
    return load_image(record)


def join(datasets: Sequence[Dataset]) -> Dataset:
    """Concatenates data sets, e.g. train and val.

    Ids that occur in several of them (often each numbers its images from 1) become paths relative to the folder that
    contains all those images.

    Raises:
        DataError: the class names differ, or an image is in two of the data sets.
    """
    names = datasets[0].class_names
    count = Counter(record.id for dataset in datasets for record in dataset.records)
    folders = [absolute(r.file).parent for dataset in datasets for r in dataset.records if count[r.id] > 1 and r.file]
    common = Path(os.path.commonpath(folders)) if folders else Path()
    loads: dict[str, tuple[Load, str]] = {}  # joined id -> how to load the sample, and its own id
    records = []
    for dataset in datasets:
        if dataset.class_names != names:
            raise DataError(f"{dataset.source}: its classes {dataset.class_names[:9]} are not {names[:9]}: cannot join")
        for record in dataset.records:
            id = record.id
            if count[id] > 1 and record.file:
                id = (absolute(record.file).parent.relative_to(common) / Path(id).name).as_posix()
            if id in loads:
                raise DataError(f"{dataset.source}: sample {record.id!r} is in two of the data sets to be joined")
            loads[id] = dataset.load, record.id
            records.append(replace(record, id=id))
    return Dataset(records, names, partial(_load_joined, loads), " + ".join(d.source for d in datasets))


def _load_joined(loads: dict[str, tuple[Load, str]], record: Sample) -> Sample:
    load, id = loads[record.id]
    return replace(load(replace(record, id=id)), id=record.id)

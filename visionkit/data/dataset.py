"""A data set is a sequence of Samples whose pixels are read when a sample is asked for."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from visionkit.image_files import absolute
from visionkit.types import DataError, Sample


class Dataset(Sequence[Sample]):
    """What every reader returns: `dataset[i]` is a complete Sample, `dataset.records[i]` one without pixels.

    Args:
        records: Samples whose `image` (and `masks`, `segmentation`) may be None; boxes, labels, image_size and file
            are filled in, so statistics, class counts and scoring need no decoding.
        class_names: names of the class ids 0..K-1.
        load: fills in the pixels of one record.
        source: one line for people, e.g. "Pascal VOC XML, split test".
    """

    def __init__(
        self, records: Sequence[Sample], class_names: Sequence[str], load: Callable[[Sample], Sample], source: str = ""
    ):
        self.records, self.class_names, self.load, self.source = list(records), list(class_names), load, source

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Dataset(self.records[index], self.class_names, self.load, self.source)
        return self.load(self.records[index])

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """The samples at `indices`, in that order, as a data set of its own."""
        return Dataset([self.records[i] for i in indices], self.class_names, self.load, self.source)


def join(datasets: Sequence[Dataset]) -> Dataset:
    """One data set after the other, e.g. train and val.

    Ids that are in several, as where each counts its images from 1, become paths from the folder that holds all those.

    Raises:
        DataError: class names are not equal, or an image is in two of them.
    """
    loads, records, names = {}, [], datasets[0].class_names
    count = Counter(record.id for dataset in datasets for record in dataset.records)
    folders = [absolute(r.file).parent for dataset in datasets for r in dataset.records if count[r.id] > 1 and r.file]
    common = os.path.commonpath(folders) if folders else None
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


def _load_joined(loads: dict, record: Sample) -> Sample:
    load, id = loads[record.id]
    return replace(load(replace(record, id=id)), id=record.id)

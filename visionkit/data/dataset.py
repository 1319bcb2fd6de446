"""A data set is a sequence of Samples whose pixels are read when a sample is asked for."""

from collections.abc import Callable, Sequence

from visionkit.types import Sample


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

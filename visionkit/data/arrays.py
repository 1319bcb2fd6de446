"""Images that are in memory as one array, such as MNIST: batches are cut out of it, not put together image by image."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.files import choose_split
from visionkit.data.repair import Repairs
from visionkit.types import DataError, Sample

FILE = "mnist.npz"
# What numpy and zipfile raise for a damaged file.
_BROKEN = (
    *(KeyError, TypeError, ValueError, OSError, EOFError, RuntimeError, MemoryError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


class ArrayDataset(Dataset):
    """What `arrays` returns. Its samples are RGB as everybody's; `images` and `labels` are the arrays as given."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, records: Sequence[Sample], class_names, source: str):
        super().__init__(records, class_names, _complete, source)
        self.images, self.labels = images, labels  # uint8 [N, H, W, C], int32 [N]

    def __getitem__(self, index):
        return self.subset(range(len(self))[index]) if isinstance(index, slice) else self.records[index]

    def subset(self, indices: Sequence[int]) -> "ArrayDataset":
        records, rows = [self.records[i] for i in indices], np.asarray(indices, np.int64)
        return ArrayDataset(self.images[rows], self.labels[rows], records, self.class_names, self.source)


def arrays(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, source: str = "arrays", prefix: str = ""
) -> ArrayDataset:
    """Images and their classes as a data set for classification.

    `batches` without a transform indexes whole batches, hundreds of thousands of images a second.

    Args:
        images: uint8 `[N, H, W]` or `[N, H, W, 1]` grey, or `[N, H, W, 3]` RGB.
        labels: integers `[N]`, class ids 0..K-1.
        class_names: K names.
        source: one line for people.
        prefix: ids are `prefix` and the row, from 00000.

    Raises:
        DataError: another shape or type, or a label outside 0..K-1; names it.
    """
    images, labels, class_names = np.asarray(images), np.asarray(labels), list(class_names)
    grey = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or grey.ndim != 4 or grey.shape[-1] not in (1, 3):
        shapes = "uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3]"
        raise DataError(f"{source}: expected images {shapes}, found {images.dtype} {list(images.shape)}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        found = f"{labels.dtype} {list(labels.shape)}"
        raise DataError(f"{source}: expected integer labels [{len(images)}], one an image, found {found}")
    if len(bad := np.flatnonzero((labels < 0) | (labels >= len(class_names)))):
        top = len(class_names) - 1
        raise DataError(f"{source}: expected labels 0..{top}, found {labels[bad[0]]} in row {bad[0]}")
    labels, size = labels.astype(np.int32), grey.shape[1:3]
    rgb = np.broadcast_to(grey, (*grey.shape[:3], 3))  # a view: grey is not stored three times
    records = [
        Sample(id=f"{prefix}{row:05}", image_size=size, image=image, label=label)
        for row, (image, label) in enumerate(zip(rgb, labels.tolist(), strict=True))
    ]
    return ArrayDataset(grey, labels, records, class_names, source)


def mnist(root: Path, split: str | None = None, repairs: Repairs | None = None) -> ArrayDataset:
    """Handwritten digits, 60,000 to learn from and 10,000 to test on, grey 28x28 (LeCun et al. 1998).

    Args:
        root: the folder of mnist.npz with x_train, y_train, x_test and y_test, as Keras publishes it.
        split: "train", "test" or None for both.
        repairs: as other readers have it; not used, for the arrays are whole or broken.

    Raises:
        DataError: no such file or split, or a broken file. Nothing in the file is executed.
    """
    root = Path(root)
    file = root / FILE
    if not splits(root):
        raise DataError(f"{file}: no such file")
    parts = list(splits(root)) if split is None else [choose_split(splits(root), split, root)]
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            images, labels = (np.concatenate([data[f"{key}_{part}"] for part in parts]) for key in "xy")
    except _BROKEN as error:
        raise DataError(f"{file}: expected arrays x_train, y_train, x_test and y_test: {error}") from None
    digits = [str(digit) for digit in range(10)]
    return arrays(images, labels, digits, source=f"{file}, split {split or 'all'}", prefix=f"{split or 'mnist'}/")


def splits(root: Path) -> dict[str, Path]:
    """Split -> the file that holds it; {} where there is no mnist.npz."""
    file = Path(root) / FILE
    return {"train": file, "test": file} if file.is_file() else {}


def _complete(record: Sample) -> Sample:
    return record

"""Images held in memory as one array, such as MNIST: batches are slices of it, not assembled image by image."""

import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit import limits
from visionkit.data.dataset import Dataset
from visionkit.data.files import choose_split
from visionkit.data.repair import Repairs
from visionkit.types import DataError, Sample

FILE = "mnist.npz"
_RECORD = 1024  # bytes that the Sample of a row takes, at most, besides its pixels
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_BROKEN = (  # what numpy and zipfile raise for a damaged file
    KeyError,
    TypeError,
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


class ArrayDataset(Dataset):
    """What `arrays` returns. Its samples are RGB like those of other data sets; `images` and `labels` are as given.

    Args:
        images: uint8 `[N, H, W, C]`.
        labels: int32 `[N]`.
        records, class_names, source: see `Dataset`; the records have their pixels.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        records: Sequence[Sample],
        class_names: Sequence[str],
        source: str,
    ):
        super().__init__(records, class_names, _complete, source)
        self.images, self.labels = images, labels

    def subset(self, indices: Sequence[int]) -> "ArrayDataset":
        records, rows = [self.records[i] for i in indices], np.asarray(indices, np.int64)
        return ArrayDataset(self.images[rows], self.labels[rows], records, self.class_names, self.source)


def arrays(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, source: str = "arrays", prefix: str = ""
) -> ArrayDataset:
    """Makes images and their classes a data set for classification.

    `batches` without a transform indexes whole batches: hundreds of thousands of images per second.

    Args:
        images: uint8 `[N, H, W]` or `[N, H, W, 1]` grey, or `[N, H, W, 3]` RGB.
        labels: integers `[N]`, class ids 0..K-1.
        class_names: K names.
        source: a one-line description.
        prefix: ids are `prefix` and the row, from 00000.

    Returns:
        A `Dataset` of N samples.

    Raises:
        DataError: a shape or type is wrong, or a label is outside 0..K-1; names it.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    channels_last = images[..., None] if images.ndim == 3 else images
    if images.dtype != np.uint8 or channels_last.ndim != 4 or channels_last.shape[-1] not in (1, 3):
        shapes = "uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3]"
        raise DataError(f"{source}: expected images {shapes}, found {images.dtype} {list(images.shape)}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        given = f"{labels.dtype} {list(labels.shape)}"
        raise DataError(f"{source}: expected integer labels [{len(images)}], one per image, found {given}")
    if len(bad := np.flatnonzero((labels < 0) | (labels >= len(class_names)))):
        top = len(class_names) - 1
        raise DataError(f"{source}: expected labels 0..{top}, found {labels[bad[0]]} in row {bad[0]}")
    labels, size = labels.astype(np.int32), channels_last.shape[1:3]
    rgb = np.broadcast_to(channels_last, (*channels_last.shape[:3], 3))  # a view: grey is not stored three times
    records = [
        Sample(id=f"{prefix}{row:05}", image_size=size, image=image, label=label)
        for row, (image, label) in enumerate(zip(rgb, labels.tolist(), strict=True))
    ]
    return ArrayDataset(channels_last, labels, records, class_names, source)


def mnist(root: Path, split: str | None = None, repairs: Repairs | None = None) -> ArrayDataset:
    """Reads handwritten digits, 60,000 for training and 10,000 for testing, grey 28x28 (LeCun et al. 1998).

    Args:
        root: the folder of mnist.npz with x_train, y_train, x_test and y_test, as Keras publishes it.
        split: "train", "test" or None for both.
        repairs: only for the same signature as other readers: the arrays are either intact or broken.

    Raises:
        DataError: there is no such file or split, or the file is broken or would take too much memory. Nothing in the
            file is executed.
    """
    root = Path(root)
    file = root / FILE
    if not splits(root):
        raise DataError(f"{file}: no such file")
    parts = list(splits(root)) if split is None else [choose_split(splits(root), split, root)]
    try:
        with zipfile.ZipFile(file) as archive:
            _check_memory(archive, [f"{key}_{part}" for key in "xy" for part in parts], file)
            images, labels = (np.concatenate([_read(archive, f"{key}_{part}") for part in parts]) for key in "xy")
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{file}: expected arrays x_train, y_train, x_test and y_test: {error}") from None
    digits = [str(digit) for digit in range(10)]
    return arrays(images, labels, digits, source=f"{file}, split {split or 'all'}", prefix=f"{split or 'mnist'}/")


def _check_memory(archive: zipfile.ZipFile, names: Sequence[str], file: Path) -> None:
    """Refuses arrays that would take too much memory, by their headers: a few bytes of zeros unpack to any size."""
    size = 0
    for name in names:
        with archive.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            if version not in _HEADERS:
                raise ValueError(f"{name} has a header of the unknown version {version}")
            shape, _, dtype = _HEADERS[version](stream)
        size += dtype.itemsize * math.prod(shape) + (_RECORD * shape[0] if shape else 0)
    text = f"{file}: its arrays take {size // 2**20} MB of memory, above the limit of {{limit}} MB"
    limits.check(size, limits.ARRAYS, text, unit=2**20)


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads an array, of which NumPy unpacks as much as the header says, and no more."""
    with archive.open(f"{name}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def splits(root: Path) -> dict[str, Path]:
    """Split -> the file that contains it; {} if there is no mnist.npz."""
    file = Path(root) / FILE
    return {"train": file, "test": file} if file.is_file() else {}


def _complete(record: Sample) -> Sample:
    return record

"""Finds images that are equal or nearly equal: copies in both train and test make scores too good."""

import hashlib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.image_files import absolute
from visionkit.types import Sample

NEAR_BITS = 8  # of 64 bits may differ between the difference hashes of near duplicates
NEAR_CORRELATION = 0.98  # and their small grey pictures must correlate at least this much
SIDE = 16  # pixels of a small grey picture
_BLOCK = 512  # rows of the table of all pairs that are computed at a time


class Fingerprint(NamedTuple):
    """What images are compared by.

    Args:
        digest: of size and pixels; equal for equal images.
        hash: 64-bit difference hash: whether each cell of an 8 x 9 picture is darker than the next.
        small: uint8 `[256]`, the image as 16 x 16 grey.
    """

    digest: bytes
    hash: int
    small: np.ndarray


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Computes the fingerprint of an image uint8 `[H, W, 3]`."""
    digest = hashlib.blake2b(
        np.ascontiguousarray(image).data, digest_size=16, salt=str(image.shape).encode()[:16]
    ).digest()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(digest, int.from_bytes(bits.tobytes(), "big"), small.ravel())


def remembering(dataset: Dataset, known: dict[Path, Fingerprint]) -> Dataset:
    """The same data set, which notes the fingerprint of each image that is read from a file in `known`."""

    def load(record: Sample) -> Sample:
        sample = dataset.load(record)
        if sample.image is not None and record.image is None and record.file is not None:
            known[absolute(record.file)] = fingerprint(sample.image)
        return sample

    return Dataset(dataset.records, dataset.class_names, load, dataset.source)


def same(digests: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Returns rows (first, later) of equal images; of three equal ones, the first with each of the others."""
    first: dict[Hashable, int] = {}
    pairs = []
    for row, digest in enumerate(digests):
        if first.setdefault(digest, row) != row:
            pairs.append((first[digest], row))
    return pairs


def near(
    digests: Sequence[Hashable], hashes: Sequence[int], small: np.ndarray, groups: np.ndarray
) -> list[tuple[int, int]]:
    """Returns rows (i, j), i < j, of images of different groups that look alike: another size, the next frame.

    Every pair is compared, in blocks, by numpy: 20,000 images take seconds. Equal images are left out. Each j has at
    most one i, the most similar, because all frames of a camera that stands still look alike. An image of a single
    colour resembles nothing.

    Args:
        digests, hashes, small: see `Fingerprint`; `[N]`, `[N]` and `[N, 256]`.
        groups: int `[N]`, such as the split of each image.
    """
    numbers: dict[Hashable, int] = {}
    equal = np.array([numbers.setdefault(digest, row) for row, digest in enumerate(digests)])
    bits = np.array(hashes, np.uint64)
    centred = small.astype(np.float32) - small.mean(axis=1, keepdims=True, dtype=np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), SIDE)  # nearly 0 for a flat image
    n = len(bits)
    rows = np.arange(n)
    best, partner = np.zeros(n, np.float32), np.full(n, -1)
    for start in range(0, n, _BLOCK):
        part = slice(start, start + _BLOCK)
        differ = np.bitwise_count(bits[part, None] ^ bits[None, start:])  # [block, N - start]
        wanted = (
            (differ <= NEAR_BITS)
            & (groups[part, None] != groups[None, start:])
            & (rows[part, None] < rows[None, start:])
            & (equal[part, None] != equal[None, start:])
        )
        if wanted.any():
            alike = np.where(wanted, centred[part] @ centred[start:].T, 0)
            row, value = alike.argmax(axis=0), alike.max(axis=0)
            better = (value >= NEAR_CORRELATION) & (value > best[start:])
            best[start:][better] = value[better]
            partner[start:][better] = start + row[better]
    return [(int(partner[j]), int(j)) for j in np.flatnonzero(partner >= 0)]

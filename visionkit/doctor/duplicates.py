"""Which images of a data set are the same, or nearly: copies that sit in train and in test make scores too good."""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np

NEAR_BITS = 8  # of 64 that may differ between the difference hashes of near duplicates
NEAR_CORRELATION = 0.98  # and how much the small grey pictures must agree
SIDE = 16  # pixels of a small grey picture
_BLOCK = 512  # rows of the table of all pairs that are made at a time


def fingerprint(image: np.ndarray) -> tuple[bytes, int, np.ndarray]:
    """What two images are compared by.

    Args:
        image: uint8 `[H, W, 3]`.

    Returns:
        (digest of the pixels, 64-bit difference hash: whether each cell of an 8 x 9 picture is darker than the next,
        uint8 `[256]` the image as 16 x 16 grey).
    """
    digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16, salt=str(image.shape).encode()[:16]).digest()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return digest, int.from_bytes(bits.tobytes(), "big"), small.ravel()


def same(digests: Sequence[bytes]) -> list[tuple[int, int]]:
    """Rows (first, later) of equal images; of three equal ones, the first with each of the others."""
    first, pairs = {}, []
    for row, digest in enumerate(digests):
        if first.setdefault(digest, row) != row:
            pairs.append((first[digest], row))
    return pairs


def near(digests: Sequence, hashes: Sequence[int], small: np.ndarray, groups: np.ndarray) -> list[tuple[int, int]]:
    """Rows (i, j), i < j, of images of different groups that look alike and are not equal: other sizes, the next frame.

    Every pair is compared, in blocks, by numpy: 20,000 images take seconds. Each j has one i, the likest: of a camera
    that stands still all frames look alike. An image of one colour resembles nothing.

    Args:
        digests, hashes, small: see `fingerprint`; `[N]`, `[N]` and `[N, 256]`.
        groups: int `[N]`, such as the split of each image.
    """
    numbers, hashes = {}, np.array(hashes, np.uint64)
    equal = np.array([numbers.setdefault(digest, row) for row, digest in enumerate(digests)])
    centred = small.astype(np.float32) - small.mean(axis=1, keepdims=True, dtype=np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), SIDE)  # within a grey level of flat: nearly 0
    count = np.arange(len(hashes))
    best, partner = np.zeros(len(hashes), np.float32), np.full(len(hashes), -1)
    for start in range(0, len(hashes), _BLOCK):
        part = slice(start, start + _BLOCK)
        differ = np.bitwise_count(hashes[part, None] ^ hashes[None, start:])  # [block, N - start]
        wanted = (differ <= NEAR_BITS) & (groups[part, None] != groups[None, start:])
        wanted &= (count[part, None] < count[None, start:]) & (equal[part, None] != equal[None, start:])
        if wanted.any():
            alike = np.where(wanted, centred[part] @ centred[start:].T, 0)
            row, value = alike.argmax(axis=0), alike.max(axis=0)
            better = (value >= NEAR_CORRELATION) & (value > best[start:])
            best[start:][better], partner[start:][better] = value[better], start + row[better]
    return [(int(partner[j]), int(j)) for j in np.flatnonzero(partner >= 0)]

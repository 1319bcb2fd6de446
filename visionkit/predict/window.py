"""Class probabilities of images larger than the network: overlapping windows at full resolution, blended."""

import math
from collections.abc import Callable, Iterator

import numpy as np

STRIDE = 32  # windows begin at multiples of it, the coarsest stride of a backbone, so that all see one grid of features
FILL = 114  # beyond the image, as `images.letterbox` has it


def windows(length: int, side: int) -> tuple[int, int]:
    """(number, step) of windows of `side` that cover `length` and overlap by half or more, if `side` allows."""
    widest = max(side // 2 // STRIDE, 1) * STRIDE
    if length <= side or widest > side:  # a window smaller than the grid: side by side, without blending
        return math.ceil(length / side), side
    count = math.ceil((length - side) / widest) + 1
    return count, math.ceil((length - side) / (count - 1) / STRIDE) * STRIDE


def ramp(side: int, step: int, first: bool, last: bool) -> np.ndarray:
    """The weight of a window along one axis, float32 `[side]`; those of neighbours sum to 1 where two overlap.

    In the overlap it goes from 0 to 1 as a squared sine, so that no edge can be seen; in the outer quarter it is 0,
    since there the network has seen only what lies on one side. Towards the image's own edge it stays 1.
    """
    overlap = side - step
    places = (np.arange(overlap) + 0.5) / max(overlap, 1)  # 0..1 across the overlap
    rising = np.sin(np.clip(2 * places - 0.5, 0, 1) * np.pi / 2) ** 2
    weight = np.ones(side)
    if not first:
        weight[:overlap] *= rising
    if not last:
        weight[side - overlap :] *= rising[::-1]
    return weight.astype(np.float32)


def windowed(
    predict: Callable[[np.ndarray], np.ndarray], image: np.ndarray, size: tuple[int, int], batch_size: int
) -> Iterator[np.ndarray]:
    """The probabilities of an image of any size, from top to bottom.

    Args:
        predict: uint8 `[n, h, w, C]` -> float32 `[n, h, w, K]`, n <= `batch_size`.
        image: uint8 `[H, W, C]`; beyond its right and lower edges the windows see grey.
        size: (h, w) of a window.
        batch_size: windows a call of `predict`.

    Yields:
        Strips float32 `[rows, W, K]`, H rows in all. No more than one row of windows is held: h x W x K numbers.
    """
    (h, w), (height, width) = size, image.shape[:2]
    (rows, down), (columns, right) = windows(height, h), windows(width, w)
    padded = ((columns - 1) * right + w, image.shape[2])
    sums = total = None  # of the rows from `top` on: [h, padded width, K] and [h, padded width]
    for row in range(rows):
        top = row * down
        strip = np.full((h, *padded), FILL, np.uint8)
        strip[: height - top, :width] = image[top : top + h]
        vertical = ramp(h, down, row == 0, row == rows - 1)
        for start in range(0, columns, batch_size):
            chosen = range(start, min(start + batch_size, columns))
            found = predict(np.stack([strip[:, c * right : c * right + w] for c in chosen]))
            if sums is None:
                sums = np.zeros((h, padded[0], found.shape[-1]), np.float32)
                total = np.zeros((h, padded[0]), np.float32)
            for column, probabilities in zip(chosen, found, strict=True):
                weight = vertical[:, None] * ramp(w, right, column == 0, column == columns - 1)  # [h, w]
                place = np.s_[:, column * right : column * right + w]
                sums[place] += weight[..., None] * probabilities
                total[place] += weight
        done = min(down, height - top) if row < rows - 1 else height - top
        yield sums[:done, :width] / total[:done, :width, None]
        if row < rows - 1:  # what the next row of windows overlaps moves up
            for kept in (sums, total):
                kept[: h - down] = kept[down:]
                kept[h - down :] = 0

"""Class probabilities of images larger than the network: overlapping windows at full resolution, blended."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from visionkit.resizing import FILL

STRIDE = 32  # the coarsest stride of a backbone; windows start at multiples of it so that all see the same grid


def windows(length: int, side: int) -> tuple[int, int]:
    """(number, step) of windows of `side` that cover `length`; they overlap by at least half if `side` allows it."""
    widest = max(side // 2 // STRIDE, 1) * STRIDE
    if length <= side or widest > side:  # a window smaller than the grid: side by side, without blending
        return math.ceil(length / side), side
    count = math.ceil((length - side) / widest) + 1
    return count, math.ceil((length - side) / (count - 1) / STRIDE) * STRIDE


def ramp(side: int, step: int, first: bool, last: bool) -> np.ndarray:
    """The weight of a window along one axis, float32 `[side]`; the weights of two overlapping neighbours sum to 1.

    Within the overlap the weight rises from 0 to 1 as a squared sine, so that no edge shows; in the outer quarter of
    the overlap it is 0, because there the network has little context on one side. Towards an edge of the image it
    stays 1.

    Args:
        side: length of a window in pixels.
        step: distance between the starts of neighbouring windows in pixels.
        first, last: whether the window is the first or the last along this axis.
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
        image: uint8 `[H, W, C]`; windows that extend beyond its right and lower edges see grey there.
        size: (h, w) of a window.
        batch_size: windows per call of `predict`.

    Yields:
        Strips float32 `[rows, W, K]`, H rows in all. No more than one row of windows is held in memory: h x W x K
        numbers.
    """
    (h, w), (height, width) = size, image.shape[:2]
    (rows, down), (columns, right) = windows(height, h), windows(width, w)
    padded_width = (columns - 1) * right + w
    sums = total = None  # of probabilities and of weights, from row `top` on: [h, padded width, K], [h, padded width]
    for row in range(rows):
        top = row * down
        strip = np.full((h, padded_width, image.shape[2]), FILL, np.uint8)
        strip[: height - top, :width] = image[top : top + h]
        vertical = ramp(h, down, row == 0, row == rows - 1)
        for start in range(0, columns, batch_size):
            chosen = range(start, min(start + batch_size, columns))
            batch = predict(np.stack([strip[:, c * right : c * right + w] for c in chosen]))  # [n, h, w, K]
            if sums is None or total is None:
                sums = np.zeros((h, padded_width, batch.shape[-1]), np.float32)
                total = np.zeros((h, padded_width), np.float32)
            for column, probabilities in zip(chosen, batch, strict=True):
                weight = vertical[:, None] * ramp(w, right, column == 0, column == columns - 1)  # [h, w]
                place = np.s_[:, column * right : column * right + w]
                sums[place] += weight[..., None] * probabilities
                total[place] += weight
        assert sums is not None and total is not None  # there is at least one column
        done = min(down, height - top) if row < rows - 1 else height - top
        yield sums[:done, :width] / total[:done, :width, None]
        if row < rows - 1:  # the part that the next row of windows overlaps moves to the top
            for kept in (sums, total):
                kept[: h - down] = kept[down:]
                kept[h - down :] = 0

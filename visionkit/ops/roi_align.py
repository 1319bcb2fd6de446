"""RoIAlign: features of a fixed size from boxes of any size (He et al. 2017, arXiv 1703.06870, section 3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import backend, ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.ops.boxes import area
from visionkit.types import Tensor

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # a box of ImageNet's size pools from P4 (FPN, arXiv 1612.03144, eq. 1)
# Numbers that are gathered from an image at a time; as many as its feature maps hold, if that is more.
GATHERED = 2**23


def assign_levels(boxes: Tensor, lowest: int, highest: int) -> Tensor:
    """The pyramid level that each box pools from (FPN, eq. 1): floor(4 + log2(sqrt(area) / 224)), kept in range.

    Args:
        boxes: `[..., 4]` in pixels of the image.
        lowest, highest: the range of levels, as powers of two: 2 and 5 for P2 .. P5.

    Returns:
        int32 `[...]`, `lowest` .. `highest`.
    """
    side = ops.sqrt(ops.maximum(area(boxes), 1e-6))
    # The millionth is torchvision's and detectron2's: a box of exactly 112 pixels must not drop to the level below.
    level = ops.floor(CANONICAL_LEVEL + ops.log2(side / CANONICAL_SIZE) + 1e-6)
    return ops.cast(ops.clip(level, lowest, highest), "int32")


def roi_align(
    features: Mapping[str, Tensor],
    boxes: Tensor,
    size: int,
    sampling_ratio: int = 2,
    aligned: bool = False,
    rows: Tensor | None = None,
) -> Tensor:
    """Pools every box to `size` x `size` bins by averaging bilinear samples, from the level that suits its area.

    Bilinear interpolation is separable: the rows and columns that the samples of a box touch are gathered once, and two
    small matrix products weigh them. What is gathered is up to a hundred times larger than the feature maps, so the
    boxes take turns, some at a time, forwards and backwards. No gradient reaches the boxes. The result equals
    torchvision's `roi_align` and `MultiScaleRoIAlign`.

    Args:
        features: {"P2": `[N, h, w, C]`, ...} with static h and w, fine levels first and no gap between them; the
            stride of level n is 2**n. With one level every box pools from it.
        boxes: `[B, R, 4]` in pixels of the image, of any size; they may reach beyond the image.
        size: bins per side.
        sampling_ratio: samples per bin and axis.
        aligned: shifts the samples half a pixel to the left and up, as detectron2 does. Without it, as in torchvision's
            detectors, a side is at least one cell of the map long.
        rows: int `[B, R]`, the row of the feature maps' first axis that a box pools from; by default image b of N = B.

    Returns:
        `[B, R, size, size, C]`.
    """
    numbers = [int(name[1:]) for name in features]
    maps = list(features.values())
    heights, widths = np.array([m.shape[1] for m in maps]), np.array([m.shape[2] for m in maps])
    starts = np.concatenate([[0], np.cumsum(heights * widths)])
    channels = maps[0].shape[-1]
    flat = [ops.reshape(m, (-1, h * w, channels)) for m, h, w in zip(maps, heights, widths, strict=True)]
    cells = flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=1)  # [N, cells, C]
    cells = ops.reshape(cells, (-1, channels))  # [N * cells, C]

    count = boxes.shape[1]
    place = assign_levels(boxes, numbers[0], numbers[-1]) - numbers[0]  # [B, R]
    height, width, start = (ops.take(x.astype("int32"), place, axis=0) for x in (heights, widths, starts))  # [B, R]
    scale = ops.take((0.5 ** np.array(numbers)).astype("float32"), place, axis=0)
    if rows is None:
        rows = ops.broadcast_to(ops.arange(ops.shape(boxes)[0], dtype="int32")[:, None], ops.shape(boxes)[:2])
    start = start + ops.cast(rows, "int32") * int(starts[-1])

    scaled = ops.cast(boxes, "float32") * scale[..., None] - (0.5 if aligned else 0.0)
    x_index, x_weight = _samples(scaled[..., 0], scaled[..., 2], width, size, sampling_ratio, aligned)
    y_index, y_weight = _samples(scaled[..., 1], scaled[..., 3], height, size, sampling_ratio, aligned)
    corners = start[..., None] + y_index * width[..., None]  # [B, R, K], of the rows
    length = max(1, max(GATHERED, int(starts[-1]) * channels) // (channels * x_index.shape[-1] ** 2))
    turns = [
        [x[:, first : first + length] for x in (corners, x_index, y_weight, x_weight)]
        for first in range(0, count, length)
    ]
    return _pool(cells, [[ops.stop_gradient(x) for x in turn] for turn in turns])


def _pool(cells: Tensor, turns: list[list[Tensor]]) -> Tensor:
    """Pools the boxes turn by turn.

    Args:
        cells: `[N, C]`, floats or, as of masks, whole numbers.
        turns: for some boxes each, where their rows begin int32 `[B, r, K]`, columns int32 `[B, r, K]`, and the weights
            of both in each bin, float32 `[B, r, size, K]`.

    Returns:
        `[B, R, size, size, C]`, float32 for whole numbers.
    """

    @ops.custom_gradient
    def pool(cells: Tensor) -> tuple[Tensor, Any]:
        pooled: list[Tensor] = []
        for turn in turns:
            pooled.append(_gather(cells, turn, pooled[-1] if pooled else None))
        count = ops.shape(cells)[0]

        def gradient(upstream: Tensor) -> Tensor:
            total, first = ops.zeros_like(cells), 0
            for turn in turns:
                length = turn[0].shape[1]
                total = total + _scatter(upstream[:, first : first + length], turn, count, total)
                first += length
            return total

        return pooled[0] if len(pooled) == 1 else ops.concatenate(pooled, axis=1), gradient

    return pool(cells)


def _gather(cells: Tensor, turn: list[Tensor], after: Tensor | None) -> Tensor:
    """Pools the boxes of one turn: `[B, r, size, size, C]`; `after` is the result of the turn before."""
    index, y_weight, x_weight = _of_turn(turn, after)
    size, k, channels = *y_weight.shape[1:], cells.shape[-1]
    patch = ops.take(cells, index, axis=0)  # [B*r, K*K, C]
    floats: bool = backend.is_float_dtype(cells.dtype)  # pyright: ignore[reportUnknownMemberType]
    dtype = cells.dtype if floats else "float32"
    patch, y_weight, x_weight = (ops.cast(x, dtype) for x in (patch, y_weight, x_weight))
    patch = ops.matmul(y_weight, ops.reshape(patch, (-1, k, k * channels)))  # [B*r, size, K*C]
    patch = ops.matmul(x_weight[:, None], ops.reshape(patch, (-1, size, k, channels)))  # [B*r, size, size, C]
    return ops.reshape(patch, (-1, turn[0].shape[1], size, size, channels))


def _scatter(upstream: Tensor, turn: list[Tensor], count: Any, after: Tensor) -> Tensor:
    """The gradient for the `count` cells `[N, C]` of one turn; arguments as for `_gather`."""
    index, y_weight, x_weight = _of_turn(turn, after)
    size, k, channels = *y_weight.shape[1:], upstream.shape[-1]
    y_weight, x_weight = (ops.cast(ops.transpose(w, (0, 2, 1)), upstream.dtype) for w in (y_weight, x_weight))
    patch = ops.reshape(upstream, (-1, size, size, channels))  # [B*r, size, size, C]
    patch = ops.matmul(x_weight[:, None], patch)  # [B*r, size, K, C]
    patch = ops.matmul(y_weight, ops.reshape(patch, (-1, size, k * channels)))  # [B*r, K, K*C]
    return ops.segment_sum(ops.reshape(patch, (-1, channels)), ops.reshape(index, (-1,)), count)


def _of_turn(turn: list[Tensor], after: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The cells `[B*r, K*K]` that the boxes of a turn touch, and their weights along y and x `[B*r, size, K]`."""
    corners, columns, y_weight, x_weight = turn
    size, k = y_weight.shape[2:]
    if after is not None:
        # TensorFlow begins whatever can be computed, and so would gather for all turns at once. This 0 is one that only
        # the result of the turn before gives: no number is below minus infinity.
        corners = corners + ops.cast(ops.reshape(after, (-1,))[0] < -np.inf, "int32")
    index = corners[..., :, None] + columns[..., None, :]  # [B, r, K, K]
    y_weight, x_weight = (ops.reshape(w, (-1, size, k)) for w in (y_weight, x_weight))
    return ops.reshape(index, (-1, k * k)), y_weight, x_weight


def _samples(low: Tensor, high: Tensor, length: Tensor, size: int, ratio: int, aligned: bool) -> tuple[Tensor, Tensor]:
    """Along one axis: which cells the samples of each box touch, and how much of each cell is in each bin.

    Args:
        low, high: where the boxes begin and end, float32 `[B, R]` in cells.
        length: cells of the map along the axis, int32 `[B, R]`.
        size, ratio, aligned: `size`, `sampling_ratio` and `aligned` of `roi_align`.

    Returns:
        index int32 `[B, R, K]` with K = 2 * size * ratio, and weight float32 `[B, R, size, K]`.
    """
    side = high - low
    if not aligned:
        side = ops.maximum(side, 1.0)
    at = (np.arange(size * ratio, dtype="float32") + 0.5) / ratio  # in bins
    position = low[..., None] + at * (side / size)[..., None]  # [B, R, size * ratio]
    last = ops.cast(length, "float32")[..., None]
    # A sample up to one cell outside the map takes the value of its edge; beyond that it counts as zero.
    inside = ops.logical_and(position >= -1.0, position <= last)
    position = ops.clip(position, 0.0, last - 1.0)
    floor = ops.floor(position)
    part = position - floor
    below = ops.cast(floor, "int32")
    above = ops.minimum(below + 1, length[..., None] - 1)
    index = ops.concatenate([below, above], axis=-1)  # [B, R, K]
    share = ops.where(inside, 1.0 / ratio, 0.0)
    weight = ops.concatenate([(1.0 - part) * share, part * share], axis=-1)  # [B, R, K]
    bins = np.tile(np.kron(np.eye(size, dtype="float32"), np.ones((1, ratio), "float32")), (1, 2))  # [size, K]
    return index, weight[..., None, :] * bins

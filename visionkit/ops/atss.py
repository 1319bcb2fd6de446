"""Decides which cell is trained for which object.

Adaptive training sample selection (ATSS; Zhang et al. 2020, arXiv 1912.02424).
"""

from collections.abc import Sequence

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.ops import boxes as box_ops
from visionkit.types import Tensor

INSIDE = 0.01  # a cell's centre must be more than this many pixels inside its object


def atss(
    anchors: Tensor, level_sizes: Sequence[int], boxes: Tensor, valid: Tensor, nearest: int = 9
) -> tuple[Tensor, Tensor]:
    """Assigns anchors to objects (section 3.2, algorithm 1).

    The candidates of an object are, on each level, the anchors whose centres are nearest to its own. A candidate is
    positive if it overlaps the object at least as much as the mean plus the standard deviation of all its candidates
    and its centre lies inside the object. An object may have no positive anchor if it is too small or if other objects
    overlap its anchors more.

    Args:
        anchors: one square per cell, float32 `[A, 4]`, level by level.
        level_sizes: cells of each level; their sum is A.
        boxes: objects, float32 `[B, M, 4]`.
        valid: bool `[B, M]`, False for padding.
        nearest: candidates from each level; a level with fewer cells gives them all.

    Returns:
        index: int32 `[B, A]`, each anchor's object; if several claim it, the one that it overlaps most. Meaningful
            where positive.
        positive: bool `[B, A]`.
    """
    overlap = box_ops.iou(boxes, anchors[None])  # [B, M, A]
    x, y = (anchors[:, i] / 2 + anchors[:, i + 2] / 2 for i in (0, 1))  # [A]: the centres
    x1, y1, x2, y2 = (boxes[..., i, None] for i in range(4))  # [B, M, 1]
    distance = (x - (x1 + x2) / 2) ** 2 + (y - (y1 + y2) / 2) ** 2  # [B, M, A]
    inside = ops.minimum(ops.minimum(x - x1, x2 - x), ops.minimum(y - y1, y2 - y)) > INSIDE  # [B, M, A]

    places: list[Tensor] = []  # of the candidates in each level
    shares: list[Tensor] = []  # their overlap with the object
    start = 0
    for size in level_sizes:
        level = slice(start, start + size)
        place = ops.cast(ops.top_k(-distance[..., level], min(nearest, size))[1], "int32")  # [B, M, k]
        places.append(place)
        shares.append(ops.take_along_axis(overlap[..., level], place, axis=-1))
        start += size
    candidates = ops.concatenate(shares, axis=-1)  # [B, M, C]
    mean = ops.mean(candidates, axis=-1, keepdims=True)  # [B, M, 1]
    # Divided by one less than their number, as in the authors' code.
    spread = ops.sum((candidates - mean) ** 2, axis=-1, keepdims=True) / max(candidates.shape[-1] - 1, 1)
    threshold = mean + ops.sqrt(spread)

    by_level: list[Tensor] = []
    for size, place, share in zip(level_sizes, places, shares, strict=True):
        place = ops.where(share >= threshold, place, -1)  # [B, M, k]
        cells = ops.arange(size, dtype="int32")
        by_level.append(ops.any(ops.equal(place[..., None], cells), axis=2))  # [B, M, size]
    claimed = ops.logical_and(ops.concatenate(by_level, axis=-1), inside)  # [B, M, A]
    claimed = ops.logical_and(claimed, valid[..., None])
    claim = ops.where(claimed, overlap, -1.0)
    return ops.cast(ops.argmax(claim, axis=1), "int32"), ops.any(claimed, axis=1)

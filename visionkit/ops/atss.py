"""Which cells answer for which object: adaptive training sample selection (Zhang et al. 2020, arXiv 1912.02424)."""

from keras import ops

from visionkit.ops import boxes as box_ops

INSIDE = 0.01  # pixels from a cell's centre to the nearest side of its object, at least


def atss(anchors, level_sizes, boxes, valid, nearest=9):
    """Assigns anchors to objects (section 3.2, algorithm 1).

    The candidates of an object are the anchors of each level whose centres lie nearest to its own. Positive are those
    among them that overlap it at least as much as the mean of all its candidates and their standard deviation
    together, if their centre lies inside it. An object may have none: it is too small, or others overlap its anchors
    more.

    Args:
        anchors: one square for each cell, float32 `[A, 4]`, level by level.
        level_sizes: cells of each level; their sum is A.
        boxes: objects, float32 `[B, M, 4]`.
        valid: bool `[B, M]`, False for padding.
        nearest: candidates from each level, or all of its cells where there are fewer.

    Returns:
        index: int32 `[B, A]`, each anchor's object, of several the one that it overlaps most; meaningful where
            positive.
        positive: bool `[B, A]`.
    """
    overlap = box_ops.iou(boxes, anchors[None])  # [B, M, A]
    x, y = (anchors[:, i] / 2 + anchors[:, i + 2] / 2 for i in (0, 1))  # [A]: of the centres
    x1, y1, x2, y2 = (boxes[..., i, None] for i in range(4))  # [B, M, 1]
    distance = (x - (x1 + x2) / 2) ** 2 + (y - (y1 + y2) / 2) ** 2  # [B, M, A]
    inside = ops.minimum(ops.minimum(x - x1, x2 - x), ops.minimum(y - y1, y2 - y)) > INSIDE  # [B, M, A]

    places, shares, start = [], [], 0
    for size in level_sizes:
        level = slice(start, start + size)
        place = ops.cast(ops.top_k(-distance[..., level], min(nearest, size))[1], "int32")  # [B, M, k]
        places.append(place)
        shares.append(ops.take_along_axis(overlap[..., level], place, axis=-1))
        start += size
    candidates = ops.concatenate(shares, axis=-1)  # [B, M, C]
    mean = ops.mean(candidates, axis=-1, keepdims=True)  # [B, M, 1]
    # As the authors' code has it, divided by one less than their number.
    spread = ops.sum((candidates - mean) ** 2, axis=-1, keepdims=True) / max(candidates.shape[-1] - 1, 1)
    threshold = mean + ops.sqrt(spread)

    claimed = []
    for size, place, share in zip(level_sizes, places, shares, strict=True):
        place = ops.where(share >= threshold, place, -1)  # [B, M, k]
        cells = ops.arange(size, dtype="int32")
        claimed.append(ops.any(ops.equal(place[..., None], cells), axis=2))  # [B, M, size]
    claimed = ops.logical_and(ops.concatenate(claimed, axis=-1), inside)  # [B, M, A]
    claimed = ops.logical_and(claimed, valid[..., None])
    claim = ops.where(claimed, overlap, -1.0)
    return ops.cast(ops.argmax(claim, axis=1), "int32"), ops.any(claimed, axis=1)

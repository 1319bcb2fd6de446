"""Non-maximum suppression with static shapes, so that it compiles, exports and runs on every backend.

It is greedy and by class, as in R-CNN (Girshick et al. 2014, arXiv 1311.2524, section 2.2).
"""

from collections.abc import Sequence

import numpy as np
from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.ops.boxes import iou
from visionkit.types import PADDING, Tensor

BLOCK = 256  # candidates that `nms` settles at a time


def best(scores: Tensor, threshold: float, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The candidates with the greatest scores, whatever their class.

    Args:
        scores: float32 `[B, N, K]`.
        threshold: candidates at or below it are dropped.
        count: T, candidates per image; N * K where that is less.

    Returns:
        scores float32 `[B, T]` descending, with 0 for empty places; their row int32 `[B, T]`, 0..N-1; and their class
        int32 `[B, T]`.
    """
    rows, classes = scores.shape[1:]
    scores = ops.reshape(ops.where(scores > threshold, scores, 0.0), (-1, rows * classes))
    scores, place = ops.top_k(scores, min(count, rows * classes))  # [B, T]
    place = ops.cast(place, "int32")
    return scores, place // classes, place % classes


def best_by_level(
    scores: Tensor, level_sizes: Sequence[int], threshold: float, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`best` of every level, so that the many places of the finest level do not crowd out the coarser ones.

    Args:
        scores: float32 `[B, N, K]`, level by level.
        level_sizes: rows of each level; their sum is N.
        threshold: see `best`.
        count: candidates per level; all of a level that has fewer.

    Returns:
        What `best` returns, sorted over all levels.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    start = 0
    for size in level_sizes:
        found, row, labels = best(scores[:, start : start + size], threshold, count)
        parts.append((found, row + start, labels))
        start += size
    found, row, labels = (ops.concatenate(part, axis=1) for part in zip(*parts, strict=True))  # [B, T]
    found, order = ops.top_k(found, found.shape[1])
    order = ops.cast(order, "int32")
    return found, _take(row, order), _take(labels, order)


def nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, keep: int, smallest: float = 0.0
) -> dict[str, Tensor]:
    """A detector's last step: greedy suppression within each class, until `keep` are kept or no candidate is left.

    A candidate is kept unless a candidate of its class that was kept before overlaps it by more than the threshold. The
    candidates are settled block by block. Most images have their `keep` after a few blocks, and the rest is never
    compared.

    Args:
        boxes: `[B, T, 4]`.
        scores: float32 `[B, T]` descending; 0 is padding.
        labels: int32 `[B, T]`; only candidates of the same class compete.
        iou_threshold: 0..1.
        keep: detections returned per image, over all classes; T where that is less.
        smallest: boxes with a side of fewer pixels are dropped.

    Returns:
        dict of boxes float32 `[B, keep, 4]`, scores float32 `[B, keep]` descending and labels int32 `[B, keep]`; empty
        rows have box 0, score 0 and label -1. `index` int32 `[B, keep]` is the position in `boxes`.
    """
    count = scores.shape[1]
    size, keep = min(BLOCK, count), min(keep, count)
    blocks = -(-count // size)  # rounded up
    missing = blocks * size - count
    boxes, scores, labels = (_pad_rows(x, missing) for x in (boxes, scores, labels))

    def unfinished(block: Tensor, kept: Tensor, _: Tensor) -> Tensor:
        best_left = ops.take(scores, ops.minimum(block, blocks - 1) * size, axis=1)  # [B]
        wanting = ops.logical_and(best_left > 0, kept[:, -1] == 0)
        return ops.logical_and(block < blocks, ops.any(wanting))

    def step(block: Tensor, kept: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = block * size + ops.arange(size, dtype="int32")  # [S]
        new_boxes, new_scores, new_labels = (ops.take(x, place, axis=1) for x in (boxes, scores, labels))
        old_boxes, old_labels = _take(boxes, index[..., None]), _take(labels, index)
        beats = _beats(old_boxes, old_labels, new_boxes, new_labels, iou_threshold)  # [B, keep, S]
        beaten = ops.any(ops.logical_and(beats, (kept > 0)[..., None]), axis=1)  # [B, S]
        small = ops.min(new_boxes[..., 2:] - new_boxes[..., :2], axis=-1) < smallest
        new_scores = ops.where(ops.logical_or(beaten, small), 0.0, new_scores)
        new_scores = ops.where(suppress(new_boxes, new_scores, iou_threshold, new_labels), new_scores, 0.0)
        # Candidates kept before score at least as much, and among equals top_k takes the first.
        kept, chosen = ops.top_k(ops.concatenate([kept, new_scores], axis=1), keep)
        place = ops.broadcast_to(place[None], ops.shape(new_scores))
        return block + 1, kept, _take(ops.concatenate([index, place], axis=1), ops.cast(chosen, "int32"))

    start = ops.zeros_like(scores[:, :keep])
    state = (ops.convert_to_tensor(0, dtype="int32"), start, ops.cast(start, "int32"))
    _, kept, index = ops.while_loop(unfinished, step, state, maximum_iterations=blocks)
    filled = kept > 0
    return {
        "boxes": ops.where(filled[..., None], _take(boxes, index[..., None]), 0.0),
        "scores": kept,
        "labels": ops.where(filled, _take(labels, index), PADDING),
        "index": index,
    }


def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float, groups: Tensor | None = None) -> Tensor:
    """Greedy suppression of all candidates at once, sorted by descending score.

    Instead of visiting candidate after candidate, the rule is applied to all of them until nothing changes. After pass
    n the first n are settled; in practice a handful of passes settles all.

    Args:
        boxes: `[..., N, 4]`.
        scores: `[..., N]` descending; 0 is padding.
        iou_threshold: 0..1.
        groups: int `[..., N]`: only candidates of the same group compete; None lets all compete.

    Returns:
        bool `[..., N]`, True where a candidate is kept.
    """
    count = boxes.shape[-2]
    before = ops.convert_to_tensor(np.triu(np.ones((count, count), bool), 1))  # [j, i]: j comes before i
    beats = ops.logical_and(_beats(boxes, groups, boxes, groups, iou_threshold), before)
    beats = ops.cast(beats, scores.dtype)  # [..., N, N]
    valid = ops.cast(scores > 0, scores.dtype)

    def unsettled(_: Tensor, changed: Tensor) -> Tensor:
        return changed

    def step(keep: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        beaten = ops.squeeze(ops.matmul(keep[..., None, :], beats), axis=-2)  # [..., N]
        new_keep = valid * ops.cast(beaten < 0.5, scores.dtype)
        return new_keep, ops.any(ops.not_equal(new_keep, keep))

    start = (valid, ops.convert_to_tensor(True))
    keep, _ = ops.while_loop(unsettled, step, start, maximum_iterations=count)
    return keep > 0.5


def _beats(a: Tensor, a_groups: Tensor | None, b: Tensor, b_groups: Tensor | None, iou_threshold: float) -> Tensor:
    """bool `[..., N, M]`: box n of `a`, if it is kept, suppresses box m of `b`."""
    beats = iou(a, b) > iou_threshold
    if a_groups is None or b_groups is None:
        return beats
    return ops.logical_and(beats, ops.equal(a_groups[..., :, None], b_groups[..., None, :]))


def _pad_rows(x: Tensor, count: int) -> Tensor:
    return ops.pad(x, [[0, 0], [0, count]] + [[0, 0]] * (len(x.shape) - 2)) if count else x


def _take(x: Tensor, index: Tensor) -> Tensor:
    return ops.take_along_axis(x, index, axis=1)

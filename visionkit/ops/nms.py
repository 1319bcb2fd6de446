"""Non-maximum suppression with static shapes, so that it compiles, exports and runs on every backend."""

import numpy as np
from keras import ops

from visionkit.ops.boxes import iou

BLOCK = 256  # candidates that `nms` settles at a time


def best(scores, threshold, count):
    """The candidates of the greatest scores, whatever their class.

    Args:
        scores: float32 `[B, N, K]`.
        threshold: candidates at or below it are dropped.
        count: T, candidates an image; N * K where that is less.

    Returns:
        scores float32 `[B, T]` descending, with 0 for places that are left over; their row int32 `[B, T]`, 0..N-1;
        and their class int32 `[B, T]`.
    """
    rows, classes = scores.shape[1:]
    scores = ops.reshape(ops.where(scores > threshold, scores, 0.0), (-1, rows * classes))
    scores, place = ops.top_k(scores, min(count, rows * classes))  # [B, T]
    place = ops.cast(place, "int32")
    return scores, place // classes, place % classes


def nms(boxes, scores, labels, iou_threshold, keep, smallest=0.0):
    """A detector's last step: greedy suppression within each class, until `keep` are found or no candidate is left.

    A candidate is kept when no kept candidate of its class before it overlaps it by more than the threshold. The
    candidates are settled block by block, and most images have their `keep` after few: what would come later is never
    compared.

    Args:
        boxes: `[B, T, 4]`.
        scores: float32 `[B, T]` descending; those at 0 are padding.
        labels: int32 `[B, T]`; only candidates of the same class compete.
        iou_threshold: 0..1.
        keep: detections returned an image, over all classes; T where that is less.
        smallest: boxes with a side under so many pixels are dropped.

    Returns:
        dict of boxes float32 `[B, keep, 4]`, scores float32 `[B, keep]` descending and labels int32 `[B, keep]`;
        rows that are left over have box 0, score 0 and label -1. `index` int32 `[B, keep]` is the place in `boxes`.
    """
    count = scores.shape[1]
    size, keep = min(BLOCK, count), min(keep, count)
    blocks = -(-count // size)
    missing = blocks * size - count
    boxes, scores, labels = (_pad_rows(x, missing) for x in (boxes, scores, labels))

    def waiting(block, kept, _):
        following = ops.take(scores, ops.minimum(block, blocks - 1) * size, axis=1)  # [B]: the best one not settled
        unfinished = ops.logical_and(following > 0, kept[:, -1] == 0)
        return ops.logical_and(block < blocks, ops.any(unfinished))

    def step(block, kept, index):
        place = block * size + ops.arange(size, dtype="int32")  # [S]
        new_boxes, new_scores, new_labels = (ops.take(x, place, axis=1) for x in (boxes, scores, labels))
        old_boxes, old_labels = ops.take_along_axis(boxes, index[..., None], axis=1), _take(labels, index)
        beats = _beats(old_boxes, old_labels, new_boxes, new_labels, iou_threshold)  # [B, keep, S]
        beaten = ops.any(ops.logical_and(beats, (kept > 0)[..., None]), axis=1)  # [B, S]
        small = ops.min(new_boxes[..., 2:] - new_boxes[..., :2], axis=-1) < smallest
        new_scores = ops.where(ops.logical_or(beaten, small), 0.0, new_scores)
        new_scores = ops.where(suppress(new_boxes, new_scores, iou_threshold, new_labels), new_scores, 0.0)
        # Those kept before score at least as much, and of equals top_k takes the first.
        kept, chosen = ops.top_k(ops.concatenate([kept, new_scores], axis=1), keep)
        place = ops.broadcast_to(place[None], ops.shape(new_scores))
        return block + 1, kept, _take(ops.concatenate([index, place], axis=1), ops.cast(chosen, "int32"))

    start = ops.zeros_like(scores[:, :keep])
    state = (ops.convert_to_tensor(0, dtype="int32"), start, ops.cast(start, "int32"))
    _, kept, index = ops.while_loop(waiting, step, state, maximum_iterations=blocks)
    found = kept > 0
    return {
        "boxes": ops.where(found[..., None], ops.take_along_axis(boxes, index[..., None], axis=1), 0.0),
        "scores": kept,
        "labels": ops.where(found, _take(labels, index), -1),
        "index": index,
    }


def suppress(boxes, scores, iou_threshold, groups=None):
    """Greedy suppression of all candidates at once, sorted by falling score.

    Instead of walking candidate by candidate, the rule is applied to all until nothing changes: after pass n the first
    n are settled, and in practice a handful of passes settles all.

    Args:
        boxes: `[..., N, 4]`.
        scores: `[..., N]` descending; those at 0 are padding.
        iou_threshold: 0..1.
        groups: int `[..., N]`: only candidates of the same group compete; None lets all compete.

    Returns:
        bool `[..., N]`, the kept ones.
    """
    count = boxes.shape[-2]
    before = ops.convert_to_tensor(np.triu(np.ones((count, count), bool), 1))  # [j, i]: j comes before i
    beats = ops.logical_and(_beats(boxes, groups, boxes, groups, iou_threshold), before)
    beats = ops.cast(beats, scores.dtype)  # [..., N, N]
    valid = ops.cast(scores > 0, scores.dtype)

    def step(keep, _):
        beaten = ops.squeeze(ops.matmul(keep[..., None, :], beats), axis=-2)  # [..., N]
        following = valid * ops.cast(beaten < 0.5, scores.dtype)
        return following, ops.any(ops.not_equal(following, keep))

    started = (valid, ops.convert_to_tensor(True))
    keep, _ = ops.while_loop(lambda _, changed: changed, step, started, maximum_iterations=count)
    return keep > 0.5


def _beats(a, a_groups, b, b_groups, iou_threshold):
    """bool `[..., N, M]`: box n of `a` overlaps box m of `b` too much to stand beside it."""
    beats = iou(a, b) > iou_threshold
    if a_groups is None:
        return beats
    return ops.logical_and(beats, ops.equal(a_groups[..., :, None], b_groups[..., None, :]))


def _pad_rows(x, count):
    return ops.pad(x, [[0, 0], [0, count]] + [[0, 0]] * (len(x.shape) - 2)) if count else x


def _take(x, index):
    return ops.take_along_axis(x, index, axis=1)

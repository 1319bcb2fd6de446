"""Non-maximum suppression with static shapes, so that it compiles, exports and runs on every backend."""

import numpy as np
from keras import ops

from visionkit.ops.boxes import iou


def suppress(boxes, scores, iou_threshold, groups=None):
    """Greedy suppression of candidates that are sorted by falling score.

    A candidate is kept when no kept candidate before it overlaps it by more than the threshold. Instead of walking
    candidate by candidate, the rule is applied to all at once until nothing changes: after pass n the first n are
    settled, and in practice a handful of passes settles all.

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
    beats = ops.logical_and(iou(boxes, boxes) > iou_threshold, before)  # [..., N, N]
    if groups is not None:
        beats = ops.logical_and(beats, ops.equal(groups[..., :, None], groups[..., None, :]))
    beats = ops.cast(beats, scores.dtype)
    valid = ops.cast(scores > 0, scores.dtype)

    def step(keep, _):
        beaten = ops.squeeze(ops.matmul(keep[..., None, :], beats), axis=-2)  # [..., N]
        following = valid * ops.cast(beaten < 0.5, scores.dtype)
        return following, ops.any(ops.not_equal(following, keep))

    started = (valid, ops.convert_to_tensor(True))
    keep, _ = ops.while_loop(lambda _, changed: changed, step, started, maximum_iterations=count)
    return keep > 0.5


def per_class_nms(boxes, scores, *, score_threshold, iou_threshold, top_k, keep):
    """SSD's last step: the best candidates of each class, suppression class by class, then the best of all classes.

    Args:
        boxes: `[B, N, 4]`, shared by the classes, or `[B, N, K, 4]`, one a class.
        scores: float32 `[B, N, K]`.
        score_threshold: candidates at or below it are dropped.
        iou_threshold: of two boxes of a class that overlap more than this, the lower score goes.
        top_k: candidates a class that enter suppression; at most 400 is wise, the IoU matrix is its square.
        keep: detections returned an image, over all classes.

    Returns:
        dict of boxes float32 `[B, keep, 4]`, scores float32 `[B, keep]` descending and labels int32 `[B, keep]`;
        rows that are left over have box 0, score 0 and label -1. `index` int32 `[B, keep]` is the row in `boxes`.
    """
    count, classes = scores.shape[1], scores.shape[2]
    top_k = min(top_k, count)
    keep = min(keep, classes * top_k)
    ranked = ops.transpose(ops.where(scores > score_threshold, scores, 0.0), (0, 2, 1))  # [B, K, N]
    ranked, index = ops.top_k(ranked, top_k)  # [B, K, T]
    index = ops.cast(index, "int32")
    flat = ops.reshape(index, (-1, classes * top_k, 1))  # [B, K*T, 1]
    if len(boxes.shape) == 4:  # row n of class k stands at n * K + k
        flat_boxes = ops.reshape(boxes, (-1, count * classes, 4))
        flat = flat * classes + ops.repeat(ops.arange(classes, dtype="int32"), top_k)[None, :, None]
    else:
        flat_boxes = boxes
    candidates = ops.take_along_axis(flat_boxes, flat, axis=1)  # [B, K*T, 4]
    kept = suppress(ops.reshape(candidates, (-1, classes, top_k, 4)), ranked, iou_threshold)  # [B, K, T]
    ranked = ops.reshape(ops.where(kept, ranked, 0.0), (-1, classes * top_k))  # [B, K*T]
    labels = ops.broadcast_to(ops.repeat(ops.arange(classes, dtype="int32"), top_k), ops.shape(ranked))
    return _best(candidates, ranked, labels, ops.reshape(index, (-1, classes * top_k)), keep)


def joint_nms(boxes, scores, *, score_threshold, iou_threshold, top_k, keep):
    """Faster R-CNN's last step: as `per_class_nms`, but `top_k` counts the candidates of all classes together.

    With many classes of which few have candidates this takes one IoU matrix instead of one a class.

    Args:
        boxes: `[B, N, K, 4]`, one a class.
        scores, score_threshold, iou_threshold, keep: see `per_class_nms`.
        top_k: candidates over all classes that enter suppression.

    Returns:
        see `per_class_nms`.
    """
    count, classes = scores.shape[1], scores.shape[2]
    ranked = ops.reshape(ops.where(scores > score_threshold, scores, 0.0), (-1, count * classes))  # [B, N*K]
    ranked, place = ops.top_k(ranked, min(top_k, count * classes))  # [B, T]
    place = ops.cast(place, "int32")
    candidates = ops.take_along_axis(ops.reshape(boxes, (-1, count * classes, 4)), place[..., None], axis=1)
    labels = place % classes  # [B, T]
    ranked = ops.where(suppress(candidates, ranked, iou_threshold, labels), ranked, 0.0)
    return _best(candidates, ranked, labels, place // classes, min(keep, ranked.shape[1]))


def _best(boxes, scores, labels, index, keep):
    """The `keep` best of `[B, T]` candidates, padded where their score is 0."""
    scores, place = ops.top_k(scores, keep)  # [B, keep]
    place = ops.cast(place, "int32")
    found = scores > 0
    return {
        "boxes": ops.where(found[..., None], ops.take_along_axis(boxes, place[..., None], axis=1), 0.0),
        "scores": scores,
        "labels": ops.where(found, ops.take_along_axis(labels, place, axis=1), -1),
        "index": ops.take_along_axis(index, place, axis=1),
    }

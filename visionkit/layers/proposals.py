"""Turns the output of a region proposal network into a fixed number of proposals (Faster R-CNN, section 3.1)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from visionkit.ops import boxes as box_ops
from visionkit.ops.nms import suppress
from visionkit.types import Tensor

RPN_VARIANCES = (1.0, 1.0, 1.0, 1.0)
SMALLEST = 1e-3  # the shortest side of a proposal in pixels


@keras.saving.register_keras_serializable("visionkit")
class Proposals(layers.Layer):
    """Decodes the best anchors of every level, suppresses within each level and keeps the best of all levels.

    Args:
        anchors: one `[A_l, 4]` per level, in pixels.
        image_size: (height, width); proposals are clipped to it.
        before: anchors per level that enter suppression.
        keep: proposals returned per image, over all levels.
        iou_threshold: of two proposals of a level that overlap more than this, the one with the lower score is dropped.
        score_threshold: proposals with a lower score, 0..1, are dropped.

    Call with objectness logits `[B, A]` and deltas `[B, A, 4]`, where A runs over all levels in order. Returns boxes
    float32 `[B, keep, 4]` and scores float32 `[B, keep]` descending; empty rows are all zero. No gradient flows through
    the proposals.
    """

    def __init__(
        self,
        anchors: Sequence[np.ndarray],
        image_size: tuple[int, int],
        before: int = 1000,
        keep: int = 1000,
        iou_threshold: float = 0.7,
        score_threshold: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)  # under mixed precision too: half pixels matter
        self.anchors = anchors
        self.image_size = image_size
        self.before = before
        self.keep = keep
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold

    def call(self, objectness: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        objectness, deltas = ops.stop_gradient(objectness), ops.stop_gradient(deltas)
        all_boxes: list[Tensor] = []
        all_scores: list[Tensor] = []
        start = 0
        for anchors in self.anchors:
            count, end = min(self.before, len(anchors)), start + len(anchors)
            logits, index = ops.top_k(objectness[:, start:end], count)  # [B, n]
            best = ops.take_along_axis(deltas[:, start:end], ops.cast(index, "int32")[..., None], axis=1)  # [B, n, 4]
            anchors = ops.take(ops.convert_to_tensor(anchors, dtype="float32"), index, axis=0)  # [B, n, 4]
            boxes = box_ops.clip(box_ops.decode(best, anchors, RPN_VARIANCES), self.image_size)
            large = ops.min(boxes[..., 2:] - boxes[..., :2], axis=-1) >= SMALLEST
            # A score of 0 means padding, so even the most certain background must stay above it.
            scores = ops.maximum(ops.sigmoid(logits), 1e-30)
            scores = ops.where(ops.logical_and(large, scores >= self.score_threshold), scores, 0.0)
            kept = suppress(boxes, scores, self.iou_threshold)
            all_boxes.append(boxes)
            all_scores.append(ops.where(kept, scores, 0.0))
            start = end
        boxes, scores = ops.concatenate(all_boxes, axis=1), ops.concatenate(all_scores, axis=1)
        scores, index = ops.top_k(scores, min(self.keep, scores.shape[1]))  # [B, keep]
        boxes = ops.take_along_axis(boxes, ops.cast(index, "int32")[..., None], axis=1)  # [B, keep, 4]
        return ops.where((scores > 0)[..., None], boxes, 0.0), scores

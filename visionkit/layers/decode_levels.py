"""Layers of the serving graph that decode heads of one sigmoid per class, with the best candidates of every level."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from visionkit.ops import boxes as box_ops
from visionkit.ops.distances import from_distances
from visionkit.ops.nms import best_by_level, nms
from visionkit.types import Tensor


class _DecodeLevels(layers.Layer):
    """What both layers share: which candidates there are, and how they are suppressed.

    Args:
        level_sizes: rows of each level; their sum is A.
        image_size: (height, width); boxes are clipped to it.
        score_threshold: 0..1; candidates at or below it are dropped.
        iou_threshold, keep: see `ops.nms.nms`.
        top_k: candidates of each level, over all classes, that enter suppression.
    """

    def __init__(
        self,
        level_sizes: Sequence[int],
        image_size: tuple[int, int],
        score_threshold: float,
        iou_threshold: float,
        top_k: int,
        keep: int,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)  # under mixed precision too: half pixels matter
        self.level_sizes = level_sizes
        self.image_size = image_size
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.keep = keep

    def best(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates among scores `[B, A, K]`: scores, rows and labels, `[B, T]` each."""
        return best_by_level(scores, self.level_sizes, self.score_threshold, self.top_k)

    def suppressed(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """What is left of boxes `[B, T, 4]` once they are clipped and suppressed."""
        boxes = box_ops.clip(boxes, self.image_size)
        detections = nms(boxes, scores, labels, self.iou_threshold, self.keep)
        return {key: detections[key] for key in ("boxes", "scores", "labels")}


@keras.saving.register_keras_serializable("visionkit")
class DecodeAnchors(_DecodeLevels):
    """Decodes the output of an anchor head (RetinaNet, arXiv 1708.02002, section 4, "Inference").

    Args:
        anchors: `[A, 4]` in pixels.
        variances: see `ops.boxes.decode`.
        kwargs: see `_DecodeLevels`.

    Call with logits `[B, A, K]` and deltas `[B, A, 4]`. Returns a dict of boxes float32 `[B, keep, 4]`, scores float32
    `[B, keep]` descending, labels int32 `[B, keep]`, padded with 0, 0 and -1.
    """

    def __init__(self, anchors: np.ndarray, variances: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.anchors = anchors
        self.variances = variances

    def call(self, logits: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        scores, row, labels = self.best(ops.sigmoid(logits))  # [B, T]
        anchors = ops.take(ops.convert_to_tensor(self.anchors, dtype="float32"), row, axis=0)  # [B, T, 4]
        deltas = ops.take_along_axis(deltas, row[..., None], axis=1)  # [B, T, 4]
        return self.suppressed(box_ops.decode(deltas, anchors, self.variances), scores, labels)


@keras.saving.register_keras_serializable("visionkit")
class DecodePoints(_DecodeLevels):
    """Decodes the output of a head for points (FCOS, arXiv 1904.01355, section 3).

    Args:
        points: (x, y) in pixels, `[A, 2]`.
        strides: pixels per unit of distance, `[A]`.
        kwargs: see `_DecodeLevels`.

    Call with logits `[B, A, K]`, distances `[B, A, 4]` in strides and centerness logits `[B, A]`. A candidate's score
    is the geometric mean of the two probabilities. Returns what `DecodeAnchors` returns.
    """

    def __init__(self, points: np.ndarray, strides: np.ndarray, **kwargs: Any):
        super().__init__(**kwargs)
        self.points = points
        self.strides = strides

    def call(self, logits: Tensor, distances: Tensor, centerness: Tensor) -> dict[str, Tensor]:
        scores = ops.sqrt(ops.sigmoid(logits) * ops.sigmoid(centerness)[..., None])  # [B, A, K]
        scores, row, labels = self.best(scores)  # [B, T]
        points, strides = (ops.convert_to_tensor(x, dtype="float32") for x in (self.points, self.strides))
        distances = ops.take_along_axis(distances, row[..., None], axis=1)  # [B, T, 4]
        distances = distances * ops.take(strides, row, axis=0)[..., None]
        return self.suppressed(from_distances(ops.take(points, row, axis=0), distances), scores, labels)

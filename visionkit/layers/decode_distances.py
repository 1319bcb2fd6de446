"""A layer of the serving graph that turns the raw output of an anchor-free head into detections of fixed size."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from visionkit.ops import boxes as box_ops
from visionkit.ops.distances import by_side, expected, from_distances
from visionkit.ops.nms import best, nms
from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class DecodeDistances(layers.Layer):
    """Decodes, clips and suppresses the predictions of a head for each cell.

    Args:
        points: the cells' centres (x, y) in pixels, `[A, 2]`.
        strides: pixels per bin, `[A]`.
        image_size: (height, width); boxes are clipped to it.
        score_threshold: 0..1; candidates at or below it are dropped.
        iou_threshold, keep: see `ops.nms.nms`.
        top_k: candidates, over all classes, that enter suppression.

    Call with logits `[B, A, K]` and bins `[B, A, 4 * n]`, the logits of n bins for each side. Returns a dict of boxes
    float32 `[B, keep, 4]`, scores float32 `[B, keep]` descending, labels int32 `[B, keep]`, padded with 0, 0 and -1.
    """

    def __init__(
        self,
        points: np.ndarray,
        strides: np.ndarray,
        image_size: tuple[int, int],
        score_threshold: float,
        iou_threshold: float,
        top_k: int,
        keep: int,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)  # under mixed precision too: half pixels matter
        self.points = points
        self.strides = strides
        self.image_size = image_size
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.keep = keep

    def call(self, logits: Tensor, bins: Tensor) -> dict[str, Tensor]:
        scores, row, labels = best(ops.sigmoid(logits), self.score_threshold, self.top_k)  # [B, T]
        points, strides = (ops.convert_to_tensor(x, dtype="float32") for x in (self.points, self.strides))
        bins = ops.take_along_axis(bins, row[..., None], axis=1)  # [B, T, 4 * n]
        distances = expected(by_side(bins)) * ops.take(strides, row, axis=0)[..., None]  # [B, T, 4]
        boxes = box_ops.clip(from_distances(ops.take(points, row, axis=0), distances), self.image_size)
        detections = nms(boxes, scores, labels, self.iou_threshold, self.keep)
        return {key: detections[key] for key in ("boxes", "scores", "labels")}

"""Layers of the serving graph that turn the raw outputs of a head into detections of fixed size."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from visionkit.ops import boxes as box_ops
from visionkit.ops.nms import best, nms
from visionkit.types import Tensor

SMALLEST = 1e-2  # the shortest side of a refined box in pixels, as in Detectron and torchvision


@keras.saving.register_keras_serializable("visionkit")
class DecodeDetections(layers.Layer):
    """Decodes, clips and suppresses the output of an anchor head.

    Args:
        anchors: `[A, 4]` in pixels.
        image_size: (height, width); boxes are clipped to it.
        variances: see `ops.boxes.decode`.
        score_threshold: 0..1; candidates at or below it are dropped.
        iou_threshold, keep: see `ops.nms.nms`.
        top_k: candidates, over all classes, that enter suppression.

    Call with logits `[B, A, K + 1]`, background last, and deltas `[B, A, 4]`. Returns a dict of boxes float32
    `[B, keep, 4]`, scores float32 `[B, keep]` descending, labels int32 `[B, keep]`, padded with 0, 0 and -1.
    """

    def __init__(
        self,
        anchors: np.ndarray,
        image_size: tuple[int, int],
        variances: Sequence[float],
        score_threshold: float,
        iou_threshold: float,
        top_k: int,
        keep: int,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)  # under mixed precision too: half pixels matter
        self.anchors = anchors
        self.image_size = image_size
        self.variances = variances
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.keep = keep

    def call(self, logits: Tensor, deltas: Tensor) -> dict[str, Tensor]:
        scores, row, labels = best(ops.softmax(logits, axis=-1)[..., :-1], self.score_threshold, self.top_k)  # [B, T]
        anchors = ops.take(ops.convert_to_tensor(self.anchors, dtype="float32"), row, axis=0)  # [B, T, 4]
        deltas = ops.take_along_axis(deltas, row[..., None], axis=1)  # [B, T, 4]
        boxes = box_ops.clip(box_ops.decode(deltas, anchors, self.variances), self.image_size)
        detections = nms(boxes, scores, labels, self.iou_threshold, self.keep)
        return {key: detections[key] for key in ("boxes", "scores", "labels")}


@keras.saving.register_keras_serializable("visionkit")
class DecodeRegions(layers.Layer):
    """Decodes, clips and suppresses the output of a second stage, which refines boxes separately for each class.

    Args:
        image_size: (height, width); boxes are clipped to it.
        variances, score_threshold, iou_threshold, top_k, keep: see `DecodeDetections`.

    Call with logits `[B, R, K + 1]`, background last, deltas `[B, R, K, 4]` and the proposals `[B, R, 4]` that they
    refine; a proposal of zeros is padding. Returns what `DecodeDetections` returns.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        variances: Sequence[float],
        score_threshold: float,
        iou_threshold: float,
        top_k: int,
        keep: int,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.image_size = image_size
        self.variances = variances
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.keep = keep

    def call(self, logits: Tensor, deltas: Tensor, proposals: Tensor) -> dict[str, Tensor]:
        exist = ops.any(proposals > 0, axis=-1, keepdims=True)  # [B, R, 1]
        scores = ops.where(exist, ops.softmax(logits, axis=-1)[..., :-1], 0.0)  # [B, R, K]
        scores, row, labels = best(scores, self.score_threshold, self.top_k)  # [B, T]
        classes = deltas.shape[2]
        deltas = ops.reshape(deltas, (-1, deltas.shape[1] * classes, 4))
        deltas = ops.take_along_axis(deltas, (row * classes + labels)[..., None], axis=1)  # [B, T, 4]
        boxes = box_ops.decode(deltas, ops.take_along_axis(proposals, row[..., None], axis=1), self.variances)
        boxes = box_ops.clip(boxes, self.image_size)
        detections = nms(boxes, scores, labels, self.iou_threshold, self.keep, SMALLEST)
        return {key: detections[key] for key in ("boxes", "scores", "labels")}

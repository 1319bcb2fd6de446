"""Raw head outputs to detections of fixed size, as a layer of the serving graph."""

import keras
from keras import layers, ops

from visionkit.ops import boxes as box_ops
from visionkit.ops.nms import joint_nms, per_class_nms

SMALLEST = 1e-2  # pixels a side of a refined box, as in Detectron and torchvision


@keras.saving.register_keras_serializable("visionkit")
class DecodeDetections(layers.Layer):
    """Decodes, clips and suppresses the output of an anchor head.

    Args:
        anchors: `[A, 4]` in pixels.
        image_size: (height, width); boxes are clipped to it.
        variances, score_threshold, iou_threshold, top_k, keep: see `ops.boxes.decode` and `ops.nms.per_class_nms`.

    Call with logits `[B, A, K + 1]`, background last, and deltas `[B, A, 4]`. Returns a dict of boxes float32
    `[B, keep, 4]`, scores float32 `[B, keep]` descending, labels int32 `[B, keep]`, padded with 0, 0 and -1.
    """

    def __init__(self, anchors, image_size, variances, score_threshold, iou_threshold, top_k, keep, **kwargs):
        super().__init__(dtype="float32", **kwargs)  # under mixed precision too: half pixels matter
        self.anchors, self.image_size, self.variances = anchors, image_size, variances
        self.nms = {
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "top_k": top_k,
            "keep": keep,
        }

    def call(self, logits, deltas):
        scores = ops.softmax(logits, axis=-1)[..., :-1]  # [B, A, K]
        anchors = ops.convert_to_tensor(self.anchors, dtype="float32")
        boxes = box_ops.clip(box_ops.decode(deltas, anchors, self.variances), self.image_size)  # [B, A, 4]
        found = per_class_nms(boxes, scores, **self.nms)
        return {key: found[key] for key in ("boxes", "scores", "labels")}


@keras.saving.register_keras_serializable("visionkit")
class DecodeRegions(layers.Layer):
    """Decodes, clips and suppresses the output of a second stage, whose boxes are refined class by class.

    Args:
        image_size: (height, width); boxes are clipped to it.
        variances, score_threshold, iou_threshold, top_k, keep: see `ops.boxes.decode` and `ops.nms.joint_nms`.

    Call with logits `[B, R, K + 1]`, background last, deltas `[B, R, K, 4]` and the proposals `[B, R, 4]` they
    refine, all zero where there is none. Returns what `DecodeDetections` returns.
    """

    def __init__(self, image_size, variances, score_threshold, iou_threshold, top_k, keep, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.image_size, self.variances = image_size, variances
        self.nms = {
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "top_k": top_k,
            "keep": keep,
        }

    def call(self, logits, deltas, proposals):
        scores = ops.softmax(logits, axis=-1)[..., :-1]  # [B, R, K]
        boxes = box_ops.decode(deltas, proposals[:, :, None], self.variances)  # [B, R, K, 4]
        boxes = box_ops.clip(boxes, self.image_size)
        large = ops.min(boxes[..., 2:] - boxes[..., :2], axis=-1) >= SMALLEST  # padding has no size
        found = joint_nms(boxes, ops.where(large, scores, 0.0), **self.nms)
        return {key: found[key] for key in ("boxes", "scores", "labels")}

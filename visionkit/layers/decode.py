"""Raw head outputs to detections of fixed size, as a layer of the serving graph."""

import keras
from keras import layers, ops

from visionkit.ops import boxes as box_ops
from visionkit.ops.nms import per_class_nms


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

"""Mask R-CNN (He et al. 2017, arXiv 1703.06870): Faster R-CNN with a mask for every detection."""

import keras
from keras import layers, ops

from visionkit.layers.roi_align import PerRegion, RoIAlign
from visionkit.models.faster_rcnn import ROI_POSITIVE, TINY, FasterRCNN
from visionkit.ops.losses import binary_cross_entropy
from visionkit.ops.roi_align import roi_align

MASK_SIZE = 28  # cells a side of the mask that the head draws into a box


@keras.saving.register_keras_serializable("visionkit")
class PickMasks(layers.Layer):
    """Of one mask a class the one of the detection's class.

    Call with logits `[B, R, m, m, K]` and labels int32 `[B, R]`, -1 for padding. Returns probabilities float32
    `[B, R, m, m]`, zero for padding.
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)

    def call(self, logits, labels):
        picked = pick(logits, ops.maximum(labels, 0))  # [B, R, m, m]
        return ops.where((labels >= 0)[..., None, None], ops.sigmoid(picked), 0.0)


def pick(logits, labels):
    """Channel `labels` `[B, R]` of each map in `[B, R, m, m, K]` -> `[B, R, m, m]`."""
    return ops.take_along_axis(logits, labels[..., None, None, None], axis=4)[..., 0]


class MaskRCNN(FasterRCNN):
    """Detects objects and draws the mask of each within its box.

    Trained with `y` as for `FasterRCNN`, and "masks" uint8 `[B, M, H, W]` of 0 and 1.

    Args:
        backbone, num_classes, class_names, kwargs: see `FasterRCNN`.
        mask_channels: of the mask head's four convolutions and of its transposed one.
    """

    task = "instance"

    def __init__(self, backbone, num_classes, class_names=(), mask_channels=256, **kwargs):
        super().__init__(backbone, num_classes, class_names, **kwargs)
        channels = self.output[self.pooled[0]].shape[-1]
        self.mask_head = PerRegion(_mask_head(channels, num_classes, mask_channels), name="mask_regions")
        self.mask_pool = RoIAlign(MASK_SIZE // 2, name="mask_pool")
        self.mask_loss = keras.metrics.Mean(name="mask_loss")

    def roi_losses(self, rois, y, y_pred, training):
        """The second stage with "mask_loss" (section 3): cross-entropy of the true class's mask, over positives."""
        losses = super().roi_losses(rois, y, y_pred, training)
        most = int(rois["labels"].shape[1] * ROI_POSITIVE)  # the positive ones stand first
        boxes, positive = rois["boxes"][:, :most], rois["positive"][:, :most]
        logits = self.mask_head(self.mask_pool(self.features(y_pred), boxes), training=training)
        logits = pick(logits, ops.minimum(rois["labels"][:, :most], self.num_classes - 1))  # [B, S, m, m]
        targets = self.mask_targets(y["masks"], boxes, rois["matched"][:, :most])
        loss = ops.mean(binary_cross_entropy(logits, targets), axis=(2, 3))  # [B, S]
        count = ops.maximum(self.over_devices(ops.sum(positive)), TINY)
        losses["mask_loss"] = ops.sum(loss * positive) / count
        return losses

    def mask_targets(self, masks, boxes, matched):
        """What the head should draw: the part of each box's own mask that lies in it, sampled at 2 x 2 places a cell.

        Args:
            masks: uint8 `[B, M, H, W]` of 0 and 1.
            boxes: `[B, R, 4]` in pixels.
            matched: int32 `[B, R]`, the row of `masks`.

        Returns:
            float32 `[B, R, 28, 28]`, 0..1.
        """
        objects, (h, w) = ops.shape(masks)[1], self.image_size
        rows = ops.arange(ops.shape(boxes)[0], dtype="int32")[:, None] * objects + matched  # [B, R]
        maps = ops.reshape(ops.cast(masks, "float32"), (-1, h, w, 1))  # [B * M, H, W, 1]
        return ops.stop_gradient(roi_align({"C0": maps}, boxes, MASK_SIZE, aligned=True, rows=rows)[..., 0])

    def refine(self, raw, regions, **options):
        """As `FasterRCNN.refine`, with "masks" for the boxes that are returned."""
        found = super().refine(raw, regions, **options)
        logits = self.mask_head(self.mask_pool(self.features(raw), found["boxes"]))
        return found | {"masks": PickMasks(name="pick_masks")(logits, found["labels"])}

    def serving(self, **options) -> keras.Model:
        """As `FasterRCNN.serving`, and masks float32 `[B, keep, 28, 28]`: probabilities within the box."""
        return super().serving(**options)


def _mask_head(channels, num_classes, filters):
    """Figure 4, right: pooled features `[N, 14, 14, C]` -> one mask a class, logits `[N, 28, 28, K]`."""
    inputs = x = keras.Input((MASK_SIZE // 2, MASK_SIZE // 2, channels), name="pooled")
    he = {"kernel_initializer": "he_normal"}  # by name: each layer draws its own
    for i in range(1, 5):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"mask_conv{i}", **he)(x)
    x = layers.Conv2DTranspose(filters, 2, 2, activation="relu", name="mask_deconv", **he)(x)  # [N, 28, 28, filters]
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="mask_logits", **he)(x)
    return keras.Model(inputs, logits, name="mask_head")

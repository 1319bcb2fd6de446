"""Mask R-CNN (He et al. 2017, arXiv 1703.06870): Faster R-CNN with a mask for every detection."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import layers, ops

from visionkit.layers.roi_align import PerRegion, RoIAlign
from visionkit.models.faster_rcnn import ROI_POSITIVE, TINY, FasterRCNN, normed_convolution
from visionkit.models.task import ClassRows
from visionkit.ops.losses import binary_cross_entropy
from visionkit.ops.roi_align import roi_align
from visionkit.types import Tensor

MASK_SIZE = 28  # cells per side of the mask that the head predicts for a box


@keras.saving.register_keras_serializable("visionkit")
class PickMasks(layers.Layer):
    """Picks, of the masks of all classes, the one of each detection's class.

    Call with logits `[B, R, m, m, K]` and labels int32 `[B, R]`, -1 for padding. Returns probabilities float32
    `[B, R, m, m]`, zero for padding.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)

    def call(self, logits: Tensor, labels: Tensor) -> Tensor:
        picked = pick(logits, ops.maximum(labels, 0))  # [B, R, m, m]
        return ops.where((labels >= 0)[..., None, None], ops.sigmoid(picked), 0.0)


def pick(logits: Tensor, labels: Tensor) -> Tensor:
    """The channel `labels` `[B, R]` of each map in `[B, R, m, m, K]` -> `[B, R, m, m]`."""
    return ops.take_along_axis(logits, labels[..., None, None, None], axis=4)[..., 0]


class MaskRCNN(FasterRCNN):
    """Detects objects and predicts the mask of each within its box.

    Trained with `y` as for `FasterRCNN`, and "masks" uint8 `[B, M, H, W]` of 0 and 1.

    Args:
        backbone, num_classes, class_names, kwargs: see `FasterRCNN`.
        mask_channels: channels of the mask head's four convolutions and of its transposed convolution.
        batch_norm: batch normalisation in the pyramid and in the mask head's four convolutions.
    """

    class_layers: ClassVar = {**FasterRCNN.class_layers, "mask_logits": ClassRows()}
    task = "instance"

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        mask_channels: int = 256,
        batch_norm: bool = False,
        **kwargs: Any,
    ):
        super().__init__(backbone, num_classes, class_names, batch_norm=batch_norm, **kwargs)
        outputs: Any = self.output
        channels = outputs[self.pooled[0]].shape[-1]
        self.mask_head = PerRegion(_mask_head(channels, num_classes, mask_channels, batch_norm), name="mask_regions")
        self.mask_pool = RoIAlign(MASK_SIZE // 2, name="mask_pool")
        self.mask_loss = keras.metrics.Mean(name="mask_loss")

    def roi_losses(
        self, rois: Mapping[str, Tensor], y: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], training: bool
    ) -> dict[str, Tensor]:
        """Adds "mask_loss" (section 3): cross-entropy of the true class's mask, averaged over positives.

        See `FasterRCNN.roi_losses`.
        """
        losses = super().roi_losses(rois, y, y_pred, training)
        most = int(rois["labels"].shape[1] * ROI_POSITIVE)  # positives come first
        boxes, positive = rois["boxes"][:, :most], rois["positive"][:, :most]
        logits = self.mask_head(self.mask_pool(self.features(y_pred), boxes), training=training)
        logits = pick(logits, ops.minimum(rois["labels"][:, :most], self.num_classes - 1))  # [B, S, m, m]
        targets = self.mask_targets(y["masks"], boxes, rois["matched"][:, :most])
        loss = ops.mean(binary_cross_entropy(logits, targets), axis=(2, 3))  # [B, S]
        count = ops.maximum(self.over_devices(ops.sum(positive)), TINY)
        losses["mask_loss"] = ops.sum(loss * positive) / count
        return losses

    def mask_targets(self, masks: Tensor, boxes: Tensor, matched: Tensor) -> Tensor:
        """The target masks: the part of each object's mask that lies in its box, sampled at 2 x 2 places per cell.

        Args:
            masks: uint8 `[B, M, H, W]` of 0 and 1.
            boxes: `[B, R, 4]` in pixels.
            matched: int32 `[B, R]`, the row of `masks` that belongs to each box.

        Returns:
            float32 `[B, R, 28, 28]`, 0..1.
        """
        objects = ops.shape(masks)[1]
        h, w = self.image_size
        rows = ops.arange(ops.shape(boxes)[0], dtype="int32")[:, None] * objects + matched  # [B, R]
        maps = ops.reshape(masks, (-1, h, w, 1))  # [B * M, H, W, 1]; as floats they would be the largest of all tensors
        return ops.stop_gradient(roi_align({"C0": maps}, boxes, MASK_SIZE, aligned=True, rows=rows)[..., 0])

    def refine(self, raw: Mapping[str, Tensor], regions: Tensor, **options: Any) -> dict[str, Tensor]:
        """Adds "masks" `[B, keep, 28, 28]` for the boxes that are returned. See `FasterRCNN.refine`."""
        detections = super().refine(raw, regions, **options)
        logits = self.mask_head(self.mask_pool(self.features(raw), detections["boxes"]))
        return detections | {"masks": PickMasks(name="pick_masks")(logits, detections["labels"])}

    def serving(self, **options: Any) -> keras.Model:
        """Adds masks float32 `[B, keep, 28, 28]`, probabilities within the box. See `FasterRCNN.serving`."""
        return super().serving(**options)


def _mask_head(channels: int, num_classes: int, filters: int, batch_norm: bool) -> keras.Model:
    """Figure 4, right: pooled features `[N, 14, 14, C]` -> one mask per class, logits `[N, 28, 28, K]`."""
    inputs = x = keras.Input((MASK_SIZE // 2, MASK_SIZE // 2, channels), name="pooled")
    he = "he_normal"  # a name, from which each layer makes an initializer of its own
    for i in range(1, 5):
        name = f"mask_conv{i}"
        if batch_norm:
            x = normed_convolution(x, filters, name)
        else:
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=he, name=name)(x)
    x = layers.Conv2DTranspose(filters, 2, 2, activation="relu", kernel_initializer=he, name="mask_deconv")(x)
    # x: [N, 28, 28, filters]
    logits = layers.Conv2D(num_classes, 1, kernel_initializer=he, dtype="float32", name="mask_logits")(x)
    return keras.Model(inputs, logits, name="mask_head")

"""Keypoint R-CNN (He et al. 2017, arXiv 1703.06870, section 5): Faster R-CNN with the keypoints of every detection."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from visionkit.layers.roi_align import PerRegion, RoIAlign
from visionkit.layers.upsample import Interpolate
from visionkit.models.faster_rcnn import ROI_POSITIVE, TINY, FasterRCNN
from visionkit.ops.losses import softmax_cross_entropy
from visionkit.skeletons import COCO_PERSON, skeleton_of
from visionkit.types import Tensor

MAP_SIZE = 56  # cells per side of the map that the head predicts for each keypoint of a box
POOLED = MAP_SIZE // 4
CONVOLUTIONS = 8


class KeypointRCNN(FasterRCNN):
    """Detects objects and predicts where in its box each keypoint of an object is.

    Trained with `y` as for `FasterRCNN`, and "keypoints" float32 `[B, M, P, 3]`: x and y in pixels of the network's
    input, and visibility; keypoints of visibility 0, and those outside of a region, are not trained.

    Args:
        backbone, num_classes, class_names, kwargs: see `FasterRCNN`.
        keypoint_names: names of the P keypoints, equal for all classes; by default COCO's 17 of a person.
        limbs: pairs of keypoints, counted from 0, that pictures join by a line; by default COCO's, if the names are.
        keypoint_channels: channels of the keypoint head's eight convolutions.
    """

    task = "keypoints"

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        keypoint_names: Sequence[str] = COCO_PERSON.names,
        limbs: Sequence[Sequence[int]] | None = None,
        keypoint_channels: int = 512,
        **kwargs: Any,
    ):
        super().__init__(backbone, num_classes, class_names, **kwargs)
        if limbs is None:
            limbs = COCO_PERSON.limbs if tuple(keypoint_names) == COCO_PERSON.names else ()
        self.skeleton = skeleton_of(keypoint_names, limbs)
        outputs: Any = self.output
        channels = outputs[self.pooled[0]].shape[-1]
        head = _keypoint_head(channels, len(self.skeleton.names), keypoint_channels)
        self.keypoint_head = PerRegion(head, name="keypoint_regions")
        self.keypoint_pool = RoIAlign(POOLED, name="keypoint_pool")
        self.keypoint_loss = keras.metrics.Mean(name="keypoint_loss")

    def roi_losses(
        self, rois: Mapping[str, Tensor], y: Mapping[str, Tensor], y_pred: Mapping[str, Tensor], training: bool
    ) -> dict[str, Tensor]:
        """Adds "keypoint_loss": cross-entropy over the places of a map, averaged over the keypoints in positives.

        See `FasterRCNN.roi_losses`.
        """
        losses = super().roi_losses(rois, y, y_pred, training)
        most = int(rois["labels"].shape[1] * ROI_POSITIVE)  # positives come first
        boxes, positive = rois["boxes"][:, :most], rois["positive"][:, :most]
        logits = self.keypoint_head(self.keypoint_pool(self.features(y_pred), boxes), training=training)
        logits = ops.transpose(logits, (0, 1, 4, 2, 3))  # [B, S, P, m, m]
        logits = ops.reshape(logits, (-1, *logits.shape[1:3], MAP_SIZE**2))  # [B, S, P, m * m]
        place, known = self.keypoint_targets(y["keypoints"], boxes, rois["matched"][:, :most])
        counts = known * positive[..., None]  # [B, S, P]
        count = ops.maximum(self.over_devices(ops.sum(counts)), TINY)
        losses["keypoint_loss"] = ops.sum(softmax_cross_entropy(logits, place) * counts) / count
        return losses

    def keypoint_targets(self, keypoints: Tensor, boxes: Tensor, matched: Tensor) -> tuple[Tensor, Tensor]:
        """The cell of its box's map in which each keypoint is.

        Args:
            keypoints: float32 `[B, M, P, 3]`.
            boxes: `[B, R, 4]` in pixels.
            matched: int32 `[B, R]`, the row of `keypoints` that belongs to each box.

        Returns:
            place int32 `[B, R, P]`, row times 56 plus column, 0 where unknown; and known float32 `[B, R, P]` of 0 and
            1: whether the keypoint is annotated and in the box.
        """
        points = ops.take_along_axis(ops.cast(keypoints, "float32"), matched[..., None, None], axis=1)  # [B, R, P, 3]
        low, high = boxes[..., None, :2], boxes[..., None, 2:]  # [B, R, 1, 2]
        xy = points[..., :2]
        cells = ops.floor((xy - low) * (MAP_SIZE / ops.maximum(high - low, TINY)))
        cells = ops.where(xy == high, MAP_SIZE - 1.0, cells)  # a point on the border is in the last cell
        inside = ops.all(ops.logical_and(cells >= 0, cells < MAP_SIZE), axis=-1)
        known = ops.logical_and(inside, points[..., 2] > 0)
        place = ops.cast(cells[..., 1] * MAP_SIZE + cells[..., 0], "int32")
        return ops.where(known, place, 0), ops.cast(known, "float32")

    def refine(self, raw: Mapping[str, Tensor], regions: Tensor, **options: Any) -> dict[str, Tensor]:
        """Adds "heatmaps" `[B, keep, 56, 56, P]` for the boxes that are returned. See `FasterRCNN.refine`."""
        detections = super().refine(raw, regions, **options)
        heatmaps = self.keypoint_head(self.keypoint_pool(self.features(raw), detections["boxes"]))
        return detections | {"heatmaps": heatmaps}

    def serving(self, **options: Any) -> keras.Model:
        """Adds heatmaps float32 `[B, keep, 56, 56, P]`, logits within the box. See `FasterRCNN.serving`."""
        return super().serving(**options)


def _keypoint_head(channels: int, keypoints: int, filters: int) -> keras.Model:
    """Section 5: pooled features `[N, 14, 14, C]` -> a map for each keypoint, logits `[N, 56, 56, P]`."""

    def initializer() -> Any:
        return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")  # one for each layer

    inputs = x = keras.Input((POOLED, POOLED, channels), name="pooled")
    for i in range(1, CONVOLUTIONS + 1):
        name = f"keypoint_conv{i}"
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=initializer(), name=name)(x)
    x = layers.Conv2DTranspose(
        keypoints, 4, 2, padding="same", kernel_initializer=initializer(), dtype="float32", name="keypoint_deconv"
    )(x)  # [N, 28, 28, P]
    logits = Interpolate((MAP_SIZE, MAP_SIZE), dtype="float32", name="keypoint_maps")(x)  # [N, 56, 56, P]
    return keras.Model(inputs, logits, name="keypoint_head")

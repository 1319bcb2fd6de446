"""RetinaNet: a detector in one stage, trained with the focal loss (Lin et al. 2017, arXiv 1708.02002)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from visionkit.layers.decode_levels import DecodeAnchors
from visionkit.layers.fpn import feature_pyramid, strided_levels
from visionkit.layers.shared_head import rows, tower
from visionkit.models.task import ClassRows, Task, take_levels, takes_every_size
from visionkit.ops import anchors as anchor_ops
from visionkit.ops import boxes as box_ops
from visionkit.ops.generalized_focal import overlaps
from visionkit.ops.losses import focal_loss
from visionkit.ops.matching import assign
from visionkit.types import Tensor

RULE: dict[str, Any] = {"positive_iou": 0.5, "negative_iou": 0.4, "ties": True}  # section 4, "Anchors"
VARIANCES = (1.0, 1.0, 1.0, 1.0)

# The settings of torchvision's second version (after arXiv 1912.02424 and 1902.09630): RetinaNet(..., **RETINANET_V2).
RETINANET_V2: dict[str, Any] = {"group_norm": True, "giou": True, "p6_of_backbone": True}


class RetinaNet(Task):
    """A one-stage detector: a feature pyramid P3 .. P7, and two heads that all its levels share.

    Outputs of the graph: `logits` float32 `[B, A, K]`, one sigmoid per class and no background, and `deltas` float32
    `[B, A, 4]`. Trained with `y` = {"boxes" `[B, M, 4]`, "labels" `[B, M]` padded with -1}, and "ignore" bool `[B, M]`
    if any.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, resize: see `Task`.
        image_size: (height, width) of the network's input; the paper's are 800 on the shorter side, see `FasterRCNN`.
        levels: the backbone's levels that the pyramid merges; it has two coarser ones besides.
        pyramid_channels: channels of the pyramid and of the heads.
        anchor_scales: square roots of the anchors' areas on a level, in units of its stride.
        aspect_ratios: width / height of the anchors.
        head_convs: convolutions of a head before its last one.
        group_norm: group normalisation in the heads (arXiv 1803.08494), which need no bias then.
        giou: the boxes' loss is GIoU (arXiv 1902.09630), not L1.
        p6_of_backbone: P6 is computed from the backbone's coarsest level, as in the paper, not from the pyramid's.
        kwargs: see `Task`.
    """

    class_layers: ClassVar = {"class_logits": ClassRows()}

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (800, 1088),
        resize: str = "letterbox",
        levels: Sequence[str] = ("C3", "C4", "C5"),
        pyramid_channels: int = 256,
        anchor_scales: Sequence[float] = (4.0, 4.0 * 2 ** (1 / 3), 4.0 * 2 ** (2 / 3)),
        aspect_ratios: Sequence[float] = (2.0, 1.0, 0.5),
        head_convs: int = 4,
        group_norm: bool = False,
        giou: bool = False,
        p6_of_backbone: bool = False,
        **kwargs: Any,
    ):
        images = keras.Input((*image_size, 3), name="images")
        features = take_levels(backbone, images, levels)
        pyramid = feature_pyramid(features, pyramid_channels)
        source = features[max(features)] if p6_of_backbone else pyramid[max(pyramid)]
        pyramid = strided_levels(pyramid, source)
        options = {"group_norm": group_norm, "use_bias": not group_norm}
        anchors = len(anchor_scales) * len(aspect_ratios)
        classes = tower(pyramid, head_convs, name="class_conv", **options)
        boxes = tower(pyramid, head_convs, name="box_conv", **options)
        raw = {
            "logits": rows(classes, anchors, num_classes, "class_logits", prior=True),  # [B, A, K]
            "deltas": rows(boxes, anchors, 4, "box_regression"),  # [B, A, 4]
        }
        super().__init__(
            images,
            raw,
            image_size=image_size,
            num_classes=num_classes,
            class_names=class_names,
            resize=resize,
            **kwargs,
        )
        self.backbone = backbone
        grids = [
            _grid(level, x.shape[1:3], self.image_size, anchor_scales, aspect_ratios) for level, x in pyramid.items()
        ]
        self.level_sizes = [len(grid) for grid in grids]
        self.anchors = np.concatenate(grids)  # [A, 4]
        self.variances = VARIANCES
        self.giou = giou
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")

    @property
    def any_size(self) -> bool:
        return takes_every_size(self.backbone)

    def targets(self, y: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The targets of the anchors.

        Returns:
            labels int32 `[B, A]` with `num_classes` for background, boxes float32 `[B, A, 4]` in pixels, positive bool
            `[B, A]` and negative bool `[B, A]`; an anchor that is neither positive nor negative is not trained.
        """
        anchors = ops.convert_to_tensor(self.anchors)
        boxes, labels = ops.cast(y["boxes"], "float32"), ops.cast(y["labels"], "int32")  # [B, M, 4], [B, M]
        index, positive, negative = assign(anchors, y, **RULE)
        matched = ops.take_along_axis(boxes, index[..., None], axis=1)  # [B, A, 4]
        matched = ops.where(positive[..., None], matched, anchors[None])  # padding has no area to divide by
        labels = ops.where(positive, ops.take_along_axis(labels, index, axis=1), self.num_classes)
        return labels, matched, positive, negative

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Focal loss of the classes (section 3) and L1 or GIoU of the boxes.

        Both are summed over the anchors of an image, divided by its number of positives (at least 1), and averaged over
        the images.
        """
        labels, matched, positive, negative = self.targets(y)
        trained = ops.cast(ops.logical_or(positive, negative), "float32")  # [B, A]
        positive = ops.cast(positive, "float32")
        count = ops.maximum(ops.sum(positive, axis=1), 1.0)  # [B]
        class_loss = focal_loss(y_pred["logits"], ops.one_hot(labels, self.num_classes))  # [B, A, K]
        class_loss = ops.mean(ops.sum(ops.sum(class_loss, axis=-1) * trained, axis=1) / count)
        anchors = ops.convert_to_tensor(self.anchors)
        if self.giou:
            box_loss = 1.0 - overlaps(box_ops.decode(y_pred["deltas"], anchors, self.variances), matched)[1]  # [B, A]
        else:
            deltas = box_ops.encode(matched, anchors, self.variances)
            box_loss = ops.sum(ops.abs(y_pred["deltas"] - deltas), axis=-1)  # [B, A]
        box_loss = ops.mean(ops.sum(box_loss * positive, axis=1) / count)
        self.class_loss.update_state(class_loss)
        self.box_loss.update_state(box_loss)
        return class_loss + box_loss + sum(self.losses)

    def serving(
        self, score_threshold: float = 0.05, iou_threshold: float = 0.5, top_k: int = 1000, keep: int = 300
    ) -> keras.Model:
        """images `[B, H, W, 3]` -> boxes `[B, keep, 4]`, scores `[B, keep]`, labels `[B, keep]`.

        The defaults are the paper's (section 4, "Inference"), and torchvision's for `keep`.

        Args:
            score_threshold: the least score of a detection, 0..1.
            iou_threshold: of two boxes of a class that overlap by more, the one with the lower score is dropped.
            top_k: candidates of one level that enter suppression.
            keep: detections returned for each image.
        """
        raw = self(self.input)
        decode = DecodeAnchors(
            self.anchors,
            self.variances,
            level_sizes=self.level_sizes,
            image_size=self.image_size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            top_k=top_k,
            keep=keep,
            name="decode",
        )
        return keras.Model(self.input, decode(raw["logits"], raw["deltas"]), name=f"{self.name}_serving")


def _grid(
    level: str,
    size: tuple[int, int],
    image_size: tuple[int, int],
    scales: Sequence[float],
    aspect_ratios: Sequence[float],
) -> np.ndarray:
    """The anchors of one level with maps of `size` cells, float32 `[h * w * a, 4]`."""
    stride = 2 ** int(level[1:])
    # Whole pixels, as in torchvision: published weights depend on it.
    sides = [float(int(scale * stride)) for scale in scales]
    # If the stride does not divide the image's size, torchvision spaces the anchors by this quotient.
    spacing = (image_size[0] // size[0], image_size[1] // size[1])
    return anchor_ops.grid(size, spacing, anchor_ops.shapes_of_ratios(sides, aspect_ratios), offset=0.0)

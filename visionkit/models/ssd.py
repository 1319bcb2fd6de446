"""SSD: single shot multibox detector (Liu et al. 2016, arXiv 1512.02325) over any backbone's levels."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from visionkit.layers.decode import DecodeDetections
from visionkit.layers.fpn import convolution, feature_pyramid
from visionkit.models.task import ClassRows, Task, take_levels, takes_every_size
from visionkit.ops import anchors as anchor_ops
from visionkit.ops import boxes as box_ops
from visionkit.ops.losses import hardest, smooth_l1, softmax_cross_entropy
from visionkit.ops.matching import assign
from visionkit.types import Tensor

NEGATIVES_PER_POSITIVE = 3  # section 2.2, "Hard negative mining"

# The settings of the paper's networks, to be used with backbones.ssd_vgg: SSD(ssd300_vgg16(), 20, **SSD300). The anchor
# sizes are those of the authors' code for VOC; those for COCO are smaller.
_FEW, _MORE = (1.0, 2.0, 0.5), (1.0, 2.0, 0.5, 3.0, 1 / 3)
_PAPER: dict[str, Any] = {"resize": "stretch", "extra_levels": 0, "pyramid_channels": 0, "clip_anchors": True}
SSD300: dict[str, Any] = _PAPER | {
    "image_size": (300, 300),
    "levels": ("C3", "C4", "C5", "C6", "C7", "C8"),
    "steps": (8, 16, 32, 64, 100, 300),
    "anchor_sizes": (30, 60, 111, 162, 213, 264, 315),
    "aspect_ratios": (_FEW, _MORE, _MORE, _MORE, _FEW, _FEW),
}
SSD300_COCO: dict[str, Any] = SSD300 | {"anchor_sizes": (21, 45, 99, 153, 207, 261, 315)}
SSD512: dict[str, Any] = _PAPER | {
    "image_size": (512, 512),
    "levels": ("C3", "C4", "C5", "C6", "C7", "C8", "C9"),
    "anchor_sizes": (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6),
    "aspect_ratios": (_FEW, _MORE, _MORE, _MORE, _MORE, _FEW, _FEW),
}
# SSDLite of torchvision, to be used with backbones.ssd_mobilenet.ssdlite_mobilenet_v3.
SSDLITE320: dict[str, Any] = _PAPER | {
    "image_size": (320, 320),
    "levels": ("C4", "C5", "C6", "C7", "C8", "C9"),
    "steps": (16, 32, 64, 320 / 3, 160, 320),
    "anchor_sizes": (64, 112, 160, 208, 256, 304, 320),
    "aspect_ratios": _MORE,
    "separable_heads": True,
}


class SSD(Task):
    """A single shot detector: convolutional heads on several levels of a backbone, one anchor grid per level.

    Outputs of the graph: `logits` float32 `[B, A, K + 1]` with background LAST, so that the index is the class id,
    and `deltas` float32 `[B, A, 4]`. Trained with `y` = {"boxes" `[B, M, 4]`, "labels" `[B, M]` padded with -1},
    and "ignore" bool `[B, M]` if any.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, image_size, resize: see `Task`.
        levels: the backbone's levels that get heads.
        extra_levels: coarser levels added by stride-2 convolutions, as in the paper.
        pyramid_channels: channels of a feature pyramid that merges the levels before the heads; without it the fine
            levels of small backbones are of little use. 0 puts the heads on the levels themselves, as in the paper.
        anchor_scale: s_k of a level, in units of its stride 2**n.
        anchor_sizes: s_k of every level in pixels, and one more, instead of `anchor_scale`.
        aspect_ratios: width / height of the anchors, either the same for all levels or one sequence per level.
        steps: pixels from one anchor to the next on each level; None means the level's stride 2**n.
        clip_anchors: limits the width and height of anchors to those of the image.
        variances: see `ops.boxes.encode`.
        separable_heads: "SSDLite", for phones: the 3x3 convolution of a head is split into a depthwise one, with batch
            normalisation and ReLU6, and a 1x1 (Sandler et al. 2018, arXiv 1801.04381, section 6.2).
        kwargs: see `Task`.
    """

    class_layers: ClassVar = {"class_head": ClassRows(background=1)}

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (320, 320),
        resize: str = "letterbox",
        levels: Sequence[str] = ("C3", "C4", "C5"),
        extra_levels: int = 1,
        pyramid_channels: int = 128,
        anchor_scale: float = 3.0,
        anchor_sizes: Sequence[float] | None = None,
        aspect_ratios: Sequence[float] | Sequence[Sequence[float]] = (1.0, 2.0, 0.5, 3.0, 1 / 3),
        steps: Sequence[float] | None = None,
        clip_anchors: bool = False,
        variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
        separable_heads: bool = False,
        **kwargs: Any,
    ):
        images = keras.Input((*image_size, 3), name="images")
        features = take_levels(backbone, images, levels)
        if pyramid_channels:
            features = feature_pyramid(features, pyramid_channels, normalize=True)
        top = int(max(features)[1:])
        for number in range(top + 1, top + 1 + extra_levels):
            below = list(features.values())[-1]
            filters = pyramid_channels or 256
            features[f"P{number}"] = convolution(below, filters, 3, strides=2, normalize=True, name=f"extra{number}")

        grids: list[np.ndarray] = []
        logits: list[Tensor] = []
        deltas: list[Tensor] = []
        for i, (level, feature) in enumerate(features.items()):  # feature: [B, h, w, C]
            stride = 2 ** int(level[1:])
            sizes = anchor_sizes[i : i + 2] if anchor_sizes else (anchor_scale * stride, 2 * anchor_scale * stride)
            shapes = anchor_ops.shapes_of_scales(sizes, _ratios_of_level(aspect_ratios, i))  # [a, 2]
            if clip_anchors:
                shapes = np.minimum(shapes, np.array(image_size[::-1], np.float32))
            grids.append(anchor_ops.grid(feature.shape[1:3], steps[i] if steps else stride, shapes))  # [h*w*a, 4]
            for values, width, head in ((logits, num_classes + 1, "class"), (deltas, 4, "box")):
                make_head = _separable_head if separable_heads else _head
                x = make_head(feature, len(shapes) * width, head, level[1:])
                values.append(layers.Reshape((-1, width), name=f"{head}_rows{level[1:]}")(x))  # [B, h*w*a, width]
        raw = {
            "logits": layers.Concatenate(axis=1, dtype="float32", name="logits")(logits),  # [B, A, K + 1]
            "deltas": layers.Concatenate(axis=1, dtype="float32", name="deltas")(deltas),  # [B, A, 4]
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
        self.anchors = np.concatenate(grids)  # [A, 4]
        self.variances = tuple(variances)
        self.clips_anchors = clip_anchors
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")

    @property
    def any_size(self) -> bool:
        return takes_every_size(self.backbone) and not self.clips_anchors  # such anchors depend on it

    def targets(self, y: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The targets of the anchors.

        Returns:
            labels int32 `[B, A]` with `num_classes` for background, deltas float32 `[B, A, 4]`, positive bool
            `[B, A]` and negative bool `[B, A]`; an anchor that is neither positive nor negative is not trained.
        """
        anchors = ops.convert_to_tensor(self.anchors)
        boxes, labels = ops.cast(y["boxes"], "float32"), ops.cast(y["labels"], "int32")  # [B, M, 4], [B, M]
        index, positive, negative = assign(anchors, y)
        matched = ops.take_along_axis(boxes, index[..., None], axis=1)  # [B, A, 4]
        matched = ops.where(positive[..., None], matched, anchors[None])  # keeps the logarithms of padding finite
        labels = ops.where(positive, ops.take_along_axis(labels, index, axis=1), self.num_classes)
        return labels, box_ops.encode(matched, anchors[None], self.variances), positive, negative

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """MultiBox loss (section 2.2, eq. 1): softmax cross-entropy with the hardest negatives, and smooth L1.

        Both are summed over the batch and divided by its number of positives. An image without objects counts as if it
        had one positive, so that it trains the background and the divisor is never zero.
        """
        labels, deltas, positive, negative = self.targets(y)
        class_loss = softmax_cross_entropy(y_pred["logits"], labels)  # [B, A]
        positives = ops.maximum(ops.sum(ops.cast(positive, "int32"), axis=1), 1)  # [B]
        mined = hardest(ops.stop_gradient(class_loss), negative, NEGATIVES_PER_POSITIVE * positives)
        trained = ops.cast(ops.logical_or(positive, mined), "float32")
        count = self.over_devices(ops.cast(ops.sum(positives), "float32"))
        class_loss = ops.sum(class_loss * trained) / count
        box_loss = ops.sum(smooth_l1(y_pred["deltas"] - deltas), axis=-1) * ops.cast(positive, "float32")
        box_loss = ops.sum(box_loss) / count
        self.class_loss.update_state(class_loss)
        self.box_loss.update_state(box_loss)
        return class_loss + box_loss + sum(self.losses)

    def serving(
        self, score_threshold: float = 0.01, iou_threshold: float = 0.5, top_k: int = 4000, keep: int = 200
    ) -> keras.Model:
        """images `[B, H, W, 3]` -> boxes `[B, keep, 4]`, scores `[B, keep]`, labels `[B, keep]`.

        The defaults are those of section 3.7 with two exceptions. `iou_threshold` is 0.45 there; 0.5 keeps more objects
        that stand close together. `top_k` counts over all classes; the authors' code takes 400 per class.

        Args:
            score_threshold: the least score of a detection, 0..1.
            iou_threshold: of two boxes of a class that overlap by more, the one with the lower score is dropped.
            top_k: candidates that enter suppression.
            keep: detections returned for each image.
        """
        raw = self(self.input)
        decode = DecodeDetections(
            self.anchors, self.image_size, self.variances, score_threshold, iou_threshold, top_k, keep, name="decode"
        )
        return keras.Model(self.input, decode(raw["logits"], raw["deltas"]), name=f"{self.name}_serving")


def _head(x: Tensor, channels: int, kind: str, number: str) -> Tensor:
    return layers.Conv2D(channels, 3, padding="same", name=f"{kind}_head{number}")(x)


def _separable_head(x: Tensor, channels: int, kind: str, number: str) -> Tensor:
    first: Any = keras.initializers.RandomNormal(stddev=0.03)  # Any, because Keras' source makes a checker expect text
    second: Any = keras.initializers.RandomNormal(stddev=0.03)  # one for each layer: it draws the same every time
    name = f"{kind}_depthwise{number}"
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer=first, name=name)(x)
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
    x = layers.ReLU(6, name=f"{name}_relu")(x)
    return layers.Conv2D(channels, 1, kernel_initializer=second, name=f"{kind}_head{number}")(x)


def _ratios_of_level(aspect_ratios: Sequence[float] | Sequence[Sequence[float]], level: int) -> Sequence[float]:
    ratios: Any = aspect_ratios
    return ratios if np.ndim(ratios[0]) == 0 else ratios[level]

"""NanoDet: a small anchor-free detector in one stage, over any backbone's levels (github.com/RangiLyu/nanodet).

Every cell predicts the probability of each class, and the distances of the object's four sides from the cell's centre
(FCOS, Tian et al. 2019, arXiv 1904.01355).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from visionkit.layers.decode_distances import DecodeDistances
from visionkit.layers.pan import path_aggregation
from visionkit.models.task import ClassRows, Task, take_levels, takes_every_size
from visionkit.ops import anchors as anchor_ops
from visionkit.ops.atss import atss
from visionkit.ops.distances import by_side, expected, from_distances, to_distances
from visionkit.ops.generalized_focal import distribution_focal_loss, overlaps, quality_focal_loss
from visionkit.ops.matching import ignored, real
from visionkit.types import Tensor

BOX_WEIGHT, BINS_WEIGHT = 2.0, 0.25  # weights of these losses, as in the authors' configurations; the classes' is 1
LAST = 0.1  # a target stays this far below the last bin, as in the authors' code
PRIOR = 0.01  # the probability of every class before training (focal loss, arXiv 1708.02002, section 4.1)

# The authors' networks, to be used as NanoDet(csp_nanodet(), 80, **NANODET_G), NanoDet(efficientnet_lite0(), ...).
NANODET_G: dict[str, Any] = {
    "image_size": (416, 416),
    "pyramid_channels": 128,
    "head_convs": 1,
    "depthwise": False,
    "leaky": True,
    "cell_scale": 8.0,
}
NANODET_LITE0: dict[str, Any] = {"image_size": (320, 320), "last_bin": 7}
NANODET_LITE1: dict[str, Any] = {
    "image_size": (416, 416),
    "pyramid_channels": 128,
    "head_convs": 3,
    "cell_scale": 8.0,
}
NANODET_LITE2: dict[str, Any] = {"image_size": (512, 512), "pyramid_channels": 128, "head_convs": 4}


class NanoDet(Task):
    """An anchor-free detector: a path-aggregation pyramid, with a separate head on each level.

    Outputs of the graph: `logits` float32 `[B, A, K]`, one sigmoid per class and no background, and `bins` float32
    `[B, A, 4 * (last_bin + 1)]`: for the left, upper, right and lower side the logits that its distance is 0, 1, ...
    strides. Trained with `y` = {"boxes" `[B, M, 4]`, "labels" `[B, M]` padded with -1}, and "ignore" bool `[B, M]` if
    any.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, image_size, resize: see `Task`.
        levels: the backbone's levels that get heads.
        pyramid_channels: channels of the pyramid and of the heads.
        head_convs: 3x3 convolutions of a head before its last one, which is a 1x1.
        depthwise: makes each of them a depthwise convolution and a 1x1.
        batch_norm: batch normalisation after each convolution but the last; False gives them a bias instead.
        leaky: LeakyReLU of slope 0.1 in the heads, instead of ReLU6.
        cell_scale: side, in strides, of the square around a cell whose overlap with objects is measured in training.
        last_bin: the greatest distance of a side, in strides.
        kwargs: see `Task`.

    Raises:
        ValueError: the coarsest level cannot predict boxes as large as the image.
    """

    class_layers: ClassVar = {"logits": ClassRows()}

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (320, 320),
        resize: str = "letterbox",
        levels: Sequence[str] = ("C3", "C4", "C5"),
        pyramid_channels: int = 96,
        head_convs: int = 2,
        depthwise: bool = True,
        batch_norm: bool = True,
        leaky: bool = False,
        cell_scale: float = 5.0,
        last_bin: int = 10,
        **kwargs: Any,
    ):
        images = keras.Input((*image_size, 3), name="images")
        features = path_aggregation(take_levels(backbone, images, levels), pyramid_channels)
        _check_reach(last_bin * 2 ** max(int(level[1:]) for level in features), image_size)

        grids: list[np.ndarray] = []
        strides: list[np.ndarray] = []
        logits: list[Tensor] = []
        bins: list[Tensor] = []
        for level, x in features.items():  # x: [B, h, w, C]
            stride = 2 ** int(level[1:])
            side = cell_scale * stride
            grids.append(anchor_ops.grid(x.shape[1:3], stride, [(side, side)]))  # [h * w, 4]
            strides.append(np.full(len(grids[-1]), stride, np.float32))
            for i in range(1, head_convs + 1):
                x = _head_convolution(x, depthwise, batch_norm, leaky, f"head{level[1:]}_conv{i}")
            logits.append(_rows(x, num_classes, "logits", level[1:], bias=-np.log(1 / PRIOR - 1)))  # [B, h * w, K]
            bins.append(_rows(x, 4 * (last_bin + 1), "bins", level[1:]))  # [B, h * w, 4 * (last_bin + 1)]
        raw = {
            "logits": layers.Concatenate(axis=1, dtype="float32", name="logits")(logits),  # [B, A, K]
            "bins": layers.Concatenate(axis=1, dtype="float32", name="bins")(bins),  # [B, A, 4 * (last_bin + 1)]
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
        self.cells = np.concatenate(grids)  # [A, 4]
        self.strides = np.concatenate(strides)  # [A]
        self.points = (self.cells[:, :2] + self.cells[:, 2:]) / 2  # [A, 2]
        self.level_sizes = tuple(len(grid) for grid in grids)
        self.last_bin = last_bin
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")
        self.bins_loss = keras.metrics.Mean(name="bins_loss")

    @property
    def any_size(self) -> bool:
        return takes_every_size(self.backbone)

    def targets(self, y: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The targets of the cells.

        Returns:
            labels int32 `[B, A]` with `num_classes` for background, boxes float32 `[B, A, 4]` in pixels, positive bool
            `[B, A]` and negative bool `[B, A]`; a cell that is neither positive nor negative is not trained. Cells
            inside a crowd are not background.
        """
        anchors, points = ops.convert_to_tensor(self.cells), ops.convert_to_tensor(self.points)
        boxes, labels = ops.cast(y["boxes"], "float32"), ops.cast(y["labels"], "int32")  # [B, M, 4], [B, M]
        index, positive = atss(anchors, self.level_sizes, boxes, real(y))
        matched = ops.take_along_axis(boxes, index[..., None], axis=1)  # [B, A, 4]
        matched = ops.where(positive[..., None], matched, anchors[None])  # padding has no area to divide by
        labels = ops.where(positive, ops.take_along_axis(labels, index, axis=1), self.num_classes)
        inside = ops.min(to_distances(points[None, :, None], boxes[:, None]), axis=-1) > 0  # [B, A, M]
        crowded = ops.any(ops.logical_and(inside, ignored(y)[:, None]), axis=-1)
        return labels, matched, positive, ops.logical_not(ops.logical_or(positive, crowded))

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Generalized focal loss of the classes and of the bins (arXiv 2006.04388, section 3.3), and GIoU of the boxes.

        The loss of the classes is divided by the number of positives in the batch; an image without any counts as if it
        had one. The other two weight each positive by the score of its most likely class and are divided by the sum of
        the weights.
        """
        labels, matched, positive, negative = self.targets(y)
        logits, bins = y_pred["logits"], by_side(y_pred["bins"])  # [B, A, K], [B, A, 4, n]
        points, strides = ops.convert_to_tensor(self.points), ops.convert_to_tensor(self.strides)[:, None]
        boxes = from_distances(points, expected(bins) * strides)  # [B, A, 4]
        iou, giou = overlaps(boxes, matched)  # [B, A]

        quality = ops.where(positive, ops.stop_gradient(iou), 0.0)[..., None]
        class_loss = quality_focal_loss(logits, quality * ops.one_hot(labels, self.num_classes))  # [B, A, K]
        trained = ops.cast(ops.logical_or(positive, negative), "float32")
        positives = ops.maximum(ops.sum(ops.cast(positive, "float32"), axis=1), 1.0)  # [B]
        class_loss = ops.sum(ops.sum(class_loss, axis=-1) * trained) / self.over_devices(ops.sum(positives))

        score = ops.max(ops.sigmoid(ops.stop_gradient(logits)), axis=-1)
        weight = ops.where(positive, score, 0.0)  # [B, A]
        total = ops.maximum(self.over_devices(ops.sum(weight)), 1e-6)
        box_loss = BOX_WEIGHT * ops.sum(weight * (1.0 - giou)) / total
        target = ops.clip(to_distances(points, matched) / strides, 0.0, self.last_bin - LAST)  # [B, A, 4]
        bins_loss = ops.mean(distribution_focal_loss(bins, target), axis=-1)  # [B, A]
        bins_loss = BINS_WEIGHT * ops.sum(weight * bins_loss) / total
        self.class_loss.update_state(class_loss)
        self.box_loss.update_state(box_loss)
        self.bins_loss.update_state(bins_loss)
        return class_loss + box_loss + bins_loss + sum(self.losses)

    def serving(
        self, score_threshold: float = 0.05, iou_threshold: float = 0.6, top_k: int = 1000, keep: int = 100
    ) -> keras.Model:
        """images `[B, H, W, 3]` -> boxes `[B, keep, 4]`, scores `[B, keep]`, labels `[B, keep]`.

        The defaults are the authors', except for `top_k`, which they do not limit.

        Args:
            score_threshold: the least score of a detection, 0..1.
            iou_threshold: of two boxes of a class that overlap by more, the one with the lower score is dropped.
            top_k: candidates that enter suppression.
            keep: detections returned for each image.
        """
        raw = self(self.input)
        decode = DecodeDistances(
            self.points, self.strides, self.image_size, score_threshold, iou_threshold, top_k, keep, name="decode"
        )
        return keras.Model(self.input, decode(raw["logits"], raw["bins"]), name=f"{self.name}_serving")


def _check_reach(reach: int, image_size: tuple[int, int]) -> None:
    if 2 * reach < max(image_size):
        raise ValueError(
            f"a box can extend at most {reach} pixels from its cell, too little for images of {image_size}; "
            f"raise last_bin or add a coarser level"
        )


def _rows(x: Tensor, width: int, head: str, level: str, bias: float = 0.0) -> Tensor:
    """The last convolution of a head, `[B, h, w, C]` -> `[B, h * w, width]`; `bias` is its initial value."""
    initial_bias: Any = keras.initializers.Constant(bias)
    kernel: Any = keras.initializers.RandomNormal(stddev=0.01)
    x = layers.Conv2D(width, 1, kernel_initializer=kernel, bias_initializer=initial_bias, name=f"{head}{level}")(x)
    return layers.Reshape((-1, width), name=f"{head}_rows{level}")(x)


def _head_convolution(x: Tensor, depthwise: bool, batch_norm: bool, leaky: bool, name: str) -> Tensor:
    """A 3x3 convolution that keeps the channels; if `depthwise`, one per channel and a 1x1 over them."""
    options: dict[str, Any] = {"padding": "same", "use_bias": not batch_norm}
    if depthwise:
        x = layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name=f"{name}_depthwise", **options)(x)
        x = _norm_relu(x, batch_norm, leaky, f"{name}_depthwise")
    size = 1 if depthwise else 3
    x = layers.Conv2D(x.shape[-1], size, kernel_initializer="he_normal", name=name, **options)(x)
    return _norm_relu(x, batch_norm, leaky, name)


def _norm_relu(x: Tensor, batch_norm: bool, leaky: bool, name: str) -> Tensor:
    if batch_norm:
        # The momentum is that of the feature pyramid, for the same reason: fine-tuning takes hundreds of steps.
        x = layers.BatchNormalization(momentum=0.95, epsilon=1e-3, name=f"{name}_bn")(x)
    relu = layers.LeakyReLU(0.1, name=f"{name}_relu") if leaky else layers.ReLU(6, name=f"{name}_relu")
    return relu(x)

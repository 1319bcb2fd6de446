"""FCOS: fully convolutional one-stage object detection, without anchors (Tian et al. 2019, arXiv 1904.01355)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from visionkit.layers.decode_levels import DecodePoints
from visionkit.layers.fpn import feature_pyramid, strided_levels
from visionkit.layers.shared_head import rows, tower
from visionkit.models.task import ClassRows, Task, take_levels, takes_every_size
from visionkit.ops.boxes import area
from visionkit.ops.distances import from_distances, to_distances
from visionkit.ops.generalized_focal import overlaps
from visionkit.ops.losses import binary_cross_entropy, focal_loss
from visionkit.ops.matching import ignored, real
from visionkit.types import Tensor

RADIUS = 1.5  # of the square around an object's centre whose points are positive, in strides (version 4 of the paper)
# Strides: a level learns objects whose farthest side is this far from a point; section 3.2: 64..128 pixels at P4.
REACH = (4, 8)
NOTHING = 1e12  # the area of an object that a point is not trained for: larger than any


class FCOS(Task):
    """An anchor-free detector: every point of a pyramid predicts the distances of an object's four sides.

    Outputs of the graph: `logits` float32 `[B, A, K]`, one sigmoid per class and no background, `distances` float32
    `[B, A, 4]` of the left, upper, right and lower side, at least 0, in strides of the point's level, and `centerness`
    logits float32 `[B, A]`. Trained with `y` = {"boxes" `[B, M, 4]`, "labels" `[B, M]` padded with -1}, and "ignore"
    bool `[B, M]` if any.

    Args:
        backbone: a model images -> {"Cn": features}.
        num_classes, class_names, resize: see `Task`.
        image_size: (height, width) of the network's input; the paper's are 800 on the shorter side, see `FasterRCNN`.
        levels: the backbone's levels that the pyramid merges; it has two coarser ones besides.
        pyramid_channels: channels of the pyramid and of the heads.
        head_convs: convolutions of a head before its last one.
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
        head_convs: int = 4,
        **kwargs: Any,
    ):
        images = keras.Input((*image_size, 3), name="images")
        pyramid = feature_pyramid(take_levels(backbone, images, levels), pyramid_channels)
        pyramid = strided_levels(pyramid, pyramid[max(pyramid)])
        classes = tower(pyramid, head_convs, group_norm=True, use_bias=True, name="class_conv")
        boxes = tower(pyramid, head_convs, group_norm=True, use_bias=True, name="box_conv")
        distances = rows(boxes, 1, 4, "box_regression")  # [B, A, 4]
        centerness = rows(boxes, 1, 1, "centerness")  # [B, A, 1]
        raw = {
            "logits": rows(classes, 1, num_classes, "class_logits", prior=True),  # [B, A, K]
            "distances": layers.ReLU(dtype="float32", name="distances")(distances),  # [B, A, 4]
            "centerness": layers.Reshape((-1,), dtype="float32", name="centerness_logits")(centerness),  # [B, A]
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
        sizes = {level: x.shape[1:3] for level, x in pyramid.items()}
        self.level_sizes = [height * width for height, width in sizes.values()]
        self.points = np.concatenate([_points(size, self.image_size) for size in sizes.values()])  # [A, 2]
        strides = np.array([2 ** int(level[1:]) for level in sizes], np.float32)
        self.strides = np.repeat(strides, self.level_sizes)  # [A]
        least, most = strides * REACH[0], strides * REACH[1]
        least[0], most[-1] = 0.0, np.inf  # the finest level learns all smaller objects, the coarsest all larger ones
        self.reach = np.stack([np.repeat(side, self.level_sizes) for side in (least, most)])  # [2, A]
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")
        self.centerness_loss = keras.metrics.Mean(name="centerness_loss")

    @property
    def any_size(self) -> bool:
        return takes_every_size(self.backbone)

    def targets(self, y: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The targets of the points (section 3.1 and 3.2).

        A point is trained for an object if it lies inside it, near its centre, and if the object is of the size that
        the point's level learns; of several such objects, for the smallest.

        Returns:
            labels int32 `[B, A]` with `num_classes` for background, boxes float32 `[B, A, 4]` in pixels, positive bool
            `[B, A]` and negative bool `[B, A]`; a point that is neither positive nor negative is not trained. Points
            inside a crowd are not background.
        """
        points, strides = ops.convert_to_tensor(self.points), ops.convert_to_tensor(self.strides)
        least, most = (ops.convert_to_tensor(side)[:, None] for side in self.reach)  # [A, 1]
        boxes, labels = ops.cast(y["boxes"], "float32"), ops.cast(y["labels"], "int32")  # [B, M, 4], [B, M]
        distances = to_distances(points[None, :, None], boxes[:, None])  # [B, A, M, 4]
        inside = ops.min(distances, axis=-1) > 0  # [B, A, M]
        farthest = ops.max(distances, axis=-1)
        off_centre = ops.max(ops.abs(distances[..., :2] - distances[..., 2:]), axis=-1) / 2
        candidate = ops.logical_and(inside, off_centre < RADIUS * strides[:, None])
        candidate = ops.logical_and(candidate, ops.logical_and(farthest > least, farthest < most))
        candidate = ops.logical_and(candidate, real(y)[:, None])
        areas = ops.where(candidate, area(boxes)[:, None], NOTHING)
        index = ops.cast(ops.argmin(areas, axis=-1), "int32")  # [B, A]
        positive = ops.any(candidate, axis=-1)
        matched = ops.take_along_axis(boxes, index[..., None], axis=1)  # [B, A, 4]
        unit = np.concatenate([self.points - 1, self.points + 1], axis=1)  # padding has no area to divide by
        matched = ops.where(positive[..., None], matched, unit)
        labels = ops.where(positive, ops.take_along_axis(labels, index, axis=1), self.num_classes)
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
        """Focal loss of the classes, GIoU of the boxes and cross-entropy of the centerness (section 3.1, eq. 2).

        All three are summed over the batch and divided by its number of positives, at least 1.
        """
        labels, matched, positive, negative = self.targets(y)
        trained = ops.cast(ops.logical_or(positive, negative), "float32")  # [B, A]
        positive = ops.cast(positive, "float32")
        count = ops.maximum(self.over_devices(ops.sum(positive)), 1.0)
        points, strides = ops.convert_to_tensor(self.points), ops.convert_to_tensor(self.strides)[:, None]
        boxes = from_distances(points, y_pred["distances"] * strides)  # [B, A, 4]
        class_loss = ops.sum(focal_loss(y_pred["logits"], ops.one_hot(labels, self.num_classes)), axis=-1)  # [B, A]
        losses = {
            "class_loss": class_loss * trained,
            "box_loss": (1.0 - overlaps(boxes, matched)[1]) * positive,
            "centerness_loss": binary_cross_entropy(y_pred["centerness"], centerness(points, matched)) * positive,
        }
        losses = {name: ops.sum(loss) / count for name, loss in losses.items()}
        for name, loss in losses.items():
            getattr(self, name).update_state(loss)
        return sum(losses.values()) + sum(self.losses)

    def serving(
        self, score_threshold: float = 0.2, iou_threshold: float = 0.6, top_k: int = 1000, keep: int = 100
    ) -> keras.Model:
        """images `[B, H, W, 3]` -> boxes `[B, keep, 4]`, scores `[B, keep]`, labels `[B, keep]`.

        The defaults are torchvision's.

        Args:
            score_threshold: the least score of a detection, 0..1.
            iou_threshold: of two boxes of a class that overlap by more, the one with the lower score is dropped.
            top_k: candidates of one level that enter suppression.
            keep: detections returned for each image.
        """
        raw = self(self.input)
        decode = DecodePoints(
            self.points,
            self.strides,
            level_sizes=self.level_sizes,
            image_size=self.image_size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            top_k=top_k,
            keep=keep,
            name="decode",
        )
        outputs = decode(raw["logits"], raw["distances"], raw["centerness"])
        return keras.Model(self.input, outputs, name=f"{self.name}_serving")


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """How near points `[A, 2]` are to the centres of the boxes `[B, A, 4]` around them, 0..1 `[B, A]` (eq. 3)."""
    distances = ops.maximum(to_distances(points, boxes), 0.0)
    near = ops.minimum(distances[..., :2], distances[..., 2:])
    far = ops.maximum(distances[..., :2], distances[..., 2:])
    share = near / ops.maximum(far, 1e-9)  # [B, A, 2]: across and down
    return ops.sqrt(share[..., 0] * share[..., 1])


def _points(size: tuple[int, int], image_size: tuple[int, int]) -> np.ndarray:
    """(x, y) of a level's points, float32 `[h * w, 2]`: the upper left corners of its cells.

    The paper takes the middles. Published weights depend on the corners, as torchvision has them.
    """
    height, width = size
    rows_of_points = np.arange(height) * (image_size[0] // height)
    columns = np.arange(width) * (image_size[1] // width)
    y, x = np.meshgrid(rows_of_points, columns, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)

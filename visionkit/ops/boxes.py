"""Box maths on tensors. Boxes are x1, y1, x2, y2 in pixels, continuous: width = x2 - x1.

`boxes` are float32 `[..., 4]`, and so is what a function returns that says nothing else. Offsets are those of R-CNN
(Girshick et al. 2014, arXiv 1311.2524, appendix C), divided by SSD's variances; IoU is that of the PASCAL VOC challenge
(Everingham et al. 2010).
"""

import math
from collections.abc import Sequence

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.types import Tensor

# The largest ratio of a decoded side to its anchor's side, so that an untrained head cannot overflow exp. The value is
# Detectron's, and also that of torchvision and detectron2.
MAX_LOG_RATIO = math.log(1000.0 / 16)


def area(boxes: Tensor) -> Tensor:
    """Areas in square pixels: `[..., 4]` -> `[...]`."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Shared area of every box of `a` `[..., N, 4]` with every box of `b` `[..., M, 4]` -> `[..., N, M]`."""
    # One coordinate at a time: computing on planes of [N, M] is several times as fast as on pairs of numbers.
    ax1, ay1, ax2, ay2 = (a[..., :, None, i] for i in range(4))  # [..., N, 1]
    bx1, by1, bx2, by2 = (b[..., None, :, i] for i in range(4))  # [..., 1, M]
    width = ops.maximum(ops.minimum(ax2, bx2) - ops.maximum(ax1, bx1), 0.0)
    return width * ops.maximum(ops.minimum(ay2, by2) - ops.maximum(ay1, by1), 0.0)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, 0..1, of `a` `[..., N, 4]` with `b` `[..., M, 4]` -> `[..., N, M]`."""
    shared = intersection(a, b)
    union = area(a)[..., :, None] + area(b)[..., None, :] - shared
    return shared / ops.maximum(union, 1e-9)


def centre_size(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2 -> centre x, centre y, width, height: `[..., 4]` -> `[..., 4]`."""
    size = boxes[..., 2:] - boxes[..., :2]
    return ops.concatenate([boxes[..., :2] + size / 2, size], axis=-1)


def encode(boxes: Tensor, anchors: Tensor, variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2)) -> Tensor:
    """The regression targets that turn `anchors` into `boxes` (Faster R-CNN, arXiv 1506.01497, eq. 2).

    Args:
        boxes: `[..., 4]`; sides below a thousandth of a pixel are raised to that, which keeps the logarithm finite.
        anchors: `[..., 4]`, of the same shape or broadcastable.
        variances: the targets are divided by these; SSD's 0.1, 0.1, 0.2, 0.2 are Faster R-CNN's weights 10, 10, 5, 5.

    Returns:
        Offsets of the centre in anchor sizes and logarithms of the size ratios, `[..., 4]`.
    """
    box, anchor = centre_size(boxes), centre_size(anchors)
    offset = (box[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    ratio = ops.log(ops.maximum(box[..., 2:], 1e-3) / anchor[..., 2:])
    return ops.concatenate([offset, ratio], axis=-1) / ops.convert_to_tensor(variances, dtype=offset.dtype)


def decode(deltas: Tensor, anchors: Tensor, variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2)) -> Tensor:
    """The inverse of `encode` with these `variances`: deltas `[..., 4]`, anchors `[..., 4]` -> boxes `[..., 4]`."""
    deltas = deltas * ops.convert_to_tensor(variances, dtype=deltas.dtype)
    anchor = centre_size(anchors)
    centre = anchor[..., :2] + deltas[..., :2] * anchor[..., 2:]
    half = anchor[..., 2:] * ops.exp(ops.minimum(deltas[..., 2:], MAX_LOG_RATIO)) / 2
    return ops.concatenate([centre - half, centre + half], axis=-1)


def clip(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Boxes clipped to an image of `image_size` (height, width) -> `[..., 4]`."""
    h, w = image_size
    return ops.clip(boxes, 0.0, ops.convert_to_tensor([w, h, w, h], dtype=boxes.dtype))

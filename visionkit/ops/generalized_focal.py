"""Generalized Focal Loss (Li et al. 2020, arXiv 2006.04388), and the overlap of boxes that it is trained on.

Each function returns one value per box or per class, so that the model decides what to sum.
"""

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.ops.boxes import area
from visionkit.ops.losses import binary_cross_entropy
from visionkit.types import Tensor


def quality_focal_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Cross-entropy with a quality 0..1, scaled by the squared difference from it (section 3.2, eq. 2, beta 2).

    Args:
        logits: `[...]`, one per class.
        quality: of the same shape: the overlap of the predicted box with its object, for the object's class; 0 for all
            other classes.

    Returns:
        Nats, `[...]`.
    """
    missing = quality - ops.sigmoid(logits)
    return binary_cross_entropy(logits, quality) * missing * missing


def distribution_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with the two bins next to a target, each weighted by how near it is (section 3.2, eq. 6).

    Args:
        logits: logits of the bins 0..n-1, `[..., n]`.
        target: 0 to n-1, may be fractional, `[...]`.

    Returns:
        Nats, `[...]`.
    """
    bins = ops.arange(logits.shape[-1], dtype=logits.dtype)
    near = ops.maximum(1.0 - ops.abs(bins - target[..., None]), 0.0)  # [..., n]: 0 except for the two neighbours
    return -ops.sum(near * ops.log_softmax(logits, axis=-1), axis=-1)


def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes, row by row, and its generalised form (GIoU, arXiv 1902.09630, algorithm 1).

    Args:
        a, b: `[..., 4]`; at least one box of each pair has an area.

    Returns:
        IoU 0..1 and GIoU -1..1, each `[...]`.
    """
    shared_sides = ops.maximum(ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2]), 0.0)
    outer_sides = ops.maximum(a[..., 2:], b[..., 2:]) - ops.minimum(a[..., :2], b[..., :2])  # of the box around both
    shared = shared_sides[..., 0] * shared_sides[..., 1]
    around = outer_sides[..., 0] * outer_sides[..., 1]
    union = ops.maximum(area(a) + area(b) - shared, 1e-9)
    iou = shared / union
    return iou, iou - (around - union) / ops.maximum(around, 1e-9)

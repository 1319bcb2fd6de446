"""Generalized Focal Loss (Li et al. 2020, arXiv 2006.04388), and the overlap of boxes that it is trained on.

Each function returns one value per box or per class, so that the model decides what to sum.
"""

from keras import ops

from visionkit.ops.boxes import area
from visionkit.ops.losses import binary_cross_entropy


def quality_focal_loss(logits, quality):
    """Cross-entropy with a quality 0..1, scaled by the squared distance to it (section 3.2, eq. 2, beta 2).

    Args:
        logits: `[...]`, one for each class.
        quality: of the same shape: how well the predicted box overlaps its object, at the object's class; 0 elsewhere.

    Returns:
        Nats, `[...]`.
    """
    missing = quality - ops.sigmoid(logits)
    return binary_cross_entropy(logits, quality) * missing * missing


def distribution_focal_loss(logits, target):
    """Cross-entropy with the two bins beside a target, each weighed by how near it is (section 3.2, eq. 6).

    Args:
        logits: of the bins 0..n-1, `[..., n]`.
        target: 0 to n-1, fractions included, `[...]`.

    Returns:
        Nats, `[...]`.
    """
    bins = ops.arange(logits.shape[-1], dtype=logits.dtype)
    near = ops.maximum(1.0 - ops.abs(bins - target[..., None]), 0.0)  # [..., n]: 0 but for the two neighbours
    return -ops.sum(near * ops.log_softmax(logits, axis=-1), axis=-1)


def overlaps(a, b):
    """Intersection over union of boxes, row by row, and its generalised form (GIoU, arXiv 1902.09630, algorithm 1).

    Args:
        a, b: `[..., 4]`; at least one box of each pair has an area.

    Returns:
        IoU 0..1 and GIoU -1..1, each `[...]`.
    """
    shared = ops.maximum(ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2]), 0.0)
    around = ops.maximum(a[..., 2:], b[..., 2:]) - ops.minimum(a[..., :2], b[..., :2])
    shared, around = shared[..., 0] * shared[..., 1], around[..., 0] * around[..., 1]
    union = ops.maximum(area(a) + area(b) - shared, 1e-9)
    iou = shared / union
    return iou, iou - (around - union) / ops.maximum(around, 1e-9)

"""Detection losses on padded tensors; each returns one value per anchor, so that the model decides what to sum.

The losses are those of Fast R-CNN (arXiv 1504.08083, section 2.3) and SSD (arXiv 1512.02325, section 2.2).
"""

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.types import Tensor


def smooth_l1(difference: Tensor, beta: float = 1.0) -> Tensor:
    """Huber's loss of a `difference` as Fast R-CNN writes it (eq. 3): `[...]` -> `[...]`, quadratic below `beta`."""
    size = ops.abs(difference)
    return ops.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats of logits `[..., K]` with `labels` `[...]`, class ids -> `[...]`."""
    picked = ops.take_along_axis(logits, ops.cast(labels, "int32")[..., None], axis=-1)[..., 0]
    return ops.logsumexp(logits, axis=-1) - picked


def hardest(loss: Tensor, candidates: Tensor, count: Tensor) -> Tensor:
    """The `count` candidates with the greatest loss in each row: hard negative mining (SSD, section 2.2).

    Args:
        loss: float32 `[B, A]`.
        candidates: bool `[B, A]`.
        count: int32 `[B]`; a row with fewer candidates takes them all.

    Returns:
        bool `[B, A]`.
    """
    ranked = ops.where(candidates, loss, -1.0)
    order = ops.argsort(-ranked, axis=1)  # [B, A]: indices, hardest first
    rank = ops.argsort(order, axis=1)  # [B, A]: each anchor's position in that order
    return ops.logical_and(candidates, ops.cast(rank, "int32") < count[:, None])


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of logits with `targets` 0..1 of the same shape: `[...]` -> `[...]`."""
    return ops.softplus(logits) - logits * targets


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy that counts less the more certain a logit is right (RetinaNet, arXiv 1708.02002, eq. 5).

    Args:
        logits: one per class, `[...]`.
        targets: 0 or 1, of the same shape.
        alpha: the weight where the target is 1; where it is 0 the weight is 1 - alpha.
        gamma: the exponent of what is missing to certainty.

    Returns:
        Nats, `[...]`.
    """
    probability = ops.sigmoid(logits)
    missing = probability + targets - 2.0 * probability * targets  # 1 - p where the target is 1, p where it is 0
    weight = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return weight * missing**gamma * binary_cross_entropy(logits, targets)

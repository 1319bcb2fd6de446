"""Detection losses on padded tensors; each returns one value per anchor, so that the model decides what to sum."""

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.types import Tensor


def smooth_l1(difference: Tensor, beta: float = 1.0) -> Tensor:
    """Huber's loss as Fast R-CNN writes it (arXiv 1504.08083, eq. 3): `[...]` -> `[...]`, quadratic below `beta`."""
    size = ops.abs(difference)
    return ops.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats of logits `[..., K]` with class ids `[...]` -> `[...]`."""
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
    """Cross-entropy in nats of logits with probabilities 0..1 of the same shape: `[...]` -> `[...]`."""
    return ops.softplus(logits) - logits * targets

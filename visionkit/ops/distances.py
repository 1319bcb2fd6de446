"""Boxes as the distances from a point to the four sides, each the mean of a distribution over bins.

The distances are those of FCOS (Tian et al. 2019, arXiv 1904.01355, section 3.1), the distributions those of
Generalized Focal Loss (Li et al. 2020, arXiv 2006.04388, section 3.2).
"""

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.types import Tensor


def to_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """The distances of the left, upper, right and lower side from a point (FCOS, arXiv 1904.01355, eq. 1).

    Args:
        points: (x, y) in pixels, `[..., 2]`.
        boxes: `[..., 4]`, of the same leading shape or broadcastable.

    Returns:
        Pixels, `[..., 4]`; all are above 0 if the point lies inside the box.
    """
    return ops.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], axis=-1)


def from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """The inverse of `to_distances`: points `[..., 2]` and distances `[..., 4]` -> boxes `[..., 4]`."""
    return ops.concatenate([points - distances[..., :2], points + distances[..., 2:]], axis=-1)


def by_side(bins: Tensor) -> Tensor:
    """Splits a head's `bins` `[B, A, 4 * n]` into the logits of n bins for each side: -> `[B, A, 4, n]`."""
    rows, values = bins.shape[1:]
    return ops.reshape(bins, (-1, rows, 4, values // 4))


def expected(logits: Tensor) -> Tensor:
    """The mean bin of each distribution (Generalized Focal Loss, arXiv 2006.04388, eq. 5).

    Args:
        logits: logits of the bins 0..n-1, `[..., n]`.

    Returns:
        0..n-1, `[...]`.
    """
    bins = ops.arange(logits.shape[-1], dtype=logits.dtype)
    return ops.sum(ops.softmax(logits, axis=-1) * bins, axis=-1)

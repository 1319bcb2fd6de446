"""Random samples of fixed size from candidates that are positive, negative or neither."""

from keras import ops  # pyright: ignore[reportMissingTypeStubs]

from visionkit.types import Tensor


def sample(
    positive: Tensor, negative: Tensor, noise: Tensor, count: int, positive_fraction: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws up to `count` candidates of each row, at most `positive_fraction` of them positive.

    Negatives fill the places of missing positives, but not the other way round (Fast R-CNN, arXiv 1504.08083, section
    2.3; Faster R-CNN, arXiv 1506.01497, section 3.1.3).

    Args:
        positive, negative: bool `[B, A]`, never both True.
        noise: uniform random numbers 0..1, float32 `[B, A]`; the candidates with the greatest noise are drawn.
        count: places in a row; some stay empty if there are too few candidates.
        positive_fraction: 0..1.

    Returns:
        index: int32 `[B, count]`, positives first.
        positive: bool `[B, count]`.
        drawn: bool `[B, count]`, False for empty places.
    """
    # A is unknown where batches differ. Padding with candidates that are never drawn makes `count` places possible.
    last = ops.shape(positive)[1] - 1
    positive, negative, noise = (ops.pad(x, [[0, 0], [0, count]]) for x in (positive, negative, noise))
    most = max(1, int(count * positive_fraction))
    ranked = ops.where(positive, noise, -1.0)
    least = ops.top_k(ranked, most)[0][:, -1:]  # [B, 1]: the noise of the last positive that gets a place
    chosen = ops.logical_and(positive, noise >= least)
    key = ops.where(chosen, noise + 2.0, ops.where(negative, noise, -1.0))
    key, index = ops.top_k(key, count)  # [B, count]
    return ops.minimum(ops.cast(index, "int32"), last), key >= 2.0, key >= 0.0

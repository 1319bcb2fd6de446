"""Random samples of fixed size from candidates of which some are positive, some negative and some neither."""

from keras import ops


def sample(positive, negative, noise, count, positive_fraction):
    """Draws up to `count` candidates of each row, at most `positive_fraction` of them positive.

    Missing positives are made up for by negatives, not the other way round (Fast R-CNN, arXiv 1504.08083, section
    2.3; Faster R-CNN, arXiv 1506.01497, section 3.1.3).

    Args:
        positive, negative: bool `[B, A]`, never both.
        noise: uniform random numbers 0..1, float32 `[B, A]`: those of greatest noise are drawn.
        count: places a row, filled as far as there are candidates.
        positive_fraction: 0..1.

    Returns:
        index: int32 `[B, count]`, the positive ones first.
        positive: bool `[B, count]`.
        drawn: bool `[B, count]`, False for places that are left over.
    """
    # Places that nobody can take make `count` of them possible whatever A is, which is unknown where batches differ.
    last = ops.shape(positive)[1] - 1
    positive, negative, noise = (ops.pad(x, [[0, 0], [0, count]]) for x in (positive, negative, noise))
    most = max(1, int(count * positive_fraction))
    ranked = ops.where(positive, noise, -1.0)
    least = ops.top_k(ranked, most)[0][:, -1:]  # [B, 1]: the noise of the last positive that finds a place
    chosen = ops.logical_and(positive, noise >= least)
    key = ops.where(chosen, noise + 2.0, ops.where(negative, noise, -1.0))
    key, index = ops.top_k(key, count)  # [B, count]
    return ops.minimum(ops.cast(index, "int32"), last), key >= 2.0, key >= 0.0

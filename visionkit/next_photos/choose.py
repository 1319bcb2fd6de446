"""Which photos to take, once it is known how unsure a model is of each and how they differ."""

import numpy as np
from scipy.spatial.distance import cdist

BLOCK = 256  # known photos that are compared at a time


def choose(
    doubts: np.ndarray, features: np.ndarray, n: int, known: np.ndarray | None = None
) -> list[tuple[int, float]]:
    """Chooses photos one after the other: always the one with the greatest product of doubt and distance.

    The distance is that to the nearest photo which has been chosen before or is labelled already: a greedy k-center
    (Sener and Savarese, arXiv 1708.00489, algorithm 1) in which doubt counts too. Doubt alone would choose the same
    hard scene over and over, and distance alone whatever is odd, also where the model is right about it.

    Args:
        doubts: float `[N]`, 0 and above.
        features: float `[N, D]`, in which distances mean something; see `look.comparable`.
        n: how many, at most N.
        known: float `[M, D]`, features of the photos that are labelled already.

    Returns:
        (row, distance) of each, in the order in which they were chosen. The distance of the first is NaN if nothing is
        labelled.
    """
    near = np.full(len(features), np.inf)  # the squared distance to the nearest that is known or chosen
    for start in range(0, 0 if known is None else len(known), BLOCK):
        assert known is not None
        near = np.minimum(near, cdist(features, known[start : start + BLOCK], "sqeuclidean").min(axis=1))
    left = np.ones(len(features), bool)
    chosen: list[tuple[int, float]] = []
    for _ in range(n):
        distances = np.sqrt(near) if np.isfinite(near).all() else np.ones(len(near))
        # Of equal photos, such as those that the model is sure of, the farthest; and at last the first of the list.
        row = int(np.lexsort((-np.arange(len(near)), distances, doubts * distances, left))[-1])
        chosen.append((row, float(np.sqrt(near[row])) if np.isfinite(near[row]) else float("nan")))
        left[row] = False
        near = np.minimum(near, ((features - features[row]) ** 2).sum(axis=1))
    return chosen

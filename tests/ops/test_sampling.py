"""Samples of fixed size: the shares, the places left over, and who is drawn."""

import numpy as np
from keras import ops

from visionkit.ops.sampling import sample


def draw(positive, negative, count, fraction, seed=0):
    noise = np.random.default_rng(seed).random(positive.shape, np.float32)
    found = sample(*map(ops.convert_to_tensor, (positive, negative, noise)), count, fraction)
    return [ops.convert_to_numpy(x) for x in found]


def test_shares_and_places_left_over():
    # Of ten candidates: many positives, few positives, nothing to draw, too few of both.
    positive = np.zeros((4, 10), bool)
    positive[0, :6] = positive[1, 4] = positive[3, 0] = True
    negative = ~positive
    negative[2] = False
    negative[3, 3:] = False
    assert draw(positive, negative, 12, 0.5)[2].sum(axis=1).tolist() == [10, 10, 0, 3]  # more places than candidates
    index, chosen, drawn = draw(positive, negative, 4, 0.5)
    assert chosen.sum(axis=1).tolist() == [2, 1, 0, 1]
    assert drawn.sum(axis=1).tolist() == [4, 4, 0, 3]
    assert (np.diff(chosen.astype(int), axis=1) <= 0).all()  # the positive ones first
    for row in range(4):
        assert positive[row, index[row][chosen[row]]].all()
        assert negative[row, index[row][drawn[row] & ~chosen[row]]].all()
        assert len(set(index[row][drawn[row]])) == drawn[row].sum()


def test_everyone_is_drawn_equally_often():
    positive = np.arange(8)[None] < 4
    counts = np.zeros(8)
    for seed in range(400):
        index, _, _ = draw(positive, ~positive, 4, 0.5, seed)
        counts[index[0]] += 1
    assert (abs(counts - 200) < 50).all()  # 2 of 4 each time; 50 is five standard deviations

"""Proposals against plain Python: level by level, then the best of all levels."""

import numpy as np

from visionkit import npboxes
from visionkit.layers.proposals import Proposals
from visionkit.ops import anchors as anchor_ops
from visionkit.ops.boxes import decode

SIZE = (64, 96)


def test_equals_plain_python():
    rng = np.random.default_rng(0)
    grids = [anchor_ops.grid((64 // s, 96 // s), s, anchor_ops.shapes_of_ratios([4 * s]), 0.0) for s in (8, 16)]
    total = sum(map(len, grids))
    logits = rng.normal(size=(2, total)).astype(np.float32)
    deltas = rng.normal(scale=0.2, size=(2, total, 4)).astype(np.float32)
    deltas[0, :5, 2] = -20  # no width at all
    boxes, scores = map(np.asarray, Proposals(grids, SIZE, before=100, keep=40)(logits, deltas))
    assert boxes.shape == (2, 40, 4)
    for b in range(2):
        expected, start = [], 0
        for grid in grids:
            part = slice(start, start + len(grid))
            level = np.clip(np.asarray(decode(deltas[b, part], grid, (1, 1, 1, 1))), 0, [96, 64, 96, 64])
            best = np.argsort(-logits[b, part], kind="stable")[:100]
            best = best[(level[best, 2:] - level[best, :2]).min(axis=1) >= 1e-3]
            score = 1 / (1 + np.exp(-logits[b, part]))
            expected += [(score[best[i]], level[best[i]]) for i in npboxes.nms(level[best], score[best], 0.7)]
            start += len(grid)
        expected = sorted(expected, key=lambda row: -row[0])[:40]
        np.testing.assert_allclose(scores[b], [score for score, _ in expected], rtol=1e-5)
        np.testing.assert_allclose(boxes[b], [box for _, box in expected], atol=1e-3)


def test_what_scores_less_than_the_threshold_is_dropped():
    grid = anchor_ops.grid((1, 3), 32, [[16, 16]])
    logits = np.log(np.float32([[0.049, 0.051, 0.9]]) / (1 - np.float32([[0.049, 0.051, 0.9]])))
    propose = Proposals([grid], SIZE, before=5, keep=5, score_threshold=0.05)
    _, scores = propose(logits, np.zeros((1, 3, 4), np.float32))
    np.testing.assert_allclose(scores, [[0.9, 0.051, 0.0]], rtol=1e-5)


def test_what_is_left_over_is_zero_and_sure_background_is_kept():
    grid = anchor_ops.grid((1, 2), 64, [[32, 32]])
    logits, deltas = np.float32([[-200.0, -100.0]]), np.zeros((1, 2, 4), np.float32)
    boxes, scores = map(np.asarray, Proposals([grid], SIZE, before=5, keep=5)(logits, deltas))
    assert boxes.shape == (1, 2, 4)
    assert sorted(boxes[0].tolist()) == [[16, 16, 48, 48], [80, 16, 96, 48]]
    same = np.repeat(grid[:1], 2, axis=0)
    boxes, scores = map(np.asarray, Proposals([same], SIZE, before=5, keep=5)(logits, deltas))
    assert (scores[0] > 0).tolist() == [True, False]
    assert boxes[0, 1].tolist() == [0, 0, 0, 0]

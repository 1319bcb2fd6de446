"""Adaptive training sample selection against the paper's algorithm in plain Python, and the losses' small cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from visionkit import npboxes
from visionkit.ops.anchors import grid
from visionkit.ops.atss import atss
from visionkit.ops.distances import expected, from_distances, to_distances
from visionkit.ops.generalized_focal import distribution_focal_loss, overlaps, quality_focal_loss

LEVELS = (((8, 12), 8), ((4, 6), 16), ((2, 3), 32))  # of an image of 64 x 96
ANCHORS = [grid(size, stride, [[5 * stride] * 2]) for size, stride in LEVELS]
SIZES = tuple(len(level) for level in ANCHORS)


def plainly(boxes, nearest=9):
    """Algorithm 1 of arXiv 1912.02424 for one image: {anchor: object}."""
    every = np.concatenate(ANCHORS)
    centres = (every[:, :2] + every[:, 2:]) / 2
    shares = npboxes.iou(every, boxes)
    claims = {}
    for k, box in enumerate(boxes):
        candidates, start = [], 0
        for size in SIZES:
            far = np.linalg.norm(centres[start : start + size] - (box[:2] + box[2:]) / 2, axis=1)
            candidates += (start + np.argsort(far, kind="stable")[:nearest]).tolist()
            start += size
        threshold = shares[candidates, k].mean() + shares[candidates, k].std(ddof=1)
        for a in candidates:
            if (
                shares[a, k] >= threshold
                and (box[:2] + 0.01 < centres[a]).all()
                and (centres[a] < box[2:] - 0.01).all()
            ):
                claims.setdefault(a, []).append((shares[a, k], k))
    return {a: max(claim)[1] for a, claim in claims.items()}


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6), padding=st.integers(0, 3))
def test_it_is_the_papers_algorithm(seed, count, padding):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, [80, 50], (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, [96, 64] - low)], axis=1).astype(np.float32)
    padded = np.concatenate([boxes, np.zeros((padding, 4), np.float32)])[None]
    valid = (np.arange(count + padding) < count)[None]
    index, positive = map(ops.convert_to_numpy, atss(np.concatenate(ANCHORS), SIZES, padded, valid))
    assert {a: int(index[0, a]) for a in np.flatnonzero(positive[0])} == plainly(boxes)


def test_a_row_that_is_no_target_claims_nothing():
    box = np.float32([[[20, 10, 60, 50]]])
    found = [ops.convert_to_numpy(atss(np.concatenate(ANCHORS), SIZES, box, np.array([[v]]))[1]) for v in (True, False)]
    assert found[0].any() and not found[1].any()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_overlaps_are_those_of_pairs(seed):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (2, 7, 2))
    a, b = np.concatenate([low, low + rng.uniform(1, 50, (2, 7, 2))], axis=-1).astype(np.float32)
    iou, giou = map(ops.convert_to_numpy, overlaps(a, b))
    np.testing.assert_allclose(iou, np.diag(npboxes.iou(a, b)), atol=1e-5)
    assert (giou <= iou + 1e-6).all() and (giou > -1).all()


def test_boxes_far_apart_have_a_giou_below_zero():
    # Two boxes of 100 in one of 40 x 10: union 200, empty share (400 - 200) / 400.
    iou, giou = overlaps(np.float32([0, 0, 10, 10]), np.float32([30, 0, 40, 10]))
    assert (float(iou), float(giou)) == (0, pytest.approx(-0.5))


def test_a_distance_is_the_mean_of_its_bins():
    boxes = np.float32([[10, 20, 50, 45]])
    distances = to_distances(np.float32([[30, 30]]), boxes)
    assert ops.convert_to_numpy(distances).tolist() == [[20, 10, 20, 15]]
    np.testing.assert_array_equal(from_distances(np.float32([[30, 30]]), distances), boxes)
    logits = np.log(np.float32([[0.25, 0.25, 0.5], [1e-9, 1, 1e-9]]))
    np.testing.assert_allclose(expected(logits), [1.25, 1.0], atol=1e-6)


def test_the_loss_of_bins_weighs_the_two_neighbours():
    logits = np.log(np.float32([0.1, 0.2, 0.7]))
    # 1.25 is three quarters bin 1 and one quarter bin 2
    expected_loss = -0.75 * np.log(0.2) - 0.25 * np.log(0.7)
    assert float(distribution_focal_loss(logits, np.float32(1.25))) == pytest.approx(expected_loss, rel=1e-5)


def test_the_loss_of_classes_is_least_at_the_quality():
    logits = np.linspace(-6, 6, 1201, dtype=np.float32)
    for quality in (0.0, 0.3, 0.8):
        loss = ops.convert_to_numpy(quality_focal_loss(logits, np.full_like(logits, quality)))
        assert 1 / (1 + np.exp(-logits[loss.argmin()])) == pytest.approx(max(quality, 0.0025), abs=1e-3)
    # At probability 0.5 and quality 0: ln 2 times 0.5 squared.
    assert float(quality_focal_loss(np.float32(0), np.float32(0))) == pytest.approx(np.log(2) / 4)

"""Segmentation scores by hand and against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionkit.metrics.segmentation import SegmentationMetric, boundary_f1
from visionkit.types import DataError


def scored(*pairs, class_names="abc"):
    metric = SegmentationMetric(class_names)
    for truth, predicted in pairs:
        metric.update(np.int32(truth), np.int32(predicted))
    return metric.result()


def test_by_hand():
    # a: 2 true, 3 said, 2 right -> IoU 2/3. b: 3 true, 2 said, 2 right -> 2/3. c: nowhere. One pixel is ignored.
    numbers = scored(([[0, 0, 1], [1, 1, 255]], [[0, 0, 1], [1, 0, 2]]))
    assert numbers["mIoU"] == pytest.approx(2 / 3)
    assert numbers["pixel_accuracy"] == pytest.approx(4 / 5)
    assert numbers["mean_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert numbers["per_class"]["c"] == {"IoU": -1, "accuracy": -1, "boundary_f1": -1, "pixels": 0}
    assert numbers["per_class"]["a"]["pixels"] == 2


def test_a_class_that_is_only_invented_counts_as_zero():
    # c is said once and never true: IoU 0 and in the mean; it has no accuracy. a: 3/4.
    numbers = scored(([[0, 0], [0, 0]], [[0, 0], [0, 2]]))
    assert numbers["mIoU"] == pytest.approx((3 / 4 + 0) / 2)
    assert numbers["mean_accuracy"] == pytest.approx(3 / 4)


def test_one_matrix_over_the_set_not_a_mean_of_images():
    # Image 1 (1 pixel) is all wrong, image 2 (9 pixels) all right: class a has IoU 9/10, the mean of images were 1/2.
    numbers = scored(([[0]], [[1]]), (np.zeros((3, 3)), np.zeros((3, 3))))
    assert numbers["per_class"]["a"]["IoU"] == pytest.approx(9 / 10)
    assert numbers["images"] == 2


def test_nothing_counts():
    numbers = scored((np.full((2, 2), 255), np.zeros((2, 2))))
    assert (numbers["mIoU"], numbers["pixel_accuracy"], numbers["boundary_f1"]) == (-1, -1, -1)
    assert scored()["mIoU"] == -1


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
def test_equals_plain_python(seed, k, images):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(images):
        shape = tuple(rng.integers(1, 6, 2))
        pairs.append((rng.choice([*range(k), 255], shape), rng.integers(0, k, shape)))
    numbers = scored(*pairs, class_names=[str(c) for c in range(k)])
    pixels = [(t, p) for truth, said in pairs for t, p in zip(truth.flat, said.flat, strict=True) if t != 255]
    ious = {}
    for c in range(k):
        union = sum(c in pixel for pixel in pixels)
        if union:
            ious[c] = sum(pixel == (c, c) for pixel in pixels) / union
        assert numbers["per_class"][str(c)]["IoU"] == pytest.approx(ious.get(c, -1))
    assert numbers["mIoU"] == pytest.approx(np.mean(list(ious.values())) if ious else -1)
    assert numbers["pixel_accuracy"] == pytest.approx(np.mean([t == p for t, p in pixels]) if pixels else -1)


def square(top, left, side=10, size=40):
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_boundary_f1_by_hand():
    assert boundary_f1(square(10, 10), square(10, 10), reach=0) == 1
    assert boundary_f1(square(10, 10), square(10, 12), reach=2) == 1  # moved by two, two are allowed
    # Reach 0: the outlines are rings of 36 pixels; moved by 2 they share the top and bottom rows' 8 columns each.
    assert boundary_f1(square(10, 10), square(10, 12), reach=0) == pytest.approx(16 / 36)
    assert boundary_f1(square(0, 0), square(25, 25), reach=3) == 0
    assert boundary_f1(square(10, 10), square(10, 10) & False, reach=3) == 0
    assert boundary_f1(np.ones((5, 5), bool), np.ones((5, 5), bool), reach=1) is None  # no outline on either side


def test_boundary_f1_leaves_the_unknown_out():
    truth, counts = square(10, 10), np.ones((40, 40), bool)
    counts[:, 15:] = False  # the right half of the square is unknown, and whatever is said of it
    predicted = truth.copy()
    predicted[10:20, 20:30] = True
    assert boundary_f1(truth, predicted, 0, counts) == 1
    assert boundary_f1(truth, predicted, 0) < 1


@settings(max_examples=30)
@given(arrays(bool, (9, 11)), arrays(bool, (9, 11)), st.integers(0, 3))
def test_boundary_f1_equals_plain_python(truth, predicted, reach):
    def outline(mask):
        for y, x in np.argwhere(mask):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            if any(0 <= v < 9 and 0 <= u < 11 and not mask[v, u] for v, u in around):
                yield y, x

    def near(these, those):
        return np.mean([any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in those) for y, x in these])

    a, b = list(outline(truth)), list(outline(predicted))
    if not a and not b:
        expected = None
    elif not a or not b:
        expected = 0
    else:
        recall, precision = near(a, b), near(b, a)
        expected = 2 * recall * precision / (recall + precision) if recall + precision else 0
    assert boundary_f1(truth, predicted, reach) == (expected if expected is None else pytest.approx(expected))


def test_tolerance_grows_with_the_image():
    # 0.0075 of the diagonal of 375x500 (625) is 4.7, so 5 pixels: a square moved by 5 agrees, one moved by 6 does not.
    def moved(by):
        truth, said = np.zeros((2, 375, 500), np.int32)
        truth[100:200, 100:200] = 1
        said[100:200, 100 + by : 200 + by] = 1
        return scored((truth, said), class_names="ab")["boundary_f1"]

    assert moved(5) == 1
    assert 0.5 < moved(6) < 1


def test_errors():
    with pytest.raises(DataError, match=r"one size, found \(2, 2\) and \(3, 2\)"):
        scored((np.zeros((2, 2)), np.zeros((3, 2))))
    with pytest.raises(DataError, match=r"true map: expected class ids 0..2, found 7..7"):
        scored(([[7]], [[0]]))
    with pytest.raises(DataError, match=r"predicted map: expected class ids 0..2, found 255..255"):
        scored(([[0]], [[255]]))

"""Which boxes no anchor fits, by brute force, and anchors fitted to boxes of known shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit import npboxes
from visionkit.data import anchors
from visionkit.data.dataset import Dataset
from visionkit.data.transforms import detection_eval
from visionkit.ops.anchors import grid, shapes_of_ratios, shapes_of_scales
from visionkit.types import DataError, Sample

SIZE = (160, 224)


def drawn_boxes(sides, ratios, count=300, seed=0):
    """Boxes of these shapes, anywhere in a large image."""
    rng = np.random.default_rng(seed)
    side, ratio = rng.choice(sides, count), rng.choice(ratios, count)
    size = np.stack([side * ratio**0.5, side / ratio**0.5], axis=1)
    low = rng.uniform(0, 300, (count, 2))
    return np.concatenate([low, low + size], axis=1).astype(np.float32)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 30))
def test_best_overlap_is_the_greatest_iou(seed, n, a):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (n + a, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 60, (n + a, 2))], axis=1).astype(np.float32)
    expected = npboxes.iou(boxes[:n], boxes[n:]).max(axis=1, initial=0)
    np.testing.assert_allclose(anchors.best_overlap(boxes[:n], boxes[n:]), expected, atol=1e-5)
    np.testing.assert_allclose(anchors.best_overlap(boxes[:n], boxes), 1, atol=1e-5)


def data(boxes, labels=None, size=SIZE, **fields):
    """A data set of one image, whose pixels are random."""
    boxes = np.float32(boxes).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int32) if labels is None else np.int32(labels)
    image = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    record = Sample(id="a", image_size=size, image=image, boxes=boxes, labels=labels, **fields)
    return Dataset([record], ["cell", "rod"], lambda record: record)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(96, 96), (64, 192), (320, 224)])
def test_boxes_lie_where_the_evaluation_sees_them(resize, size):
    boxes = [[0, 0, 224, 160], [30, 20, 90, 151], [100, 50, 130, 60]]
    crowd = np.array([False, False, True])
    dataset = data(boxes, [1, 0, 1], ignore=crowd)
    seen = detection_eval(size, resize)(dataset[0], 0)
    found, labels = anchors.network_boxes(dataset, size, resize)
    np.testing.assert_allclose(found, seen.boxes[~seen.ignore], atol=1e-3)
    assert labels.tolist() == [1, 0]


def test_the_report_names_share_classes_and_sizes():
    square = grid((10, 14), 16, shapes_of_scales((32, 64), (1.0,)))  # squares of 32 and 45 pixels
    rods = [[x, 40, x + 4, 48] for x in range(20, 60, 10)]
    cells = [[40, 40, 72, 72], [88, 56, 120, 88]]
    text = anchors.anchor_report(data(cells + rods, [0, 0, 1, 1, 1, 1]), square, SIZE)
    assert text.splitlines() == [
        "anchors: 66.7% of 6 objects have none of IoU >= 0.5 at 160x224; each of these trains only its best anchor",
        "  most of these are: rod (100% of its objects)",
        "  their sides are 6..6 pixels (median 6), anchors have 32..45",
        "  a larger image_size, or a finer level such as C2 would help; visionkit.data.anchors fits anchors to boxes",
    ]
    good = anchors.anchor_report(data(cells), square, SIZE)
    assert good == "anchors: 0.0% of 2 objects have none of IoU >= 0.5 at 160x224"
    assert "no object" in anchors.anchor_report(data([]), square, SIZE)


def test_known_shapes_are_found_again():
    boxes = drawn_boxes([12, 40, 90, 200], [0.4, 1.0, 2.5])
    fitted = anchors.fit_ssd_anchors(boxes, (4, 8, 16, 32))
    np.testing.assert_allclose(fitted["anchor_sizes"], [12, 40, 90, 200, 400], rtol=0.01)
    np.testing.assert_allclose(sorted(fitted["aspect_ratios"]), [0.4, 1, 1, 2.5], rtol=0.01)
    # Boxes of 5 strides at every level: one scale fits them all.
    boxes = drawn_boxes([5 * 4, 5 * 8, 5 * 16, 5 * 32], [0.5, 3.0])
    fitted = anchors.fit_rcnn_anchors(boxes, (4, 8, 16, 32), scales=1, ratios=2)
    np.testing.assert_allclose(fitted["anchor_scales"], [5], rtol=0.01)
    np.testing.assert_allclose(fitted["aspect_ratios"], [0.5, 3], rtol=0.01)


# Always the same draws: where a quantile falls just between two clusters, round-off decides which of them it joins.
@settings(max_examples=20, derandomize=True)
@given(st.lists(st.floats(8, 200), min_size=1, max_size=4), st.integers(0, 1000), st.floats(0.5, 3))
def test_sizes_grow_with_the_boxes_and_stay_large_beside_their_cells(sides, seed, factor):
    boxes = drawn_boxes(sides, [0.5, 1, 2], count=60, seed=seed)
    strides = (8, 16, 32)
    sizes = np.array(anchors.fit_ssd_anchors(boxes, strides)["anchor_sizes"])
    assert (np.diff(sizes) >= 0).all()
    assert (sizes[1:3] >= 2.6 * np.array(strides[1:])).all()
    scaled = np.array(anchors.fit_ssd_anchors(boxes * factor, [s * factor for s in strides])["anchor_sizes"])
    np.testing.assert_allclose(scaled, sizes * factor, rtol=0.02, atol=0.2)


def test_fitted_anchors_overlap_more_than_the_defaults():
    boxes = drawn_boxes([14, 20, 70], [0.3, 0.4, 3.0], seed=3)
    strides = (8, 16, 32, 64)

    def mean_of_ssd(anchor_sizes, aspect_ratios):
        shapes = [shapes_of_scales(anchor_sizes[i : i + 2], aspect_ratios) for i in range(4)]
        both = zip(strides, shapes, strict=True)
        grids = [grid((384 // stride, 384 // stride), stride, shape) for stride, shape in both]
        return anchors.best_overlap(boxes[:60], np.concatenate(grids)).mean(), grids

    usual, grids = mean_of_ssd((24, 48, 96, 192, 384), (1.0, 2.0, 0.5, 3.0, 1 / 3))
    fitted, better = mean_of_ssd(**anchors.fit_ssd_anchors(boxes, strides, ratios=4))
    assert fitted > usual + 0.05
    assert sum(map(len, grids)) == sum(map(len, better))

    def mean_of_rcnn(anchor_scales, aspect_ratios):
        grids = [
            grid((384 // s, 384 // s), s, shapes_of_ratios([k * s for k in anchor_scales], aspect_ratios), offset=0)
            for s in strides
        ]
        return anchors.best_overlap(boxes[:60], np.concatenate(grids)).mean()

    assert mean_of_rcnn(**anchors.fit_rcnn_anchors(boxes, strides)) > mean_of_rcnn((8.0,), (2.0, 1.0, 0.5)) + 0.05


def test_nothing_to_fit_is_said():
    with pytest.raises(DataError, match="no boxes to fit anchors to"):
        anchors.fit_rcnn_anchors(np.empty((0, 4), np.float32), (4, 8))

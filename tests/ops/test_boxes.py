"""ops.boxes and npboxes hold each other, and pixel counting holds both."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops
from support.strategies import pixel_boxes

from visionkit import npboxes
from visionkit.ops import boxes as box_ops

SIZE = (48, 64)  # not square on purpose: swapped axes must show
quick = settings(max_examples=50)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def painted(box):
    canvas = np.zeros(SIZE, bool)
    x1, y1, x2, y2 = box.astype(int)
    canvas[y1:y2, x1:x2] = True
    return canvas


@quick
@given(pixel_boxes(), pixel_boxes())
def test_iou_is_shared_pixels_over_covered_pixels(a, b):
    expected = [[(painted(p) & painted(q)).sum() / (painted(p) | painted(q)).sum() for q in b] for p in a]
    np.testing.assert_allclose(npboxes.iou(a, b), expected, atol=1e-6)
    np.testing.assert_allclose(numpy(box_ops.iou(a, b)), expected, atol=1e-6)


@quick
@given(pixel_boxes(), pixel_boxes())
def test_decode_inverts_encode(boxes, anchors):
    sides, of = (np.maximum(x[:, 2:] - x[:, :2], 1e-6) for x in (boxes, anchors))
    assume((sides / of <= 62).all())  # a box may be 1000 / 16 = 62.5 times its anchor
    got = numpy(box_ops.decode(box_ops.encode(boxes, anchors), ops.convert_to_tensor(anchors)))
    np.testing.assert_allclose(got, boxes, atol=1e-3)


def test_encode_by_hand():
    # Anchor 10x20 at centre (5, 10), box 20x20 at centre (10, 10): dx = 5/10/0.1, dw = log(20/10)/0.2.
    deltas = numpy(box_ops.encode(np.float32([[0, 0, 20, 20]]), np.float32([[0, 0, 10, 20]])))
    np.testing.assert_allclose(deltas, [[5.0, 0.0, np.log(2) / 0.2, 0.0]], rtol=1e-5, atol=1e-6)


def test_decode_of_absurd_deltas_is_finite():
    boxes = numpy(box_ops.decode(np.full((1, 4), 1e4, np.float32), ops.convert_to_tensor(np.float32([[0, 0, 8, 8]]))))
    assert np.isfinite(boxes).all()
    assert boxes[0, 2] - boxes[0, 0] == pytest.approx(8 * 1000 / 16, rel=1e-4)


@quick
@given(pixel_boxes())
def test_foreign_formats_round_trip(boxes):
    pairs = [
        (npboxes.from_xywh, npboxes.to_xywh, ()),
        (npboxes.from_voc, npboxes.to_voc, ()),
        (npboxes.from_yolo, npboxes.to_yolo, (SIZE,)),
        (npboxes.from_tf, npboxes.to_tf, (SIZE,)),
    ]
    for there, back, args in pairs:
        np.testing.assert_allclose(there(back(boxes, *args), *args), boxes, atol=1e-4, err_msg=there.__name__)


def test_foreign_formats_by_hand():
    # The box covers columns 8..31 and rows 12..23 of an image 48 high and 64 wide.
    ours = np.float32([[8, 12, 32, 24]])
    np.testing.assert_allclose(npboxes.to_xywh(ours), [[8, 12, 24, 12]])
    np.testing.assert_allclose(npboxes.to_voc(ours), [[9, 13, 32, 24]])
    np.testing.assert_allclose(npboxes.to_yolo(ours, SIZE), [[20 / 64, 18 / 48, 24 / 64, 12 / 48]])
    np.testing.assert_allclose(npboxes.to_tf(ours, SIZE), [[12 / 48, 8 / 64, 24 / 48, 32 / 64]])


@quick
@given(pixel_boxes(count=3))
def test_box_of_a_mask_is_the_box_that_was_painted(boxes):
    masks = np.stack([painted(box) for box in boxes]).astype(np.uint8)
    np.testing.assert_array_equal(npboxes.of_masks(masks), boxes)
    assert npboxes.of_masks(np.zeros((1, *SIZE), np.uint8)).tolist() == [[0, 0, 0, 0]]


@quick
@given(st.lists(st.floats(-100, 200), min_size=4, max_size=4))
def test_clip_keeps_boxes_inside(values):
    box = np.float32([values])
    expected = [[min(max(v, 0), side) for v, side in zip(values, (64, 48, 64, 48), strict=True)]]
    np.testing.assert_allclose(npboxes.clip(box, SIZE), expected, atol=1e-4)
    np.testing.assert_allclose(numpy(box_ops.clip(ops.convert_to_tensor(box), SIZE)), expected, atol=1e-4)

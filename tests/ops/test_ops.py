"""Anchors, matching and losses: exact small cases, the arithmetic in the comments."""

import numpy as np
from keras import ops

from visionkit.ops import anchors
from visionkit.ops.losses import hardest, smooth_l1, softmax_cross_entropy
from visionkit.ops.matching import match


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_anchor_shapes_of_the_ssd_paper():
    # SSD300's conv7 level: s = 60, next 111: 60, sqrt(60 * 111) = 81.6, 60 * sqrt 2 = 84.9 by 42.4, and upright.
    shapes = anchors.shapes_of_scales((60, 111))
    np.testing.assert_allclose(
        shapes, [[60, 60], [81.6088, 81.6088], [84.8528, 42.4264], [42.4264, 84.8528]], rtol=1e-5
    )


def test_anchor_grid_is_row_by_row_with_a_cells_anchors_together():
    boxes = anchors.grid((2, 3), 8, [[4, 2], [8, 8]])
    assert boxes.shape == (12, 4)
    # Cell (0, 0) is centred at (4, 4); cell (0, 1) at (12, 4); cell (1, 0) at (4, 12).
    assert boxes[0].tolist() == [2, 3, 6, 5]
    assert boxes[1].tolist() == [0, 0, 8, 8]
    assert boxes[2].tolist() == [10, 3, 14, 5]
    assert boxes[6].tolist() == [2, 11, 6, 13]


def test_anchor_shapes_of_faster_rcnn_are_torchvisions():
    # 32 at height / width 0.5, 1, 2: half sides 22.63 / 2 -> 11, 45.25 / 2 -> 23, 16.
    assert anchors.shapes_of_ratios([32]).tolist() == [[46, 22], [32, 32], [22, 46]]
    assert anchors.shapes_of_ratios([16, 32], [1.0]).tolist() == [[16, 16], [32, 32]]
    boxes = anchors.grid((2, 2), (4, 5), [[46, 22]], offset=0.0)
    assert boxes[0].tolist() == [-23, -11, 23, 11]
    assert boxes[3].tolist() == [-18, -7, 28, 15]


def test_tied_anchors_all_answer_for_the_object_they_overlap_most():
    # Object 1's best anchors are 1 and 2, equally good; anchor 2 overlaps object 0 more. Object 2 overlaps none.
    overlap = np.float32([[[0.8, 0.0, 0.0], [0.1, 0.4, 0.0], [0.5, 0.4, 0.0], [0.0, 0.1, 0.0]]])
    rule = {"positive_iou": 0.7, "negative_iou": 0.3, "ties": True}
    index, positive, negative = map(numpy, match(overlap, np.array([[True, True, True]]), **rule))
    assert positive[0].tolist() == [True, True, True, False]
    assert negative[0].tolist() == [False, False, False, True]
    assert index[0][:3].tolist() == [0, 1, 0]


def test_matching_by_threshold_and_by_claim():
    # Anchors 0..3, objects 0..2, object 2 is padding. Object 1 overlaps nothing by half: it claims anchor 2.
    overlap = np.float32([[[0.6, 0.1, 0.9], [0.45, 0.2, 0.0], [0.0, 0.3, 0.0], [0.2, 0.1, 0.0]]])
    valid = np.array([[True, True, False]])
    index, positive, negative = map(numpy, match(overlap, valid, positive_iou=0.5, negative_iou=0.4))
    assert positive[0].tolist() == [True, False, True, False]
    assert index[0][[0, 2]].tolist() == [0, 1]
    assert negative[0].tolist() == [False, False, False, True]  # anchor 1 is between the thresholds


def test_two_objects_claiming_one_anchor_leave_it_to_the_closer():
    overlap = np.float32([[[0.3, 0.4], [0.1, 0.1]]])
    index, positive, _ = map(numpy, match(overlap, np.array([[True, True]])))
    assert positive[0].tolist() == [True, False]
    assert index[0, 0] == 1


def test_nothing_to_match_makes_everything_negative():
    _, positive, negative = map(numpy, match(np.zeros((1, 3, 2), np.float32), np.zeros((1, 2), bool)))
    assert not positive.any()
    assert negative.all()


def test_an_object_that_overlaps_no_anchor_claims_only_one():
    _, positive, _ = map(numpy, match(np.zeros((1, 4, 1), np.float32), np.array([[True]])))
    assert positive.sum() == 1


def test_smooth_l1_by_hand():
    # Below beta 0.5 d^2 / beta, above |d| - beta / 2.
    got = numpy(smooth_l1(ops.convert_to_tensor([0.5, -2.0, 0.05]), beta=1.0))
    np.testing.assert_allclose(got, [0.125, 1.5, 0.00125], rtol=1e-5)
    np.testing.assert_allclose(numpy(smooth_l1(ops.convert_to_tensor([0.5]), beta=1 / 9)), [0.5 - 1 / 18], rtol=1e-5)


def test_cross_entropy_by_hand_and_for_huge_logits():
    got = numpy(
        softmax_cross_entropy(ops.convert_to_tensor([[0.0, 0.0], [1000.0, 0.0]]), ops.convert_to_tensor([1, 1]))
    )
    np.testing.assert_allclose(got, [np.log(2), 1000.0], rtol=1e-6)


def test_hardest_takes_the_greatest_losses_among_the_candidates():
    loss = np.float32([[5, 4, 3, 2], [1, 2, 3, 4]])
    candidates = np.array([[False, True, True, True], [True, True, False, False]])
    got = numpy(hardest(ops.convert_to_tensor(loss), ops.convert_to_tensor(candidates), ops.convert_to_tensor([2, 3])))
    assert got.tolist() == [[False, True, True, False], [True, True, False, False]]

"""The static NMS against greedy NMS in plain Python."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from strategies import pixel_boxes

from visionkit import npboxes
from visionkit.ops.nms import joint_nms, per_class_nms


def run(boxes, scores, **options):
    options = {"score_threshold": 0.05, "iou_threshold": 0.5, "top_k": 50, "keep": 20} | options
    found = per_class_nms(ops.convert_to_tensor(boxes), ops.convert_to_tensor(scores), **options)
    return {key: ops.convert_to_numpy(value) for key, value in found.items()}


def greedy(boxes, scores, score_threshold=0.05, iou_threshold=0.5, keep=20):
    """[(score, class, box)] by falling score: class by class, candidate by candidate."""
    rows = []
    for k in range(scores.shape[1]):
        candidates = np.flatnonzero(scores[:, k] > score_threshold)
        for i in npboxes.nms(boxes[candidates], scores[candidates, k], iou_threshold):
            rows.append((scores[candidates[i], k], k, boxes[candidates[i]].tolist()))
    return sorted(rows, key=lambda row: -row[0])[:keep]


@settings(max_examples=60, deadline=None)
@given(pixel_boxes(count=12), st.permutations(range(24)), st.sampled_from([0.3, 0.5, 0.7]))
def test_equals_plain_python(boxes, order, threshold):
    scores = (np.array(order, np.float32).reshape(12, 2) + 1) / 25  # all different, so that the order is defined
    found = run(boxes[None], scores[None], iou_threshold=threshold)
    expected = greedy(boxes, scores, iou_threshold=threshold)
    n = len(expected)
    got = list(zip(found["scores"][0, :n], found["labels"][0, :n], found["boxes"][0, :n].tolist(), strict=True))
    assert got == expected
    assert (found["labels"][0, n:] == -1).all()
    assert (found["scores"][0, n:] == 0).all()
    assert (found["boxes"][0, n:] == 0).all()


def test_a_chain_is_settled_in_order():
    # Each box overlaps the next by 2/3 of its width (IoU 0.5): the first removes the second, which then no longer
    # removes the third, and so on: every second one stays, however long the chain.
    x = np.arange(20, dtype=np.float32) * 4
    boxes = np.stack([x, np.zeros(20), x + 12, np.full(20, 10)], axis=1).astype(np.float32)
    scores = np.linspace(0.9, 0.1, 20, dtype=np.float32)[:, None]
    found = run(boxes[None], scores[None], iou_threshold=0.45)
    assert found["index"][0, :10].tolist() == list(range(0, 20, 2))
    assert found["labels"][0].tolist() == [0] * 10 + [-1] * 10


def test_each_image_of_a_batch_stands_alone_and_nothing_found_is_all_padding():
    boxes = np.float32([[[0, 0, 9, 9], [0, 0, 9, 10]], [[5, 5, 9, 9], [5, 5, 9, 9]]])
    scores = np.float32([[[0.9], [0.8]], [[0.01], [0.02]]])
    found = run(boxes, scores)
    assert found["labels"].tolist() == [[0, -1], [-1, -1]]
    assert found["scores"].tolist() == [[np.float32(0.9), 0], [0, 0]]


def test_equal_scores_keep_the_earlier_box():
    boxes = np.float32([[[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]]])
    found = run(boxes, np.full((1, 3, 1), 0.5, np.float32))
    assert found["index"][0, :2].tolist() == [0, 2]


def test_boxes_of_their_own_for_every_class():
    # Box n of class k is 10 px wide at x = 100 * k + 20 * n.
    x = np.float32([[100 * k + 20 * n for k in range(3)] for n in range(2)])
    boxes = np.stack([x, 0 * x, x + 10, 0 * x + 10], axis=-1)[None]  # [1, 2, 3, 4]
    scores = np.float32([[[0.9, 0.1, 0.6], [0.2, 0.8, 0.7]]])
    found = run(boxes, scores)
    assert found["boxes"][0, :, 0].tolist() == [0, 120, 220, 200, 20, 100]
    assert found["labels"][0].tolist() == [0, 1, 2, 2, 0, 1]


def test_top_k_bounds_the_candidates_of_a_class():
    boxes = np.float32([[[20 * i, 0, 20 * i + 10, 10] for i in range(6)]])
    found = run(boxes, np.linspace(0.9, 0.4, 6, dtype=np.float32)[None, :, None], top_k=2)
    assert found["index"][0].tolist() == [0, 1]


@settings(max_examples=30, deadline=None)
@given(pixel_boxes(count=12), st.permutations(range(24)), st.sampled_from([0.3, 0.7]))
def test_candidates_of_all_classes_together_equal_plain_python(boxes, order, threshold):
    scores = (np.array(order, np.float32).reshape(12, 2) + 1) / 25
    own = np.repeat(boxes[None, :, None], 2, axis=2)  # [1, 12, 2, 4]: the same box for both classes
    options = {"score_threshold": 0.05, "iou_threshold": threshold, "top_k": 24, "keep": 20}
    found = joint_nms(ops.convert_to_tensor(own), ops.convert_to_tensor(scores[None]), **options)
    found = {key: ops.convert_to_numpy(value)[0] for key, value in found.items()}
    expected = greedy(boxes, scores, iou_threshold=threshold)
    n = len(expected)
    assert list(zip(found["scores"][:n], found["labels"][:n], found["boxes"][:n].tolist(), strict=True)) == expected
    assert (boxes[found["index"][:n]] == found["boxes"][:n]).all()
    assert (found["labels"][n:] == -1).all()

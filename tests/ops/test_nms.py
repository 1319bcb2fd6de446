"""The static NMS against greedy NMS in plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from support.strategies import pixel_boxes

from visionkit import npboxes
from visionkit.ops.nms import BLOCK, best, nms


def run(boxes, scores, score_threshold=0.05, iou_threshold=0.5, top_k=100, keep=20):
    """The detections for boxes `[B, N, 4]` and scores `[B, N, K]`; "index" is their row in `boxes`."""
    ranked, row, labels = best(ops.convert_to_tensor(scores), score_threshold, top_k)
    candidates = ops.take_along_axis(ops.convert_to_tensor(boxes), row[..., None], axis=1)
    found = nms(candidates, ranked, labels, iou_threshold, keep)
    found["index"] = ops.take_along_axis(row, found["index"], axis=1)
    return {key: ops.convert_to_numpy(value) for key, value in found.items()}


def greedy(boxes, scores, score_threshold=0.05, iou_threshold=0.5, keep=20):
    """[(score, class, box)] by falling score: class by class, candidate by candidate."""
    rows = []
    for k in range(scores.shape[1]):
        candidates = np.flatnonzero(scores[:, k] > score_threshold)
        for i in npboxes.nms(boxes[candidates], scores[candidates, k], iou_threshold):
            rows.append((scores[candidates[i], k], k, boxes[candidates[i]].tolist()))
    return sorted(rows, key=lambda row: -row[0])[:keep]


@settings(max_examples=60)
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


def test_top_k_bounds_the_candidates_of_all_classes():
    boxes = np.float32([[[20 * i, 0, 20 * i + 10, 10] for i in range(6)]])
    found = run(boxes, np.linspace(0.9, 0.4, 12, dtype=np.float32).reshape(1, 6, 2), top_k=3)
    assert found["index"][0].tolist() == [0, 0, 1]
    assert found["labels"][0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(("keep", "spread"), [(20, 60), (300, 60), (300, 400)])
def test_more_candidates_than_a_block_and_images_that_end_at_different_blocks(keep, spread):
    """Crowded boxes, so that later blocks are needed; the second image has few candidates, the third none."""
    rng = np.random.default_rng(0)
    n, classes = 3 * BLOCK // 2 + 7, 2
    low = rng.uniform(0, spread, (3, n, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 40, (3, n, 2))], axis=-1).astype(np.float32)
    scores = (rng.permutation(3 * n * classes).reshape(3, n, classes) + 1).astype(np.float32) / (3 * n * classes + 1)
    scores[1, 30:] = scores[2] = 0
    found = run(boxes, scores, score_threshold=0.0, top_k=n * classes, keep=keep)
    for i in range(3):
        expected = greedy(boxes[i], scores[i], score_threshold=0.0, keep=keep)
        rows = zip(found["scores"][i], found["labels"][i], found["boxes"][i].tolist(), strict=True)
        assert list(rows)[: len(expected)] == expected
        assert (found["labels"][i, len(expected) :] == -1).all()
        assert (found["scores"][i, len(expected) :] == 0).all()


def test_small_boxes_are_dropped_and_suppress_nothing():
    boxes = np.float32([[[0, 0, 10, 0.5], [0, 0, 10, 0.6], [0, 0, 10, 1]]])
    found = nms(*map(ops.convert_to_tensor, (boxes, np.float32([[0.9, 0.8, 0.7]]), np.int32([[0, 0, 0]]))), 0.1, 3, 0.6)
    assert found["index"][0, 0] == 1
    assert ops.convert_to_numpy(found["labels"]).tolist() == [[0, -1, -1]]

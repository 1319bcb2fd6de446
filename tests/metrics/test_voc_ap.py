"""VOC average precision: worked cases, a plain Python ranking, and a published example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import SHARED

from visionkit import npboxes
from visionkit.metrics.voc_ap import average_precision, voc_ap
from visionkit.types import Detections, Sample

REFERENCE = SHARED / "data/detection/metric_refs/voc_ap_sample2"
SIZE = (100, 100)


def image(boxes, found, scores, labels=None, found_labels=None, ignore=None, name="a"):
    """One (Sample, Detections) pair from lists."""
    boxes, found = np.float32(boxes).reshape(-1, 4), np.float32(found).reshape(-1, 4)
    sample = Sample(
        id=name,
        image_size=SIZE,
        boxes=boxes,
        labels=np.int32([0] * len(boxes) if labels is None else labels),
        ignore=None if ignore is None else np.array(ignore, bool),
    )
    labels = np.int32([0] * len(found) if found_labels is None else found_labels)
    return sample, Detections(id=name, image_size=SIZE, boxes=found, scores=np.float32(scores), labels=labels)


def ap(pairs, **options):
    """Average precision of class 0."""
    return voc_ap(pairs, num_classes=1, **options)[0]


A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [60, 60, 70, 70]


def test_worked_case():
    # Ranking: hit, mistake, hit of 2 objects. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1; enveloped 1, 2/3, 2/3.
    pairs = [image([A, B], [A, FAR, B], [0.9, 0.8, 0.7])]
    assert ap(pairs) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # Recall 0, .1 ... .5 (6 points) sees precision 1, recall .6 ... 1 (5 points) sees 2/3.
    assert ap(pairs, eleven_point=True) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_recall_reached_exactly_counts():
    # 3 of 10 objects found at precision 1: the points 0, .1, .2 AND .3 see it, though 3 * 0.1 > 0.3 in floats.
    assert average_precision(np.array([True] * 3), 10, eleven_point=True) == pytest.approx(4 / 11)
    assert average_precision(np.array([True] * 3), 10) == pytest.approx(3 / 10)


def test_second_detection_of_an_object_is_a_mistake():
    # Its best object is taken: a mistake between the two hits, so 1/2 * 1 + 1/2 * 2/3, as in the worked case.
    assert ap([image([A, B], [A, A, B], [0.9, 0.8, 0.7])]) == pytest.approx(5 / 6)


def test_taken_object_does_not_free_the_next_best():
    # Both detections overlap the first object most (8/12 = .67 with it, 6/14 = .43 with the other one). VOC counts
    # the second as a mistake, COCO would give it the second object at threshold 0.4.
    near = [[0, 0, 10, 10], [4, 0, 14, 10]]
    found = [[2, 0, 10, 10], [1, 0, 11, 10]]
    assert npboxes.iou(np.float32(found), np.float32(near)).argmax(axis=1).tolist() == [0, 0]
    assert ap([image(near, found, [0.9, 0.8])], iou_threshold=0.4) == pytest.approx(0.5)


def test_difficult_is_neither_missed_nor_a_mistake():
    # B is difficult: 1 object to find. Its detection, the best scored, vanishes and A is a hit at precision 1.
    pairs = [image([A, B], [B, A], [0.9, 0.8], ignore=[False, True])]
    assert ap(pairs) == 1.0
    assert ap([image([A, B], [B, A], [0.9, 0.8])]) == 1.0
    assert ap([image([A, B], [A], [0.9])]) == 0.5  # without `difficult` B is missed


def test_nothing_there_nothing_found():
    assert ap([image([], [A], [0.9])]) == -1.0  # no object of the class: undefined
    assert ap([image([A], [], [])]) == 0.0
    assert ap([image([A], [], [])], eleven_point=True) == 0.0
    assert ap([]) == -1.0


def test_classes_are_apart():
    # Class 1 is found where class 0 is, so both are wrong; class 2 is right; class 3 does not occur.
    pairs = [image([A, B, FAR], [A, B, FAR, A], [0.9, 0.8, 0.7, 0.6], [0, 0, 2], [1, 1, 2, 3])]
    pairs.append(image([A], [A], [0.5], [1], [1], name="b"))
    # Class 1: two mistakes, then a hit of one object: precision 1/3 at recall 1.
    assert voc_ap(pairs, 4).tolist() == pytest.approx([0, 1 / 3, 1, -1])


def test_inclusive_pixels_change_the_overlap():
    # [0, 0, 1, 1] and [0, 0, 1, 3] overlap 1/3; with +1 they are 2x2 and 2x4 pixels: 4/8.
    pairs = [image([[0, 0, 1, 3]], [[0, 0, 1, 1]], [0.9])]
    assert ap(pairs) == 0.0
    assert ap(pairs, inclusive_pixels=True) == 1.0


boxes = st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(4, 9)] * 2), max_size=5)


@settings(max_examples=60)
@given(st.lists(st.tuples(boxes, boxes), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_equals_plain_python(images, random):
    pairs = []
    for i, (objects, found) in enumerate(images):
        scores = sorted((random.random() for _ in found), reverse=True)
        difficult = [random.random() < 0.2 for _ in objects]
        pair = [[[x, y, x + w, y + h] for x, y, w, h in side] for side in (objects, found)]
        pairs.append(image(*pair, scores, ignore=difficult, name=str(i)))
    ranking = sorted(
        [(-float(score), i, j) for i, (_, d) in enumerate(pairs) for j, score in enumerate(d.scores)]
    )  # the whole set in one ranking, as the development kit does it
    total = sum(not flag for s, _ in pairs for flag in s.ignore)
    taken, curve, hits, misses = set(), [], 0, 0
    for _, i, j in ranking:
        sample, found = pairs[i]
        overlaps = [float(npboxes.iou(found.boxes[j : j + 1], box[None])[0, 0]) for box in sample.boxes]
        best = max(range(len(overlaps)), key=lambda k: overlaps[k], default=None)
        if best is not None and overlaps[best] >= 0.5:
            if sample.ignore[best]:
                continue
            hits, misses = (hits, misses + 1) if (i, best) in taken else (hits + 1, misses)
            taken.add((i, best))
        else:
            misses += 1
        curve.append((hits, hits / (hits + misses)))
    if total == 0:
        assert ap(pairs) == -1.0
        return
    area = sum(max([p for h, p in curve if h >= step], default=0.0) for step in range(1, total + 1)) / total
    eleven = sum(max([p for h, p in curve if 10 * h >= r * total], default=0.0) for r in range(11)) / 11
    assert ap(pairs) == pytest.approx(area)
    assert ap(pairs, eleven_point=True) == pytest.approx(eleven)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/data/detection/metric_refs is not here")
def test_published_example():
    """The worked example of rafaelpadilla/Object-Detection-Metrics: IoU 0.3, 26.84 % and 24.57 %."""
    pairs = []
    for file in sorted((REFERENCE / "groundtruths").glob("*.txt")):
        truth = [line.split()[1:] for line in file.read_text().splitlines()]
        found = [line.split()[1:] for line in (REFERENCE / "detections" / file.name).read_text().splitlines()]
        found = np.array(found, float)
        found = found[np.argsort(-found[:, 0], kind="stable")]
        # Its boxes are of inclusive pixels: x, y, w, h ends at x + w and is w + 1 wide.
        xyxy = npboxes.from_xywh(np.array(truth, float)), npboxes.from_xywh(found[:, 1:])
        pairs.append(image(*xyxy, found[:, 0], name=file.stem))
    assert len(pairs) == 7
    options = {"iou_threshold": 0.3, "inclusive_pixels": True}
    assert ap(pairs, eleven_point=True, **options) == pytest.approx(0.268398, abs=1e-6)
    assert ap(pairs, **options) == pytest.approx(0.245687, abs=1e-6)

"""Thresholds with a guarantee: by hand, and over many splits of drawn images."""

import sys

import numpy as np
import pytest
from support.detections import drawn_set, found, sample
from support.paths import ROOT
from support.worlds import found_objects as drawn_objects

from visionkit import npboxes
from visionkit.metrics.curves import match
from visionkit.metrics.risk import (
    FalseAlarms,
    Found,
    alarm_threshold,
    box_margin,
    cap_of,
    counted_alarms,
    enlarge,
    find_false_alarms,
    found_objects,
    images_needed,
    least_promise,
    missed_share,
    score_threshold,
)

sys.path.insert(0, str(ROOT / "tools" / "maintenance"))


def one_each(scores, beyond=None):
    """An object in each image."""
    n = len(scores)
    grow = np.zeros(n) if beyond is None else np.float64(beyond)
    return Found(np.arange(n), np.zeros(n, int), np.float32(scores), grow)


def test_thresholds_by_hand():
    objects = one_each([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    # (missed + 1) / 10 <= 0.2 allows one missed object, which is that of 0.1; 0.1 allows none; 0.05 not even that.
    assert score_threshold(objects, 0.2) == pytest.approx(0.2)
    assert score_threshold(objects, 0.1) == pytest.approx(0.1)
    assert score_threshold(objects, 0.09) is None
    assert least_promise(objects) == pytest.approx(0.1)
    # The first two share an image: each is half of it, and one of them is never found.
    two = Found(np.array([0, 0, 1, 2]), np.zeros(4, int), np.float32([-1, 0.3, 0.6, 0.9]), np.zeros(4))
    assert score_threshold(two, 0.4) == pytest.approx(0.3)  # (1/2 + 1) / 4 = 0.375
    assert score_threshold(two, 0.5) == pytest.approx(0.6)  # (1 + 1) / 4
    assert missed_share(two, 0.6).tolist() == [1, 0, 0]
    assert missed_share(two, np.array([0.3])).tolist() == [0.5, 0, 0]


@pytest.mark.parametrize(("alpha", "images"), [(0.05, 19), (0.1, 9), (0.2, 4), (0.3, 3)])
def test_too_few_images_promise_nothing(alpha, images):
    assert images_needed(alpha) == images
    assert score_threshold(one_each([0.9] * images), alpha) == pytest.approx(0.9)
    assert score_threshold(one_each([0.9] * (images - 1)), alpha) is None


def test_margins_by_hand():
    objects = one_each([0.9] * 9, [0, 0, 0, 0.1, 0, 0.3, 0, 0, 0.2])
    assert box_margin(objects, 0.1) == pytest.approx(0.3)  # none may stick out
    assert box_margin(objects, 0.2) == pytest.approx(0.2)
    assert box_margin(objects, 0.4) == 0
    assert box_margin(objects, 0.05) is None


def test_enlarged_boxes_contain_what_they_are_said_to():
    for there, said in drawn_set(0, images=10):
        objects = found_objects([(there, said)])
        assert len(objects.score) == (~there.ignore).sum()
        boxes, detected = there.boxes[~there.ignore], objects.score >= 0
        for box, score, beyond in zip(boxes[detected], objects.score[detected], objects.beyond[detected], strict=True):
            candidates = said.boxes[said.scores == score]
            best = candidates[npboxes.iou(candidates, box[None])[:, 0].argmax()][None]
            grown = enlarge(best, beyond + 1e-5, there.image_size)[0]
            assert (grown[:2] <= box[:2] + 1e-3).all() and (grown[2:] >= box[2:] - 1e-3).all()
    assert enlarge(np.float32([[10, 10, 30, 20]]), 0.1, (100, 200)).tolist() == [[8, 9, 32, 21]]


def test_what_is_found_is_that_of_its_own_class_and_overlaps_by_half():
    there = sample([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 1, 1])
    said = found([[0, 0, 10, 10], [20, 0, 24, 10], [40, 0, 48, 10]], [0.9, 0.8, 0.7], [1, 1, 1])
    objects = found_objects([(there, said)])
    assert objects.score.tolist() == pytest.approx([-1, -1, 0.7])
    assert objects.beyond[2] == pytest.approx(2 / 8)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_on_other_images_no_more_is_missed_than_was_promised(alpha):
    """A small version of `tools/maintenance/promises.py guarantee`, with images of its own in each split."""
    from promises import misses, outside

    rng = np.random.default_rng(0)
    for measure in (misses, outside):
        shares = np.concatenate([measure(drawn_objects(rng, 120), alpha, draws=1, seed=i) for i in range(150)])
        assert len(shares) > 140  # in a few draws the detector misses too many at any threshold
        assert alpha / 2 < shares.mean() < alpha + 2 * shares.std() / len(shares) ** 0.5


def test_false_alarms_by_hand():
    images = np.array([0, 0, 1, 2, 2])
    alarms = FalseAlarms(images, np.array([0, 1, 0, 1, 1]), np.float32([0.9, 0.3, 0.5, 0.5, 0.1]), 19)
    assert cap_of(0.5) == 10 and cap_of(2) == 20
    assert alarm_threshold(alarms, 0.5) == pytest.approx(0.9)  # 0.5 * 20 - 10 leaves no room at all
    assert alarm_threshold(alarms, 0.5) > np.float32(0.9)
    assert np.float32(0.5) < alarm_threshold(alarms, 0.6) < 0.51  # for two; two have 0.5, so neither may stay
    assert alarm_threshold(alarms, 0.7) == pytest.approx(0.1)  # for four
    assert alarm_threshold(alarms, 0.75) == 0  # for all five
    assert alarm_threshold(alarms, 0.49) is None
    assert counted_alarms(alarms, 0.3, 10)[:3].tolist() == [2, 1, 1]
    assert counted_alarms(alarms, np.array([0.6, 0.2]), 1)[:3].tolist() == [1, 0, 1]
    assert alarms.of_class(1).image.tolist() == [0, 2, 2] and alarms.of_class(1).images == 19


def test_the_threshold_for_false_alarms_is_the_lowest_that_fits():
    pairs = drawn_set(3, images=130)
    alarms = find_false_alarms(pairs)
    assert len(alarms.score) == sum((match(*pair) == -1).sum() for pair in pairs) > 200
    # Equal scores and images with more false detections than count are among them.
    crowd = FalseAlarms(
        np.append(alarms.image, np.full(40, 7)), np.append(alarms.label, np.zeros(40, int)),
        np.append(alarms.score, np.linspace(0.5, 0.99, 40).round(2)).astype(np.float32), alarms.images,
    )  # fmt: skip
    candidates = [0.0, *np.nextafter(np.unique(crowd.score), np.float32(2)).tolist()]
    for alpha in (0.1, 0.7, 1.0, 3.0):
        cap, room = cap_of(alpha), alpha * (crowd.images + 1) - cap_of(alpha) + 1e-9
        fits = [t for t in candidates if counted_alarms(crowd, t, cap).sum() <= room]
        assert alarm_threshold(crowd, alpha) == min(fits)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_on_other_images_there_are_no_more_false_alarms_than_were_promised(alpha):
    """As many images for each threshold as the promise needs three times over; the next images are drawn anew."""
    rng, means = np.random.default_rng(0), []
    for _ in range(300):
        calibration, test = (drawn_alarms(rng, 60) for _ in range(2))
        means.append(counted_alarms(test, alarm_threshold(calibration, alpha), cap_of(alpha)).mean())
    assert alpha / 3 < np.mean(means) < alpha + 2 * np.std(means) / len(means) ** 0.5


def drawn_alarms(rng, images):
    """False detections of images of which some are much worse than others."""
    counts = rng.poisson(rng.gamma(0.7, 8, images))
    image = np.repeat(np.arange(images), counts)
    score = rng.beta(1, 4, len(image)).astype(np.float32)
    return FalseAlarms(image, np.zeros(len(image), int), score, images)


def test_suppression_and_matching_go_from_the_best_down():
    """What the promise about false alarms rests on: they are the same ones, whatever the threshold."""
    for there, said in drawn_set(5, images=40):
        whole = match(there, said)
        for threshold in (0.2, 0.5, 0.8):
            kept = said.scores >= np.float32(threshold)
            assert match(there, said[kept]).tolist() == whole[kept].tolist()

"""Calibration errors by hand, and curves that find again what was done to the scores."""

import numpy as np
import pytest

from visionkit.metrics.calibration import (
    FOLDS,
    NONE,
    POINTS,
    Reliability,
    Said,
    choose,
    cross_fitted,
    errors,
    fit,
    folds_of,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def detections(images=300, each=20, seed=0, distort=lambda z: z):
    """Detections that are right with the probability sigmoid(z), and have the score sigmoid(distort(z))."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-1, 2, images * each)
    right = rng.random(len(z)) < sigmoid(z)
    return Said(np.repeat(np.arange(images), each), sigmoid(distort(z)), right, images)


def classes(count=3000, seed=0, sharper=1.0):
    """Images of four classes; the probabilities are those of a softmax that is sharper than the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 4))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    sharp = shares**sharper
    return Said(np.arange(count), sharp / sharp.sum(axis=1, keepdims=True), truth, count)


def test_the_calibration_error_by_hand():
    scores, right = np.array([0.9, 0.92, 0.14, 0.4]), np.array([True, False, False, True])
    table = Reliability.of(Said(np.array([0, 0, 1, 1]), scores, right, 3))
    # Both of 0.90 to 0.95: mean 0.91, right 1 in 2. One of 0.14, wrong, and one of 0.4, right.
    expected = (2 * abs(0.91 - 0.5) + 0.14 + 0.6) / 4
    assert table.error == pytest.approx(expected)
    assert table.diagram()[-1] == (pytest.approx(0.91), 0.5, 2)
    surer = Reliability.of(Said(np.array([0, 0, 1, 1]), scores, right, 3), least=0.3)
    assert surer.count.sum() == 3
    assert np.isnan(Reliability.of(Said(np.array([0]), scores[:1], right[:1], 1), least=0.95).error)


def test_of_classes_the_most_probable_one_counts():
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    said = Said(np.arange(2), scores, np.array([0, 1]), 2)
    assert said.right.tolist() == [True, False]
    assert Reliability.of(said).error == pytest.approx((0.3 + 0.6) / 2)
    assert said.log_loss == pytest.approx(-(np.log(0.7) + np.log(0.3)) / 2)


def test_a_temperature_and_platt_find_again_what_was_done():
    (slope,) = fit(detections(distort=lambda z: 2.5 * z), "temperature").numbers
    assert slope == pytest.approx(1 / 2.5, rel=0.05)
    slope, offset = fit(detections(distort=lambda z: 2 * z + 3), "platt").numbers
    assert (slope, offset) == (pytest.approx(0.5, rel=0.05), pytest.approx(-1.5, rel=0.08))
    (slope,) = fit(classes(sharper=3), "temperature").numbers
    assert slope == pytest.approx(1 / 3, rel=0.06)


def test_an_isotonic_curve_follows_any_rising_distortion():
    curve = fit(detections(2000, distort=lambda z: z**3 / 4), "isotonic")
    z = np.linspace(-3, 3, 13)
    assert np.abs(curve(sigmoid(z**3 / 4)) - sigmoid(z)).max() < 0.08
    assert len(curve.points[0]) <= POINTS + 2


@pytest.mark.parametrize("right", [True, False])
def test_an_isotonic_curve_of_extreme_answers_is_not_certain(right):
    said = Said(np.arange(60), np.linspace(0.2, 0.8, 60), np.full(60, right), 60)
    ends = fit(said, "isotonic").points[1]
    assert 0 <= ends[0] < ends[-1] < 1
    one_score = Said(np.arange(60), np.full(60, 0.5), np.arange(60) < 20, 60)
    assert fit(one_score, "isotonic")(0.5) == pytest.approx(0.34, abs=0.02)


def test_the_method_that_fits_is_chosen_and_none_where_nothing_is_wrong():
    for distort, expected in (
        (lambda z: 2.5 * z, {"temperature", "platt"}),
        (lambda z: 2 * z + 3, {"platt"}),
        (lambda z: z**3 / 4 - 1, {"isotonic"}),
    ):
        said = detections(distort=distort)
        method, losses = choose(said, folds_of(said))
        assert method in expected
        assert list(losses) == [NONE, "temperature", "platt", "isotonic"]
    said = detections(30)
    method, losses = choose(said, folds_of(said))
    assert losses[method] >= losses[NONE] - 0.01


def test_the_error_falls_on_images_that_were_not_used():
    for said in (detections(distort=lambda z: 2 * z + 2), classes(sharper=3)):
        after = said.with_scores(cross_fitted(said, folds_of(said)))
        found = errors(Reliability.of(said), Reliability.of(after))
        assert found["before"][0] > 0.05 and found["after"][0] < 0.03
        assert found["less"][1] > 0  # the interval of the difference
        assert found["less"][0] == pytest.approx(found["before"][0] - found["after"][0])
        assert (after.right == said.right).all()


def test_the_interval_allows_for_what_chance_adds():
    """With scores that are exactly right, the error is far above 0, and the bootstrap's intervals miss the truth."""
    covered, values = [], []
    for seed in range(200):
        said = detections(50, 6, seed)
        value, low, high = errors(*[Reliability.of(said)] * 2)["before"]
        values.append(value)
        covered.append(low == 0 < high)
    assert np.mean(values) > 0.05
    assert np.mean(covered) > 0.85


def test_a_large_error_is_not_taken_for_chance():
    value, low, high = errors(*[Reliability.of(detections(100, distort=lambda z: 4 * z + 2))] * 2)["before"]
    assert 0 < 0.7 * value < low < value < high
    less = errors(*[Reliability.of(detections(100, distort=lambda z: 4 * z + 2))] * 2)["less"]
    assert less[1] < 0 == less[0] < less[2]


def test_no_image_is_judged_by_a_curve_that_has_seen_it():
    said = detections(40, 8, distort=lambda z: 2 * z + 2)
    fold = folds_of(said)
    assert len(np.unique(fold)) == FOLDS
    assert all(len(np.unique(fold[said.image == i])) == 1 for i in range(40))
    lied = Said(said.image, said.scores, said.truth ^ (fold == 3), said.images)
    same = cross_fitted(said, fold) == cross_fitted(lied, fold)
    assert same[fold == 3].all() and not same[fold == 1].all()

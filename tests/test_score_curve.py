"""The curve of a calibrated model: it rises strictly, is the same in NumPy and in the graph, and refuses nonsense."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from visionkit.layers.calibrate import Calibrate
from visionkit.score_curve import ScoreCurve

POINTS = (0.0, 0.3, 0.6, 1.0), (0.05, 0.25, 0.7, 0.95)
CURVES = [("temperature", (0.4,)), ("temperature", (1.5,)), ("platt", (0.7, -1.0)), ("isotonic", POINTS[0] + POINTS[1])]


@st.composite
def isotonic(draw):
    """A curve through a few points that rise."""
    inner = draw(st.lists(st.integers(1, 99), min_size=0, max_size=8, unique=True))
    heights = draw(st.lists(st.integers(0, 1000), min_size=len(inner) + 2, max_size=len(inner) + 2, unique=True))
    xs = [0.0, *(n / 100 for n in sorted(inner)), 1.0]
    return ScoreCurve("isotonic", (*xs, *(n / 1000 for n in sorted(heights))))


@given(isotonic(), st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20))
def test_an_isotonic_curve_keeps_the_order_of_scores_in_single_precision_too(curve, scores):
    scores = np.sort(np.float32(scores))
    there, exact = curve(scores), curve(scores.astype(float))
    assert there.dtype == np.float32
    assert (np.diff(there) >= 0).all() and (np.diff(exact) >= 0).all()
    np.testing.assert_allclose(there, np.interp(scores, *curve.points), atol=1e-6)


@pytest.mark.parametrize(("method", "numbers"), CURVES)
def test_different_scores_stay_different(method, numbers):
    scores = np.linspace(0.005, 0.995, 2000, dtype=np.float32)
    assert (np.diff(ScoreCurve(method, numbers)(scores)) > 0).all()


def test_the_formulas_of_the_papers():
    scores = np.float64([0.1, 0.5, 0.8])
    logits = np.log(scores / (1 - scores))
    np.testing.assert_allclose(ScoreCurve("temperature", (0.5,))(scores), 1 / (1 + np.exp(-0.5 * logits)))
    np.testing.assert_allclose(ScoreCurve("platt", (0.5, -1.0))(scores), 1 / (1 + np.exp(1 - 0.5 * logits)))
    logits = np.random.default_rng(0).normal(0, 3, (5, 4))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cooler = np.exp(0.5 * logits) / np.exp(0.5 * logits).sum(axis=1, keepdims=True)  # a temperature of 2
    np.testing.assert_allclose(ScoreCurve("temperature", (0.5,), exclusive=True)(softmax), cooler)


@pytest.mark.parametrize(("method", "numbers"), CURVES)
def test_probabilities_of_classes_stay_probabilities_and_keep_their_order(method, numbers):
    shares = np.random.default_rng(1).dirichlet([0.3] * 5, 200)
    calibrated = ScoreCurve(method, numbers, exclusive=True)(shares)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    assert (calibrated.argmax(axis=1) == shares.argmax(axis=1)).all()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(("method", "numbers"), CURVES)
def test_the_graph_computes_what_numpy_does(method, numbers, exclusive):
    curve = ScoreCurve(method, numbers, exclusive)
    scores = np.float32([[0.0, 1e-6, 0.2], [0.5, 0.9999999, 1.0]])
    found = ops.convert_to_numpy(Calibrate(curve)({"scores": ops.convert_to_tensor(scores)})["scores"])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, curve(scores), rtol=2e-5, atol=1e-7)


def test_padding_keeps_the_score_0():
    labels, scores = np.int32([[2, 0, -1]]), np.float32([[0.9, 0.0, 0.0]])
    layer = Calibrate(ScoreCurve("platt", (1.0, 2.0)))
    again = Calibrate.from_config(layer.get_config())
    found = again({"scores": ops.convert_to_tensor(scores), "labels": ops.convert_to_tensor(labels)})
    assert ops.convert_to_numpy(found["scores"])[0, 2] == 0
    assert ops.convert_to_numpy(found["scores"])[0, 0] > 0.98


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"method": "platt"}, "expected method, numbers and exclusive"),
        (
            {"method": "magic", "numbers": [1.0], "exclusive": False},
            "expected a method of temperature, platt, isotonic",
        ),
        ({"method": "platt", "numbers": [1.0], "exclusive": False}, "expected 2 numbers for platt"),
        ({"method": "temperature", "numbers": [-1.0], "exclusive": False}, "of which the first is above 0"),
        ({"method": "temperature", "numbers": ["1"], "exclusive": False}, "expected numbers"),
        ({"method": "platt", "numbers": [1.0, float("nan")], "exclusive": False}, "expected numbers"),
        ({"method": "isotonic", "numbers": [0.0, 1.0, 0.1], "exclusive": False}, "expected 2 to 64 points"),
        ({"method": "isotonic", "numbers": [0.0, 0.9, 0.1, 0.5], "exclusive": False}, "with scores from 0 to 1"),
        ({"method": "isotonic", "numbers": [0.0, 1.0, 0.5, 0.5], "exclusive": False}, "points that rise"),
    ],
)
def test_what_is_no_curve_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        ScoreCurve.from_json(content)


def test_a_curve_goes_through_json():
    curve = ScoreCurve("isotonic", POINTS[0] + POINTS[1], exclusive=True)
    assert ScoreCurve.from_json(curve.to_json()) == curve

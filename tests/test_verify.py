"""The comparison of a model with its export, on numbers small enough to check by hand."""

import numpy as np
import pytest

from visionkit.export.verify import verify
from visionkit.types import Detections


def found(*rows, size=(100, 200)):
    """Detections of (x1, y1, x2, y2, score, label)."""
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(
        id="a.jpg", image_size=size, boxes=rows[:, :4], scores=rows[:, 4], labels=rows[:, 5].astype(np.int32)
    )


BOX = (0, 0, 100, 100)
GOOD = found((*BOX, 0.9, 1))


def test_partners_are_measured():
    report = verify([GOOD], [found((0, 0, 100, 99, 0.89, 1), (50, 50, 60, 60, 0.29, 0))], room=10)
    assert (report["verdict"], report["images"], report["detections"]) == ("passed", 1, 2)  # once from either side
    assert report["iou_minimum"] == pytest.approx(0.99)  # 9900 of 10000 square pixels
    assert report["box_difference_maximum"] == pytest.approx(1.0)
    assert report["score_difference_maximum"] == pytest.approx(0.01, abs=1e-6)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (found((0, 0, 100, 97, 0.9, 1)), "only the model finds class 1 at [0.0, 0.0, 100.0, 100.0] with score 0.900"),
        (found((*BOX, 0.87, 1)), "only the model finds class 1"),
        (found((*BOX, 0.9, 0)), "only the export finds class 0"),
        (found(), "only the model finds class 1"),
        (found((*BOX, 0.9, 1), (0, 0, 9, 9, 0.31, 1)), "only the export finds class 1 at [0.0, 0.0, 9.0, 9.0]"),
        (
            found((*BOX, 0.9, 1), size=(200, 100)),
            "the image is (100, 200) (height, width), but (200, 100) to the export",
        ),
        ("out of memory", "the export gave an error: out of memory"),
    ],
    ids=["box", "score", "class", "missing", "additional", "turned", "error"],
)
def test_differences_fail(other, sentence):
    report = verify([GOOD], [other], room=10)
    assert report["verdict"] == "failed"
    assert any(problem.startswith(sentence) for problem in report["failures"]["a.jpg"])


def test_no_detection_is_no_proof():
    assert verify([found()], [found((*BOX, 0.2, 1))], room=10)["verdict"] == "nothing to compare"


def test_what_a_full_list_cut_off_is_not_missed():
    """Two entries a list: of three objects, two of nearly equal scores, either may be the one without a place."""
    top, left, right = (*BOX, 0.9, 1), (0, 0, 9, 9, 0.51, 1), (80, 0, 99, 9, 0.50, 1)
    assert verify([found(top, left)], [found(top, right)], room=2)["verdict"] == "passed"
    assert verify([found(top, left)], [found(top, right)], room=3)["verdict"] == "failed"
    assert verify([found(left, right)], [found(top, right)], room=2)["verdict"] == "failed"  # 0.9 has a place anywhere

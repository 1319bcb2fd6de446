"""The comparison of a model with its export, on numbers small enough to check by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from visionkit.export.compare import TOLERANCES
from visionkit.export.verify import REPORT, ExportError, add_scores, summary, verify
from visionkit.types import Classification, Detections


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
    assert (report["verdict"], report["images"], report["compared"]) == ("passed", 1, 2)  # once from either side
    worst = {name: row["worst"] for name, row in report["measures"].items()}
    assert worst["iou"] == pytest.approx(0.99)  # 9900 of 10000 square pixels
    assert worst["box_difference"] == pytest.approx(1.0)
    assert worst["score_difference"] == pytest.approx(0.01, abs=1e-6)


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


def with_keypoints(*moved):
    """GOOD with 21 keypoints, of which the first are moved to the right by these pixels."""
    points = np.tile(np.float32([30, 40, 9]), (1, 21, 1))
    points[0, : len(moved), 0] += moved
    return replace(GOOD, keypoints=points)


def test_keypoints_are_measured_in_shares_of_the_box():
    report = verify([with_keypoints()], [with_keypoints(*[1.0] * 21)], room=10)
    assert report["verdict"] == "passed"
    assert report["measures"]["keypoint_difference"]["worst"] == pytest.approx(1 / 141.42, rel=1e-3)
    assert "nine in ten keypoints within 0.7% of the box's diagonal" in summary(report | {"check": "x"})
    assert verify([with_keypoints()], [with_keypoints(60.0, 60.0)], room=10)["verdict"] == "passed"  # two of 21 jumped
    failed = verify([with_keypoints()], [with_keypoints(*[4.0] * 21)], room=10)
    assert failed["verdict"] == "failed"
    assert "only the model finds class 1" in failed["failures"]["a.jpg"][0]


def test_no_detection_is_no_proof():
    assert verify([found()], [found((*BOX, 0.2, 1))], room=10)["verdict"] == "nothing to compare"


def test_what_a_full_list_cut_off_is_not_missed():
    """Two entries a list: of three objects, two of nearly equal scores, either may be the one without a place."""
    top, left, right = (*BOX, 0.9, 1), (0, 0, 9, 9, 0.51, 1), (80, 0, 99, 9, 0.50, 1)
    assert verify([found(top, left)], [found(top, right)], room=2)["verdict"] == "passed"
    assert verify([found(top, left)], [found(top, right)], room=3)["verdict"] == "failed"
    assert verify([found(left, right)], [found(top, right)], room=2)["verdict"] == "failed"  # 0.9 has a place anywhere


def test_eight_bits_may_lose_a_few():
    """Of four comparisons one fails: 0.75 agree, which int8 allows and float16 does not."""
    one, other = found((*BOX, 0.9, 1), (0, 0, 9, 9, 0.31, 0)), found((*BOX, 0.8, 1), (0, 0, 9, 9, 0.29, 0))
    three = verify([one, GOOD], [other, found((*BOX, 0.9, 1), (50, 50, 60, 60, 0.31, 0))], 10, TOLERANCES["int8"])
    assert (three["verdict"], three["compared"], three["agreeing"]) == ("passed", 6, pytest.approx(5 / 6))
    assert verify([one], [other], 10, TOLERANCES["float16"])["verdict"] == "failed"
    assert verify([one], ["out of memory"], 10, TOLERANCES["int8"])["verdict"] == "failed"


def classified(*scores, id="a.jpg"):
    return Classification(id=id, image_size=(100, 200), scores=np.array(scores, np.float32))


@pytest.mark.parametrize(
    ("other", "verdict", "sentence"),
    [
        ((0.6001, 0.2999, 0.1), "passed", None),
        ((0.59, 0.31, 0.1), "failed", "a probability differs by 0.0100, more than 0.001"),
        ((0.3, 0.6, 0.1), "failed", "the best class is 0, but 1 to the export"),
        ((np.nan, 0.3, 0.1), "failed", "a probability differs by nan"),
    ],
)
def test_classes(other, verdict, sentence):
    report = verify([classified(0.6, 0.3, 0.1)], [classified(*other)], room=0)
    assert report["verdict"] == verdict
    problems = report["failures"].get("a.jpg", [])
    assert any(problem.startswith(sentence) for problem in problems) if sentence else not problems


def test_the_best_of_two_equal_classes_may_change():
    report = verify([classified(0.5002, 0.4998)], [classified(0.4998, 0.5002)], room=0)
    assert report["verdict"] == "passed"
    assert "1 images (photos) agree: probabilities within 0.00040" in summary(report | {"check": "photos"})


def test_a_metric_that_falls_fails_the_export(tmp_path):
    report = verify([GOOD], [GOOD], room=10) | {"check": "photos"}
    scores = {"metric": "mAP50", "data": "cells", "before": 0.9, "after": 0.899}
    kept = add_scores(tmp_path, report, scores)
    assert "; mAP50 0.9000 -> 0.8990 on cells" in summary(kept)
    size = {"bytes": 4_620_000, "float32_bytes": 15_600_000}
    assert summary(kept | size).endswith("; 4.62 MB, 29.6% of what its weights take as float32")
    assert json.loads((tmp_path / REPORT).read_text())["scores"]["loss"] == pytest.approx(0.001)
    with pytest.raises(ExportError, match=r"mAP50 on cells falls from 0\.9000 to 0\.8900, more than 0\.002"):
        add_scores(tmp_path, report, scores | {"after": 0.89})
    assert json.loads((tmp_path / REPORT).read_text())["verdict"] == "failed"

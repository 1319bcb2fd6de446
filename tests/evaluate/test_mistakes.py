"""Curves, confusion and mistakes of a detector: by hand, by brute force, and what is written for people."""

import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detections import drawn_set, found, sample
from support.predictors import Says

from visionkit import images, npboxes
from visionkit.data.dataset import Dataset
from visionkit.evaluate.mistakes import best_thresholds, of_detector, write_mistakes
from visionkit.evaluate.scores import evaluate
from visionkit.metrics import curves
from visionkit.metrics.detection import DetectionMetric
from visionkit.metrics.voc_ap import voc_ap

A, B, C = [10, 10, 50, 30], [60, 10, 90, 50], [120, 20, 160, 60]
NEAR_A = [12, 10, 50, 30]  # IoU 0.95


def test_a_curve_by_hand():
    there = sample([A, B, C], [0, 0, 1])
    said = found([NEAR_A, A, [0, 60, 20, 80], B, C], [0.9, 0.8, 0.8, 0.5, 0.3], [0, 0, 0, 0, 1])
    first, second, third = curves.curves([(there, said)], 3)
    np.testing.assert_allclose(first.scores, [0.9, 0.8, 0.5])  # two of 0.8 cannot be told apart by a threshold
    np.testing.assert_allclose(first.precision, [1, 1 / 3, 2 / 4])  # the second of A's is a double
    np.testing.assert_allclose(first.recall, [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(first.f1, [2 / 3, 2 / 5, 2 / 3])
    assert first.best == pytest.approx({"threshold": 0.9, "F1": 2 / 3, "precision": 1, "recall": 1 / 2})
    assert second.best == pytest.approx({"threshold": 0.3, "F1": 1, "precision": 1, "recall": 1})
    assert (third.objects, len(third.scores), third.best["threshold"]) == (0, 0, 1.0)


def test_confusion_and_mistakes_by_hand():
    there = sample([A, B, C, [100, 70, 190, 95]], [0, 0, 1, 1], ignore=np.array([False, False, False, True]))
    said = found(
        [NEAR_A, A, C, [0, 60, 20, 80], [110, 72, 120, 90], B],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.1],
        [0, 1, 0, 1, 1, 0],
    )
    matrix = curves.confusion([(there, said)], 2, [0.2, 0.2])
    # A found; B missed, as 0.1 is below; C said to be class 0; class 1 invented twice, once upon A, which was taken.
    assert matrix.tolist() == [[1, 0, 1], [1, 0, 0], [0, 2, 0]]
    false, missed = curves.worst([(there, said)], [0.2, 0.2])
    assert [(e.label, round(e.score, 2)) for e in false] == [(1, 0.8), (0, 0.7), (1, 0.6)]  # not the one in the crowd
    assert [e.box.tolist() for e in missed] == [C, B]  # the larger one first
    assert [len(part) for part in curves.worst([(there, said)], [0.2, 0.2], limit=1)] == [1, 1]


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_counts_agree_with_each_other(seed, threshold):
    pairs = drawn_set(seed, images=6)
    matrix = curves.confusion(pairs, 3, [threshold] * 3)
    objects = sum(np.bincount(there.labels[~there.ignore], minlength=3) for there, _ in pairs)
    assert matrix[:3].sum(axis=1).tolist() == objects.tolist()  # each object once, found, mistaken or missed
    assert matrix[3, 3] == 0
    false, missed = curves.worst(pairs, [threshold] * 3, limit=10**6)
    for k, curve in enumerate(curves.curves(pairs, 3)):
        above = int((curve.scores >= np.float32(threshold)).sum())
        hits = round(curve.recall[above - 1] * curve.objects) if above else 0
        said = round(hits / curve.precision[above - 1]) if hits else matrix[:, k].sum()
        assert (matrix[k, k], matrix[:, k].sum()) == (hits, said)
        assert sum(e.label == k for e in false) == said - hits
        assert sum(e.label == k for e in missed) == curve.objects - hits
        best = max([curve.best["F1"], *curve.f1])
        assert curve.best["F1"] == best


def test_the_area_under_the_curve_is_average_precision():
    """Where every detection overlaps one object at most, VOC's matching and this one agree."""
    rng = np.random.default_rng(0)
    cells = np.float32([[x, y, x + 30, y + 30] for x, y in itertools.product(range(0, 160, 40), range(0, 80, 40))])
    pairs = []
    for i in range(12):
        there, said = (rng.permutation(8)[:n] for n in (5, 6))
        labels = rng.integers(0, 2, 8)
        labels_found = np.where(rng.random(8) < 0.2, 1 - labels, labels)
        scores = np.sort(rng.random(6))[::-1]
        moved = npboxes.clip(cells[said] + rng.integers(-2, 3, (6, 4)), (100, 200))
        pairs.append((sample(cells[there], labels[there], name=str(i)), found(moved, scores, labels_found[said])))
    for curve, expected in zip(curves.curves(pairs, 2), voc_ap(pairs, 2), strict=True):
        envelope = np.maximum.accumulate(curve.precision[::-1])[::-1]
        assert 0.2 < expected < 0.95
        assert (np.diff(np.append(0, curve.recall)) * envelope).sum() == pytest.approx(expected)


def test_what_is_written_for_people(tmp_path):
    pairs = [
        (sample([A, B], [0, 1], name="x/1"), found([A, C], [0.9, 0.8], [0, 0])),
        (sample([C], [0], name="x/2"), found([C], [0.7], [0])),
    ]
    pixels = np.full((100, 200, 3), 200, np.uint8)
    records = [type(there)(**vars(there) | {"image": pixels}) for there, _ in pairs]
    look = of_detector(pairs, ["cat", "dog", "none"], Dataset(records, ["cat"], lambda record: record))
    write_mistakes(look, tmp_path)
    table = best_thresholds(look)
    # Cats: 0.9 hits, 0.8 does not, 0.7 does: F1 is 2/3, 1/2, 4/5.
    assert table["cat"] == pytest.approx({"threshold": 0.7, "F1": 0.8, "precision": 2 / 3, "recall": 1})
    assert table["dog"]["F1"] == 0
    assert set(table) == {"cat", "dog"}
    files = sorted(f.name for f in tmp_path.iterdir())
    assert files == ["confusion.png", "f1.png", "pr.png", "thresholds.csv", "worst"]
    rows = list(csv.DictReader((tmp_path / "thresholds.csv").read_text().splitlines()))
    assert [(row["class"], float(row["threshold"])) for row in rows] == [("cat", 0.7), ("dog", 1.0)]
    assert sorted(f.name for f in (tmp_path / "worst").iterdir()) == ["00-false-x_1.jpg", "00-missed-x_1.jpg"]
    for name, (x1, y1, _, y2) in (("false", C), ("missed", B)):
        picture = images.read_image(tmp_path / "worst" / f"00-{name}-x_1.jpg").astype(int)
        edge = picture[y1 + 10 : y2 - 10, x1]  # the left side of the mistake's box is red
        assert (edge[:, 0] - edge[:, 1] > 50).all(), name
        assert abs(picture[y1 + 20, x1 + 15] - 200).max() < 30
    for name in ("pr", "f1", "confusion"):
        assert images.read_image(tmp_path / f"{name}.png").std() > 5


def test_an_image_without_objects_or_detections_is_no_trouble(tmp_path):
    pairs = [(sample([], []), found([], [], []))]
    assert curves.confusion(pairs, 2, [0.5, 0.5]).sum() == 0
    record = type(pairs[0][0])(**vars(pairs[0][0]))
    look = of_detector(pairs, ["cat", "dog"], Dataset([record], ["cat"], lambda r: r))
    write_mistakes(look, tmp_path / "new")
    assert best_thresholds(look) == {}
    assert curves.curves([], 1)[0].objects == 0


def test_a_detector_of_masks_is_scored_with_each_image_read_once():
    pairs, reads = drawn_set(3, images=6), []
    samples = {str(i): replace(there, id=str(i)) for i, (there, _) in enumerate(pairs)}

    def load(record):
        reads.append(record.id)
        return samples[record.id]

    records = [replace(one, masks=None) for one in samples.values()]
    data = Dataset(records, list("abc"), load)
    says = Says("instance", list("abc"), lambda one: pairs[int(one.id)][1])
    scores = evaluate(says, data, intervals=False)
    assert sorted(reads) == sorted(samples)
    metric = DetectionMetric("abc")
    for pair in pairs:
        metric.update(*pair)
    assert {key: scores[key] for key in ("mask_mAP", "mAP", "mAP_small")} == {
        key: metric.result()[key] for key in ("mask_mAP", "mAP", "mAP_small")
    }
    assert 0.1 < scores["mask_mAP"] < 0.9

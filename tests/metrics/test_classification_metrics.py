"""Classification scores by hand, against plain Python, and the confusion picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionkit import images
from visionkit.metrics.classification import ClassificationMetric
from visionkit.metrics.pictures import confusion_picture
from visionkit.types import DataError


def scored(labels, scores, class_names="abc"):
    metric = ClassificationMetric(class_names)
    metric.update(np.array(labels, np.int32), np.array(scores, np.float32))
    return metric


def test_by_hand():
    # True a a b b; said a b b b.
    metric = scored([0, 0, 1, 1], [[3, 1, 0], [1, 3, 0], [0, 3, 1], [0, 3, 1]])
    numbers = metric.result()
    assert metric.matrix.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert (numbers["top1"], numbers["top5"], numbers["images"]) == (0.75, 1.0, 4)
    assert numbers["per_class"]["a"] == {"precision": 1.0, "recall": 0.5, "images": 2}
    assert numbers["per_class"]["b"] == {"precision": pytest.approx(2 / 3), "recall": 1.0, "images": 2}
    assert numbers["per_class"]["c"] == {"precision": -1, "recall": -1, "images": 0}


def test_top5_looks_at_five():
    # The true class is ranked 5th in the first row and 6th in the second.
    metric = scored([4, 5], [[9, 8, 7, 6, 5, 4, 3]] * 2, class_names="abcdefg")
    assert metric.result()["top5"] == 0.5
    # Where all scores are equal the lower ids come first: class 0 is said, classes 0..4 are the top 5.
    tied = scored([0, 4, 5], [[1] * 7] * 3, class_names="abcdefg")
    assert tied.result()["top1"] == pytest.approx(1 / 3) and tied.result()["top5"] == pytest.approx(2 / 3)


def test_nothing_yet():
    numbers = ClassificationMetric("ab").result()
    assert (numbers["top1"], numbers["top5"], numbers["images"]) == (-1, -1, 0)
    assert scored([], np.zeros((0, 3))).result()["images"] == 0


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_equals_plain_python_in_any_batches(k, n, seed):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, k, n), rng.integers(0, 4, (n, k)).astype(np.float32)  # few values: many ties
    names = [str(i) for i in range(k)]
    metric = ClassificationMetric(names)
    for batch in np.array_split(np.arange(n), 3):
        metric.update(labels[batch], scores[batch])
    rankings = [sorted(range(k), key=lambda c, row=row: (-row[c], c)) for row in scores]
    numbers = metric.result()
    for c in range(k):
        said = [true for true, ranking in zip(labels, rankings, strict=True) if ranking[0] == c]
        precision = sum(true == c for true in said) / len(said) if said else -1
        assert numbers["per_class"][str(c)]["precision"] == pytest.approx(precision)
    if n:
        assert numbers["top1"] == pytest.approx(np.mean([r[0] == t for r, t in zip(rankings, labels, strict=True)]))
        assert numbers["top5"] == pytest.approx(np.mean([t in r[:5] for r, t in zip(rankings, labels, strict=True)]))


def test_errors():
    with pytest.raises(DataError, match=r"labels 0\.\.2, found 0\.\.3"):
        scored([0, 3], [[1, 2, 3]] * 2)
    with pytest.raises(DataError, match=r"scores \[B, 3\], found \(1,\) and \(1, 2\)"):
        scored([0], [[1, 2]])
    with pytest.raises(DataError, match="finite scores, found nan"):
        scored([0], [[1, np.nan, 2]])


def test_picture(tmp_path):
    confusion_picture(np.array([[8, 2], [0, 5]]), ["cat", "dog"], tmp_path / "new" / "confusion.png")
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["confusion.png"]  # no part is left behind
    image = images.read_image(tmp_path / "new" / "confusion.png")
    colours = {tuple(c) for c in image.reshape(-1, 3)[::7].tolist()}
    assert (8, 48, 107) in colours  # the darkest blue: all five dogs were right
    with pytest.raises(ValueError, match=r"\[3, 3\] for 3 class names, found \[2, 2\]"):
        confusion_picture(np.zeros((2, 2)), "abc", tmp_path / "x.png")


def test_picture_of_an_empty_matrix(tmp_path):
    confusion_picture(np.zeros((2, 2), int), ["cat", "dog"], tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 0


def test_lines_between_cells_do_not_hide_many_classes(tmp_path):
    confusion_picture(np.eye(600, dtype=int), [str(k) for k in range(600)], tmp_path / "many.png")
    red = images.read_image(tmp_path / "many.png")[400:-400, 300:-500, 0]  # without the letters and the colour bar
    assert (red < 60).any(axis=1).mean() > 0.9  # the diagonal is seen in every row

"""The checks name the sample and the value that breaks a convention."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.tiny import random_batch

from visionkit.data.batches import check_batch
from visionkit.types import DataError, Detections, Sample, check_detections, check_sample, in_words

GOOD = Sample(
    id="street/1",
    image_size=(20, 30),
    image=np.zeros((20, 30, 3), np.uint8),
    boxes=np.float32([[0, 0, 30, 20], [1, 2, 3, 4]]),
    labels=np.int32([0, 2]),
    ignore=np.array([False, True]),
    masks=np.ones((2, 20, 30), np.uint8),
    segmentation=np.full((20, 30), 255, np.int32),
    label=1,
)


def test_a_good_sample_passes_and_comes_back():
    assert check_sample(GOOD, num_classes=3) is GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((20, 30, 3), np.float32)}, r"image uint8 \(20, 30, 3\), found float32"),
        ({"image": np.zeros((30, 20, 3), np.uint8)}, r"found uint8 \(30, 20, 3\)"),
        ({"image_size": (0, 30), "image": None}, "above zero"),
        ({"boxes": np.float64([[0, 0, 1, 1]] * 2)}, "boxes float32"),
        ({"boxes": np.float32([[0, 0, 31, 20]] * 2)}, r"x2 <= 30.*box \[\[0.0, 0.0, 31.0, 20.0\]\]"),
        ({"boxes": np.float32([[0, 0, 20, 21]] * 2)}, "y2 <= 20"),
        ({"boxes": np.float32([[5, 0, 5, 9]] * 2)}, "x1 < x2"),
        ({"boxes": np.float32([[-1, 0, 5, 9]] * 2)}, "all >= 0"),
        ({"boxes": np.float32([[np.nan, 0, 5, 9]] * 2)}, "nan"),
        ({"labels": np.int32([0, 3])}, r"labels 0..2, found 0..3"),
        ({"labels": np.int32([-1, 0])}, r"found -1..0"),
        ({"labels": np.int32([0])}, r"labels int32 \(2,\), found int32 \(1,\)"),
        ({"labels": None}, "found None"),
        ({"ignore": np.array([0, 1])}, "ignore bool"),
        ({"masks": np.full((2, 20, 30), 255, np.uint8)}, "masks of 0 and 1, found 255"),
        ({"masks": np.ones((1, 20, 30), np.uint8)}, r"masks uint8 \(2, 20, 30\)"),
        ({"segmentation": np.full((20, 30), 7, np.int32)}, r"map values 0..2 or 255, found \[7\]"),
        ({"segmentation": np.zeros((20, 30), np.uint8)}, "segmentation int32"),
        ({"label": 3}, "label 0..2, found 3"),
    ],
)
def test_each_convention_is_held_and_the_sample_is_named(change, message):
    with pytest.raises(DataError, match=message) as caught:
        check_sample(replace(GOOD, **change), num_classes=3)
    assert str(caught.value).startswith("sample 'street/1': expected ")


def test_detections_are_sorted_and_between_0_and_1():
    good = Detections(
        id="a",
        image_size=(20, 30),
        boxes=np.float32([[0, 0, 5, 5], [1, 1, 1, 1]]),
        scores=np.float32([0.9, 0.1]),
        labels=np.int32([1, 0]),
    )
    assert check_detections(good, 2) is good
    for scores, message in (([0.1, 0.9], "descending"), ([1.5, 0.1], "in 0..1"), ([0.9], r"scores float32 \(2,\)")):
        with pytest.raises(DataError, match=rf"detections of 'a': expected .*{message}"):
            check_detections(replace(good, scores=np.float32(scores)), 2)


def test_a_batch_names_the_row():
    images, y = random_batch(batch=3)
    check_batch(images, y, 3)
    y["boxes"][2, 0] = [50, 0, 40, 9]
    with pytest.raises(DataError, match=r"sample 'batch row 2'.*x1 < x2"):
        check_batch(images, y, 3)
    images, y = random_batch(batch=3)
    y["labels"][1, 0] = -2
    with pytest.raises(DataError, match="batch row 1: expected labels >= -1, found -2"):
        check_batch(images, y, 3)
    with pytest.raises(DataError, match=r"expected images \[B, H, W, 3\]"):
        check_batch(images[..., 0], y, 3)


def test_parsers_give_no_advice_to_python_programmers():
    for text, words in (("9" * 6000, "a number of thousands of digits"), ("[" * 100_000, "nested too deeply")):
        with pytest.raises((ValueError, RecursionError)) as raised:
            json.loads(text)
        assert in_words(raised.value) == words
    assert in_words(ValueError("one\ntwo")) == "one"

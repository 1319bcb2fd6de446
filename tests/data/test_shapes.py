import logging
import time

import cv2
import numpy as np
import pytest

from visionkit import npboxes
from visionkit.data import shapes as module
from visionkit.data.shapes import MIN_VISIBLE, NAMES, SEGMENTATION_NAMES, shapes
from visionkit.types import check_sample


@pytest.fixture(scope="module")
def drawn():
    return shapes(60, (96, 128), seed=3, max_objects=7)


def test_samples_keep_the_conventions_and_agree_with_their_records(drawn):
    assert drawn.class_names == list(NAMES)
    for record, sample in zip(drawn.records, drawn, strict=True):
        check_sample(sample)
        assert record.image is None and record.id == sample.id and 1 <= len(sample.boxes) <= 7
        np.testing.assert_array_equal(record.boxes, sample.boxes)
        np.testing.assert_array_equal(record.labels, sample.labels)
    assert len({record.id for record in drawn.records}) == 60
    assert set(np.concatenate([record.labels for record in drawn.records])) == {0, 1, 2, 3}


def test_boxes_masks_and_maps_agree_to_the_pixel(drawn):
    for sample in drawn:
        np.testing.assert_array_equal(npboxes.of_masks(sample.masks), sample.boxes)
        assert sample.masks.sum(axis=0).max() <= 1  # a pixel shows one shape
        expected = (sample.masks * (sample.labels[:, None, None] + 1)).sum(axis=0)
        np.testing.assert_array_equal(sample.segmentation, expected)
    assert len(SEGMENTATION_NAMES) == len(NAMES) + 1


def test_a_third_of_every_shape_is_visible():
    hidden = 0
    for i in range(40):
        outlines, _, owner = module._geometry(module._rng(0, "train", i, 0), (96, 128), 20)
        for k, outline in enumerate(outlines):
            visible, whole = (owner == k + 1).sum(), cv2.contourArea(outline.astype(np.float32))
            assert visible >= MIN_VISIBLE * whole
            hidden += visible < 0.7 * whole
    assert hidden > 20  # shapes do overlap, so the assertion above is not an empty one


def test_an_image_never_lacks_shapes():
    assert min(len(record.boxes) for record in shapes(600, (64, 64), max_objects=1).records) == 1


def test_pixels_change_where_the_masks_are_and_nowhere_else(drawn):
    for i, sample in enumerate(drawn):
        ground = module._photo(module._rng(3, "train", i, 1), sample.image_size).astype(int)
        changed = np.abs(sample.image - ground).max(axis=2)
        shown = sample.masks.max(axis=0)
        assert changed[cv2.dilate(shown, np.ones((5, 5), np.uint8)) == 0].max() == 0
        assert (changed[shown == 1] > 25).mean() > 0.8


def test_every_shape_stands_out_from_what_is_around_it(drawn):
    for sample in drawn:
        ground = cv2.dilate(sample.masks.max(axis=0), np.ones((3, 3), np.uint8)) == 0
        for mask in sample.masks:
            around = (cv2.dilate(mask, np.ones((13, 13), np.uint8)) == 1) & ground
            if around.sum() > 20:
                inside, outside = (np.median(sample.image[where], axis=0) for where in (mask == 1, around))
                assert np.linalg.norm(inside - outside) > 40, sample.id


def test_a_sample_depends_on_seed_split_and_index_alone(drawn):
    again = shapes(5, (96, 128), seed=3, max_objects=7)[4]
    np.testing.assert_array_equal(again.image, drawn[4].image)
    np.testing.assert_array_equal(again.masks, drawn[4].masks)
    for other in ({"seed": 4}, {"seed": 3, "split": "val"}, {"seed": 3, "background": "noise"}):
        sample = shapes(5, (96, 128), max_objects=7, **other)[4]
        assert not np.array_equal(sample.image, drawn[4].image)


def test_without_photographs_it_is_noise_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._photos.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            plain = shapes(2, (64, 64))[1]
        assert "pip install scikit-image" in caplog.text
        np.testing.assert_array_equal(plain.image, shapes(2, (64, 64), background="noise")[1].image)
    finally:
        module._photos.cache_clear()


def test_drawing_64_images_takes_less_than_a_second():
    shapes(1)[0]  # reads the photographs
    start = time.process_time()
    list(shapes(64, (256, 256)))
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "wrong", [{"count": -1}, {"image_size": (16, 64)}, {"max_objects": 0}, {"background": "plain"}], ids=str
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        shapes(**{"count": 1, **wrong})

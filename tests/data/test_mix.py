"""Mixup and CutMix: the labels say how much of each image there is."""

import numpy as np
import pytest

from visionkit.data.batches import batches
from visionkit.data.dataset import Dataset
from visionkit.data.mix import CutMix, Mixup
from visionkit.data.transforms import classification_eval
from visionkit.types import Sample

# Image k is evenly 50 * k: what is left of it can be read off the pixels.
IMAGES = np.stack([np.full((20, 30, 3), 50 * k, np.uint8) for k in range(5)])
LABELS = np.eye(5, dtype=np.float32)


@pytest.mark.parametrize("mix", [Mixup(0.4), CutMix()], ids=["mixup", "cutmix"])
@pytest.mark.parametrize("seed", range(8))
def test_labels_are_the_shares_of_the_pixels(mix, seed):
    images, labels = mix(IMAGES, LABELS, np.random.default_rng(seed))
    assert images.dtype == np.uint8
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    expected = labels @ (50 * np.arange(5))  # the mean brightness that these shares give
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), expected, atol=0.5)  # half a level of rounding


def test_cutmix_replaces_one_rectangle_and_mixup_every_pixel():
    images, labels = CutMix()(IMAGES, LABELS, np.random.default_rng(1))
    assert labels.max(axis=1).min() < 1  # this draw does replace something
    assert all(len(np.unique(image)) <= 2 for image in images)
    images, _ = Mixup(1.0)(IMAGES, LABELS, np.random.default_rng(1))
    assert all(len(np.unique(image)) == 1 for image in images)


def test_batches_are_mixed_the_same_way_for_the_same_seed():
    records = [Sample(id=str(k), image_size=(20, 30), image=IMAGES[k], label=k) for k in range(5)]
    dataset = Dataset(records, list("abcde"), lambda record: record)
    options = {"task": "classify", "mix": Mixup(0.4), "seed": 3}
    first, second = (list(batches(dataset, classification_eval((8, 8)), 5, **options)) for _ in range(2))
    images, y = first[0]
    assert y["label"].shape == (5, 5)
    np.testing.assert_array_equal(images, second[0][0])
    np.testing.assert_array_equal(y["label"], second[0][1]["label"])

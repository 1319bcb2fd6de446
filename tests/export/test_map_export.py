"""A segmenter as a SavedModel: encoded images in, maps of their own sizes out, equal to what visionkit says."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.tiny import tiny_backbone

from visionkit.export import saved_model
from visionkit.export.map_graph import maps
from visionkit.export.verify import check_export
from visionkit.models import MODELS
from visionkit.predict.maps import to_map
from visionkit.predict.predictor import Predictor
from visionkit.types import IGNORE

SIZE = (64, 96)


def test_the_graph_resizes_as_visionkit_does():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 12, 16, 5))
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype(np.float32)
    original = np.int32([[60, 80], [7, 31], [12, 16]])
    new = np.int32([[12, 16], [4, 16], [12, 16]])
    found = maps({"probabilities": tf.constant(probabilities)}, tf.constant(original), tf.constant(new), None)
    assert found["segmentation"].shape == (3, 60, 80)
    for row, (h, w), (inner_h, inner_w), classes in zip(
        probabilities, original, new, found["segmentation"].numpy(), strict=True
    ):
        expected = to_map(row[:inner_h, :inner_w], (h, w))
        assert len(np.unique(expected)) == 5
        assert (classes[:h, :w] == expected).mean() > 0.999
        outside = np.ones((60, 80), bool)
        outside[:h, :w] = False
        assert (classes[outside] == IGNORE).all()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A segmenter that answers clearly, its export, and images: of two sizes, one turned by its EXIF tag."""
    root, rng = tmp_path_factory.mktemp("map_export"), np.random.default_rng(1)
    keras.utils.set_random_seed(0)
    options = {"class_names": ["a", "b", "c"], "image_size": SIZE, "levels": ("C3", "C4"), "head_units": 8}
    model = MODELS["fcn"](tiny_backbone(levels=("C3", "C4")), 3, **options)
    for variable in model.variables:
        if "kernel" in variable.path and "logits" in variable.path:
            variable.assign(rng.normal(0, 3, variable.shape))
    files = []
    for i, (h, w) in enumerate(((120, 100), (90, 200))):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        picture, file = coarse.resize((w, h), Image.Resampling.BICUBIC), root / f"{i}.jpg"
        exif = picture.getexif()
        exif[0x0112] = 6 if i == 0 else 1
        picture.save(file, exif=exif, quality=95)
        files.append(file)
    saved_model.save(model, root / "exported")
    return model, root / "exported", files


def test_bytes_of_different_sizes_in_one_batch(exported):
    model, folder, files = exported
    expected = list(Predictor(model, one_size=True)(files))
    assert [found.image_size for found in expected] == [(100, 120), (90, 200)]  # the first was turned
    assert all(len(np.unique(found.segmentation)) > 1 for found in expected)
    found = saved_model.load(folder).predict_bytes([file.read_bytes() for file in files])
    assert found["segmentation"].shape == (2, 100, 200)
    assert found["segmentation"].dtype == np.int32
    assert found["image_size"].tolist() == [[100, 120], [90, 200]]
    for one, classes in zip(expected, found["segmentation"], strict=True):
        h, w = one.image_size
        assert (classes[:h, :w] == one.segmentation).mean() >= 0.999
        assert (classes[h:] == IGNORE).all() and (classes[:, w:] == IGNORE).all()


def test_it_takes_a_tasks_place_with_flip_and_window(exported):
    model, folder, files = exported
    for options in ({}, {"flip": True}, {"window": True}):
        models = model, saved_model.load(folder)
        ours, theirs = (list(Predictor(m, batch_size=2, one_size=True, **options)(files)) for m in models)
        for one, other in zip(ours, theirs, strict=True):
            assert (one.segmentation == other.segmentation).mean() >= 0.999, options


def test_it_is_proven_in_a_fresh_process(exported, preloaded):
    model, folder, files = exported
    report = check_export("saved_model", saved_model, Predictor(model, one_size=True), folder, files, 0, "two pictures")
    assert report["verdict"] == "passed"
    assert report["measures"]["equal_pixels"]["worst"] >= 0.999

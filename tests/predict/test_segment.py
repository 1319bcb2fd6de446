"""Segmentation from data to score: classes and void, the run and its first picture, maps at the original's size."""

import json

import keras
import numpy as np
import pytest
from support import tiny_data
from support.painter import Painter, painted
from support.tiny import tiny_backbone

from visionkit.data.recognise import open_dataset
from visionkit.data.shapes import SEGMENTATION_NAMES, shape_maps
from visionkit.data.transforms import segmentation_train
from visionkit.evaluate.scores import evaluate
from visionkit.images import read_image, write_image
from visionkit.models import MODELS
from visionkit.open_model import open_predictor
from visionkit.predict.maps import to_map
from visionkit.predict.predictor import Predictor
from visionkit.resizing import letterbox, letterbox_factors
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.run import run
from visionkit.types import DataError, SegmentationMap

SIZE = (64, 96)


def tiny_fcn(names=SEGMENTATION_NAMES, size=SIZE, **options):
    return MODELS["fcn"](tiny_backbone(), len(names), class_names=names, image_size=size, head_units=16, **options)


def camvid(root):
    """Street scenes of 2 x 2 pixels: values 0, 2 and the void 11."""
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            tiny_data.pair(root / split, root / f"{split}annot", f"{split}{i}", [[0, 2], [2, 11]])
    return root


def test_a_file_of_classes_or_a_void_value_says_what_the_values_are(tmp_path):
    camvid(tmp_path / "data")
    names = tiny_data.text(tmp_path / "names.txt", "".join(f"name{i}\n" for i in range(11)) + "void\n")
    named = open_dataset(tmp_path / "data", "val", classes=names)
    assert named.class_names == [f"name{i}" for i in range(11)]
    assert named[0].segmentation.tolist() == [[0, 2], [2, 255]]
    bare = open_dataset(tmp_path / "data", "val", void=11)
    assert bare.class_names == ["0", "2"]
    assert bare[0].segmentation.tolist() == [[0, 1], [1, 255]]
    with pytest.raises(DataError, match=r"only class maps take void, found class folders"):
        for name in "ab":
            tiny_data.picture(tmp_path / "folders" / name / "x.png")
        open_dataset(tmp_path / "folders", void=11)
    with pytest.raises(OSError, match=r"nowhere\.txt"):
        open_dataset(tmp_path / "data", "val", classes=tmp_path / "nowhere.txt")


@pytest.mark.parametrize("size", [(48, 64), (96, 128), (200, 100), (31, 77)])
def test_a_map_has_the_size_of_its_original_and_no_padding_in_it(size):
    classes = np.zeros(size, np.int32)
    classes[:, size[1] // 2 :] = 2
    classes[size[0] // 2 :, :] += 0
    classes[-size[0] // 3 :, : size[1] // 3] = 1
    found = Predictor(Painter())(painted(classes))
    assert isinstance(found, SegmentationMap)
    assert found.segmentation.dtype == np.int32
    assert found.segmentation.shape == found.image_size == size
    wrong = found.segmentation != classes
    # Where two classes meet the resize blends their colours: within 2 network pixels of an edge.
    reach = int(np.ceil(2 * max(size[0] / 48, size[1] / 64)))
    for shift in range(-reach, reach + 1):
        wrong &= np.roll(classes, shift, axis=1) == classes
        wrong &= np.roll(classes, shift, axis=0) == classes
    assert not wrong.any()


def test_probabilities_are_resized_and_not_class_ids():
    probabilities = np.float32([[[0.9, 0.1], [0.4, 0.6]]])  # [1, 2, 2]; the first class falls from .9 to .4
    found = to_map(probabilities, (1, 8))
    # Centres of 8 pixels in cells of the 2: -.375 -.125 .125 .375 .625 .875 1.125 1.375; .9 - .5 x = .5 at x = .8.
    assert found.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]


def test_evaluation_is_at_original_size_with_ids_by_name(tmp_path):
    truth = np.zeros((96, 128), np.int32)
    truth[:, 64:] = 2
    for name, values in (("x", truth), ("y", truth.T)):
        write_image(tmp_path / "images" / f"{name}.png", painted(values))
        tiny_data.mask(tmp_path / "masks" / f"{name}.png", np.where(values == 2, 0, 1))  # c is first in the data
    tiny_data.text(tmp_path / "classes.txt", "c\na\n")
    scores = evaluate(Predictor(Painter()), open_dataset(tmp_path))
    assert scores["images"] == 2
    assert scores["mIoU"] > 0.97
    assert [scores["per_class"][name]["pixels"] for name in "abc"] == [2 * 96 * 64, 0, 2 * 96 * 64]
    assert scores["per_class"]["b"]["IoU"] == -1 or scores["per_class"]["b"]["IoU"] == 0


def recipe(seed: int = 0) -> Recipe:
    train, val = shape_maps(12, SIZE, seed), shape_maps(4, SIZE, seed, split="val")
    phases = [Phase(2, keras.optimizers.Adam(3e-3))]
    transform = segmentation_train(SIZE, scale=(0.75, 1.5))
    return Recipe(model=tiny_fcn(), train=train, val=val, transform=transform, phases=phases, batch_size=4, seed=seed)


def test_a_run_leaves_a_picture_of_the_maps_and_a_model_that_scores_the_same(tmp_path):
    results = run(recipe, {"seed": 0}, tmp_path / "run")
    assert results["class_names"] == list(SEGMENTATION_NAMES)
    assert {"mIoU", "last_mIoU", "pixel_accuracy"} <= set(results)
    assert set(results["per_class"]) == set(SEGMENTATION_NAMES)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["per_class"] == results["per_class"]
    assert read_image(tmp_path / "run" / "first_batch.jpg").size
    scores = evaluate(open_predictor(tmp_path / "run"), shape_maps(4, SIZE, split="val"))
    assert scores["mIoU"] == pytest.approx(results["mIoU"], abs=1e-6)


def test_letterboxed_truth_survives_the_way_there_and_back():
    """A map of ones and zeros, brought to the network's size and back: only pixels beside the edge may change."""
    classes = np.zeros((50, 120), np.int32)
    classes[10:30, 20:70] = 1
    canvas = letterbox(painted(classes), SIZE)[0][..., 0] / 100.0
    h, w = letterbox_factors(classes.shape, SIZE)[0]
    found = to_map(np.stack([1 - canvas, canvas], axis=-1).astype(np.float32)[:h, :w], classes.shape)
    assert (found != classes).mean() < 0.02
    assert (found[13:27, 23:67] == 1).all()

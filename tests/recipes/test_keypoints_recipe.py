"""Fine-tuning a Keypoint R-CNN on drawn figures: what is built, and that it fits its data."""

from dataclasses import replace

import numpy as np
import pytest

from visionkit.checks.preflight import oracle, practice
from visionkit.data.dataset import Dataset
from visionkit.data.figures import SKELETON, figures
from visionkit.data.recognise import open_dataset
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.models.keypoint_rcnn import KeypointRCNN
from visionkit.recipes.detect import detect
from visionkit.recipes.keypoints import keypoints
from visionkit.skeletons import skeleton_of
from visionkit.types import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("figures")
    for split, count in (("train", 6), ("val", 2)):
        write_coco(figures(count, split=split), root, split)
    return root


@pytest.fixture(scope="module")
def recipe(data):
    return keypoints(data, image_size=128, epochs=1)


def test_the_model_gets_the_skeleton_of_the_data(recipe, capsys):
    assert isinstance(recipe.model, KeypointRCNN)
    assert recipe.model.skeleton == SKELETON
    assert recipe.model.class_names == ["figure"]
    assert recipe.val is not None and recipe.val.records[0].keypoints is not None


def test_perfect_outputs_score_one(recipe):
    row = oracle(recipe)
    assert row.ok, row
    assert "keypoint_mAP50 1.000" in row.figure


@pytest.mark.slow
def test_the_check_gives_no_false_alarm(data):
    """Its eight layers without normalisation were thrown off by Adam's first steps at the full rate."""
    rows = {row.name: row for row in practice(keypoints(data, image_size=128, epochs=1, batch_size=2))}
    assert rows["learning"].ok and rows["numbers"].ok, rows


def test_the_detector_may_be_named_instead_of_the_task(data):
    recipe = detect(data, model="keypoint_rcnn", image_size=128, epochs=1)
    assert recipe.model.task == "keypoints"
    with pytest.raises(DataError, match="model 'ssd' is for the task detect, not keypoints"):
        keypoints(data, model="ssd")


def test_images_are_mirrored_only_where_left_and_right_are_known(data, tmp_path, capsys):
    left_out = [replace(one, skeleton=skeleton_of("abcdefg")) for one in open_dataset(data, task="keypoints")]
    write_coco(Dataset(left_out, ["figure"]), tmp_path, "train")
    recipe = keypoints(tmp_path, image_size=128, epochs=1)
    assert "do not tell left from right, so images are not mirrored" in capsys.readouterr().out
    for seed in range(20):  # half of which would mirror it, and that is refused
        assert recipe.transform(recipe.train[0], seed).keypoints.shape[1:] == (7, 3)


def test_data_without_keypoints_is_refused(tmp_path):
    write_coco(shapes(3, (64, 64)), tmp_path, "train")
    with pytest.raises(DataError, match="found COCO JSON, which is for detect, not keypoints"):
        keypoints(tmp_path)


def test_samples_with_different_skeletons_are_refused():
    from visionkit.data.keypoints import skeleton_of_data

    one, other = figures(2).records
    other = replace(other, skeleton=skeleton_of(["tip"]), keypoints=np.zeros((len(other.boxes), 1, 3), np.float32))
    with pytest.raises(DataError, match="the data set: its images have different keypoints; expected one skeleton"):
        skeleton_of_data(Dataset([one, other], ["figure"]))
    with pytest.raises(DataError, match="its images have no keypoints"):
        skeleton_of_data(Dataset([replace(one, keypoints=None, skeleton=None)], ["figure"]))


def test_keypoints_that_nobody_has_marked_or_val_has_otherwise_are_refused():
    from visionkit.data.keypoints import skeleton_of_data

    whole = figures(2)
    unmarked = [replace(record, keypoints=np.zeros_like(record.keypoints)) for record in whole.records]
    with pytest.raises(DataError, match=r"^mine: none of the 7 keypoints is annotated in any image"):
        skeleton_of_data(Dataset(unmarked, ["figure"], source="mine"))
    names = whole.records[0].skeleton.names
    turned = skeleton_of([*names[1:], names[0]])
    others = Dataset([replace(record, skeleton=turned) for record in whole.records], ["figure"], source="its val")
    with pytest.raises(DataError, match=rf"^its val: its keypoints are {names[1]}, .*, not {names[0]}, "):
        skeleton_of_data(whole, others)
    assert skeleton_of_data(whole, whole).names == names

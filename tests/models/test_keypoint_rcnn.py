"""Keypoint R-CNN's targets and loss by hand, and what it refuses."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from support.models import BUILD, KEYPOINTS, TWO_STAGES
from support.tiny import random_batch, tiny_backbone

from visionkit.models import MODELS
from visionkit.models.keypoint_rcnn import MAP_SIZE
from visionkit.models.transfer import start_from
from visionkit.skeletons import COCO_PERSON
from visionkit.types import DataError

CELLS = MAP_SIZE**2


@pytest.fixture(scope="module")
def model():
    return BUILD["keypoint_rcnn"]()


def targets(model, keypoints, box):
    found = model.keypoint_targets(np.float32([[keypoints]]), np.float32([[box]]), np.int32([[0]]))
    return [ops.convert_to_numpy(value)[0, 0].tolist() for value in found]


def test_a_keypoint_is_in_the_cell_of_its_boxs_map(model):
    # A box of 28 x 56 pixels: a cell has half a pixel across and 1 pixel down.
    box = [10, 20, 38, 76]
    place, known = targets(model, [[10, 20, 2], [38, 76, 1], [11.6, 22.5, 2]], box)
    assert place == [0, 55 * 56 + 55, 2 * 56 + 3]  # the border belongs to the last cell
    assert known == [1, 1, 1]


def test_what_is_not_annotated_or_beside_the_box_is_not_known(model):
    place, known = targets(model, [[12, 22, 0], [9.9, 30, 2], [20, 76.1, 1]], [10, 20, 38, 76])
    assert (place, known) == ([0, 0, 0], [0, 0, 0])


def rois(model, y, boxes):
    """Every box once, as a positive region of the first object."""
    shape = (1, len(boxes))
    size = model.roi_samples
    padded = np.zeros((1, size, 4), np.float32)
    padded[0, : len(boxes)] = boxes
    ones = np.zeros((1, size), np.float32)
    ones[:, : shape[1]] = 1
    zeros = np.zeros((1, size), np.int32)
    return {
        "boxes": ops.convert_to_tensor(padded),
        "matched": ops.convert_to_tensor(zeros),
        "labels": ops.convert_to_tensor(zeros),
        "deltas": ops.zeros((1, size, 4)),
        "positive": ops.convert_to_tensor(ones),
        "drawn": ops.convert_to_tensor(ones),
    }


def keypoint_loss(model, keypoints, boxes=((10, 20, 38, 56),)):
    images, y = random_batch(batch=1)
    y = {key: ops.convert_to_tensor(value[:, :1]) for key, value in y.items()} | {
        "keypoints": ops.convert_to_tensor(np.float32([[keypoints]]))
    }
    return float(model.roi_losses(rois(model, y, boxes), y, model(images), training=False)["keypoint_loss"])


def test_the_loss_is_the_mean_over_annotated_keypoints(model):
    first, second = [12, 22, 2], [30, 50, 1]
    a = keypoint_loss(model, [first, [0, 0, 0], [0, 0, 0]])
    b = keypoint_loss(model, [[0, 0, 0], second, [0, 0, 0]])
    assert keypoint_loss(model, [first, second, [0, 0, 0]]) == pytest.approx((a + b) / 2, rel=1e-5)
    assert a == pytest.approx(math.log(CELLS), rel=0.5)  # an untrained head finds every cell about equally likely
    assert keypoint_loss(model, [[0, 0, 0]] * 3) == 0
    assert keypoint_loss(model, [[60, 60, 2]] * 3) == 0  # beside the region


def test_every_weight_learns(model):
    model = BUILD["keypoint_rcnn"]()
    model.compile(optimizer=keras.optimizers.SGD(1.0), run_eagerly=True)
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    losses = model.train_on_batch(*random_batch(batch=2), return_dict=True)
    assert 0 < losses["keypoint_loss"] < 2 * math.log(CELLS)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert 0 < np.abs(ops.convert_to_numpy(variable) - old).max() < np.inf, variable.path


def test_images_without_objects_and_without_keypoints_are_learned_from():
    model = BUILD["keypoint_rcnn"]()
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    images, y = random_batch(batch=2)
    for change in ({"labels": np.full((2, 8), -1, np.int32)}, {"keypoints": np.zeros((2, 8, 3, 3), np.float32)}):
        losses = model.train_on_batch(images, y | change, return_dict=True)
        assert losses["keypoint_loss"] == 0 < losses["loss"] < 1e3
    assert all(np.isfinite(ops.convert_to_numpy(v)).all() for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((2, 8, 4, 3), np.float32)}, r"expected keypoints \(2, 8, 3, 3\) for the labels"),
        ({"keypoints": np.full((2, 8, 3, 3), 5, np.float32)}, "the third numbers of keypoints must be 0, 1 or 2"),
    ],
)
def test_wrong_keypoints_are_refused_before_they_are_learned(model, change, message):
    model.compile(optimizer="sgd")
    images, y = random_batch(batch=2)
    with pytest.raises(DataError, match=f"KeypointRCNN: {message}"):
        model.train_on_batch(images, y | change)
    del y["keypoints"]
    with pytest.raises(DataError, match='KeypointRCNN: the targets lack "keypoints"'):
        model.train_on_batch(images, y)


def test_the_skeleton_is_cocos_unless_named_otherwise():
    person = MODELS["keypoint_rcnn"](tiny_backbone(), keypoint_channels=8, **TWO_STAGES)
    assert person.skeleton == COCO_PERSON
    assert person.serving().output["heatmaps"].shape[2:] == (56, 56, 17)
    named = MODELS["keypoint_rcnn"](tiny_backbone(), limbs=[(0, 2)], **KEYPOINTS, **TWO_STAGES)
    assert named.skeleton.limbs == ((0, 2),)
    assert type(named).from_config(named.get_config()).skeleton == named.skeleton


def test_it_starts_from_a_faster_rcnn():
    start = BUILD["faster_rcnn"]()
    model, transfer = start_from(start, ["dog"], (64, 96), kind=MODELS["keypoint_rcnn"], **KEYPOINTS)
    assert transfer.sources == {"dog": "dog"}
    assert transfer.fresh and all("keypoint_" in path for path in transfer.fresh)
    assert model.skeleton.names == tuple(KEYPOINTS["keypoint_names"])

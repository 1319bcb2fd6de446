"""Keypoints from COCO's files to batches and back."""

import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_data import H, W, coco, coco_dict, coco_keypoints

from visionkit.data.albumentations_adapter import A
from visionkit.data.augment import Augment
from visionkit.data.batches import batches
from visionkit.data.convert import convert
from visionkit.data.figures import SKELETON, figures
from visionkit.data.readers.coco import coco_keypoints as read
from visionkit.data.recognise import open_dataset, tasks_of
from visionkit.data.render import Transform
from visionkit.data.repair import Repairs
from visionkit.data.transforms import detection_train
from visionkit.data.views import Flip, View
from visionkit.data.writers import write_annotations, write_coco
from visionkit.doctor import examine
from visionkit.doctor.fix import _without
from visionkit.skeletons import skeleton_of
from visionkit.types import DataError, Sample, check_sample

BOX = [2, 3, 20, 24]
NAMES = ["nose", "left_hand", "right_hand"]


def person(keypoints, **more):
    return {"bbox": BOX, "keypoints": keypoints, **more}


def sample(names=NAMES, keypoints=((10, 8, 2), (4, 20, 1), (0, 0, 0))):
    return Sample(
        id="a",
        image_size=(H, W),
        image=np.zeros((H, W, 3), np.uint8),
        boxes=np.float32([[2, 3, 22, 27]]),
        labels=np.int32([0]),
        keypoints=np.float32([keypoints]),
        skeleton=skeleton_of(names, [(0, 1)]),
    )


def test_keypoints_are_read_with_their_skeleton(tmp_path):
    coco_keypoints(tmp_path, [person([10, 8, 2, 4.5, 20, 1, 7, 7, 0]), person(None), person([0] * 9, iscrowd=1)])
    data = open_dataset(tmp_path)
    assert tasks_of(tmp_path) == ("keypoints", "detect")
    assert data.source.endswith("boxes and keypoints")
    record = data.records[0]
    assert record.keypoints.tolist() == [[[10, 8, 2], [4.5, 20, 1], [0, 0, 0]], [[0, 0, 0]] * 3, [[0, 0, 0]] * 3]
    assert record.ignore.tolist() == [False, False, True]
    assert record.skeleton == skeleton_of(NAMES, [(0, 1), (0, 2)])
    assert check_sample(pickle.loads(pickle.dumps(data))[0]).masks is None


def test_cocos_own_folder_holds_boxes_and_keypoints_side_by_side(tmp_path):
    coco(tmp_path, coco_dict([{"bbox": BOX}]), "annotations/instances_val2017.json", "val2017")
    coco_keypoints(tmp_path, [person([1] * 9)], "annotations/person_keypoints_val2017.json", "val2017")
    assert open_dataset(tmp_path).class_names == ["cat", "dog"]
    for split in (None, "val", "val2017"):
        assert open_dataset(tmp_path, split, "keypoints").class_names == ["person"]
    assert open_dataset(tmp_path, task="detect").records[0].keypoints is None


def test_detect_takes_the_boxes_alone(tmp_path):
    data = open_dataset(coco_keypoints(tmp_path, [person([1] * 9)]), task="detect")
    assert (data[0].keypoints, data[0].skeleton) == (None, None)
    assert data.source.endswith("boxes")


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            person([1, 1, 2]),
            "keypoints: expected 3 numbers for each of the 3 keypoints, found 3 numbers, so 1 keypoints",
        ),
        (
            person([1, 1, 2] * 4),
            "for each of the 3 keypoints, found 12 numbers, so 4 keypoints: does the category name all of them?",
        ),
        (person("nose"), "keypoints: expected 3 numbers for each of the 3 keypoints, found nose"),
        (person([1, 1, 2] * 2 + [1, 1, 3]), "the visibility of right_hand must be 0, 1 or 2, found 3"),
        (person([1, "x", 2] * 3), "keypoints: expected a number, found 'x'"),
    ],
)
def test_a_broken_annotation_is_refused_or_for_the_doctor_left_out(tmp_path, annotation, message):
    coco_keypoints(tmp_path, [annotation, person([1, 1, 2] * 3)])
    with pytest.raises(DataError, match=rf"annotations\[0\]: {re.escape(message)}|annotations\[0\].*{message}"):
        read(tmp_path)
    repairs = Repairs("COCO JSON", collect=True)
    assert len(read(tmp_path, repairs=repairs).records[0].boxes) == 1
    assert message in repairs.findings[0].message


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"keypoints": []}], "no category has `keypoints`, the names of its keypoints"),
        ([{"keypoints": "nose"}], r"categories\[0\]: expected keypoints, a list of 1000 different names at most"),
        ([{"keypoints": ["a", "a"]}], r"categories\[0\]: expected keypoints, a list of 1000 different names at most"),
        ([{"keypoints": ["a"], "skeleton": [[0, 1]]}], r"expected skeleton, pairs of 1 to 1, found \[0, 1\]"),
        (
            [{"keypoints": ["a", "b"], "skeleton": [[1, 2], [2, 3]]}],
            r"categories\[0\]: `skeleton` joins keypoint 3, but `keypoints` has 2 names: is one missing\?",
        ),
        ([{"keypoints": ["a"], "skeleton": 3}], r"expected skeleton, pairs of 1 to 1, found None"),
        ([{"keypoints": ["a"]}, {"keypoints": ["b"]}], "the categories 'c0', 'c1' have different keypoints"),
    ],
)
def test_a_broken_skeleton_is_refused(tmp_path, categories, message):
    content = coco_dict([], categories=[(i, f"c{i}") for i in range(len(categories))])
    for category, more in zip(content["categories"], categories, strict=True):
        category |= more
    coco(tmp_path, content)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_keypoint_outside_its_image_counts_as_not_annotated_and_is_reported(tmp_path, caplog):
    coco_keypoints(tmp_path, [person([W + 0.3, 8, 2, W + 5, 20, 2, 7, 7, 1])])
    assert open_dataset(tmp_path).records[0].keypoints.tolist() == [[[W, 8, 2], [0, 0, 0], [7, 7, 1]]]
    assert "1 keypoints outside their image, read as not annotated (a)" in caplog.text
    findings = examine.examine(tmp_path).findings
    found = next(finding for finding in findings if finding.kind == "keypoint outside the image")
    assert found.message.endswith(f"left_hand at {W + 5} 20 in an image of {W} x {H}")


def test_the_doctor_reports_visibilities_that_there_are_not(tmp_path):
    coco_keypoints(tmp_path, [person([1, 1, 2] * 3), person([1, 1, 7] * 3)])
    kinds = [finding.kind for finding in examine.examine(tmp_path).findings]
    assert "keypoint visibility" in kinds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((1, 2, 3), np.float32)}, r"expected keypoints float32 \(1, 3, 3\)"),
        ({"skeleton": None}, "expected a skeleton that names the keypoints"),
        (
            {"keypoints": np.float32([[[1, 1, 2], [1, 1, 4], [0, 0, 0]]])},
            r"expected visibility 0, 1 or 2, found .*4\.0\]",
        ),
        ({"keypoints": np.float32([[[1, 1, 2], [41, 1, 2], [0, 0, 0]]])}, r"expected keypoints with x 0\.\.40.*41"),
        ({"keypoints": np.float32([[[1, 1, 2], [1, 1, 1], [3, 0, 0]]])}, "and 0 0 0 where none is annotated"),
    ],
)
def test_samples_keep_the_convention(change, message):
    assert check_sample(sample())
    with pytest.raises(DataError, match=message):
        check_sample(replace(sample(), **change))


def test_what_is_written_is_read_again(tmp_path):
    data = figures(3)
    write_coco(data, tmp_path, "train")
    again = open_dataset(tmp_path, task="keypoints")
    assert again.records[0].skeleton == SKELETON
    for old, new in zip(data.records, again.records, strict=True):
        np.testing.assert_allclose(new.keypoints, old.keypoints, atol=1e-4)
    written = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    assert written["annotations"][0]["num_keypoints"] == 7
    assert written["categories"][0]["skeleton"][0] == [1, 2]


def test_convert_keeps_keypoints_in_coco_alone(tmp_path):
    coco_keypoints(tmp_path / "data", [person([10, 8, 2, 4, 20, 1, 0, 0, 0])])
    convert(tmp_path / "data", "coco", tmp_path / "out")
    assert open_dataset(tmp_path / "out", task="keypoints").records[0].keypoints[0, 1].tolist() == [4, 20, 1]
    with pytest.raises(DataError, match=r"yolo keeps no keypoints, but COCO JSON .*; --task detect writes"):
        convert(tmp_path / "data", "yolo", tmp_path / "yolo")
    convert(tmp_path / "data", "yolo", tmp_path / "yolo", "detect")
    assert open_dataset(tmp_path / "yolo").records[0].boxes.shape == (1, 4)


def test_the_doctor_keeps_the_keypoints_of_the_boxes_that_it_keeps():
    two = figures(20, max_objects=2).records
    record = next(record for record in two if len(record.boxes) == 2)
    assert _without(record, [0]).keypoints.tolist() == record.keypoints[1:].tolist()


def flipped(x, y, one):
    """A sample after a certain flip, at its own size."""
    return Transform((H, W), views=[lambda view, *_: Flip(x, y)(view, one, np.random.default_rng(0))])(one, 0)


def test_a_mirror_image_exchanges_left_and_right():
    once = flipped(1, 0, sample())
    assert once.keypoints.tolist() == [[[W - 10, 8, 2], [0, 0, 0], [W - 4, 20, 1]]]
    twice = flipped(1, 0, once)
    assert twice.keypoints.tolist() == sample().keypoints.tolist()
    # Upside down is a mirror image too, but both together turn the image by half a circle.
    assert flipped(0, 1, sample()).keypoints.tolist() == [[[10, H - 8, 2], [0, 0, 0], [4, H - 20, 1]]]
    assert flipped(1, 1, sample()).keypoints.tolist() == [[[W - 10, H - 8, 2], [W - 4, H - 20, 1], [0, 0, 0]]]


def test_a_mirror_image_is_refused_where_left_and_right_are_unknown():
    one = sample(["a", "b", "c"])
    with pytest.raises(
        DataError, match="sample 'a': cannot be mirrored, because it is not known which of its keypoints"
    ):
        flipped(1, 0, one)
    assert flipped(1, 1, one).keypoints[0, 0].tolist() == [W - 10, H - 8, 2]


def test_a_crop_hides_the_keypoints_beyond_it():
    cropped = Transform((20, 20), views=[lambda *_: View(5, 5, 25, 25)])(sample(), 0)
    assert cropped.keypoints.tolist() == [[[5, 3, 2], [0, 0, 0], [0, 0, 0]]]
    assert len(cropped.boxes) == 1


def test_keypoints_follow_their_pixels_through_every_transform():
    """The head of a figure is the brightest thing in its image, wherever the transform puts it."""
    transform, found = detection_train((96, 96), max_expand=2.0), 0
    for i, one in enumerate(figures(12, max_objects=1)):
        after = check_sample(transform(replace(one, image=(one.image > 200).astype(np.uint8) * 255), i))
        for x, y, visible in after.keypoints[:, 0]:
            if visible and 2 < x < 94 and 2 < y < 94:
                found += 1
                assert after.image[int(y), int(x)].min() > 100, (i, x, y)
    assert found >= 6


def test_batches_hold_the_keypoints_of_the_largest_objects():
    transform = detection_train((64, 64), strength="none")
    _, y = next(iter(batches(figures(4), transform, 4, task="keypoints", shuffle=False)))
    assert y["keypoints"].shape == (4, 8, 7, 3)
    np.testing.assert_allclose(y["keypoints"][0, 0], figures(1).records[0].keypoints[0] * [0.5, 0.5, 1], atol=1e-4)
    assert not y["keypoints"][y["labels"] < 0].any()
    assert "keypoints" not in next(iter(batches(figures(4), transform, 4)))[1]
    with pytest.raises(DataError, match="task 'keypoints' needs keypoints, found None"):
        bare = figures(4)
        bare.load = lambda record: replace(record, image=np.zeros((128, 128, 3), np.uint8), keypoints=None)
        next(iter(batches(bare, transform, 4, task="keypoints")))


@pytest.mark.parametrize("pipeline", ["albumentations", "keras"])
def test_pipelines_of_others_may_change_colours_alone(pipeline):
    import keras

    colours = A.RandomBrightnessContrast(p=1) if pipeline == "albumentations" else keras.layers.RandomBrightness(0.3)
    moves = A.HorizontalFlip() if pipeline == "albumentations" else keras.layers.RandomFlip("horizontal")
    one = figures(1)[0]
    after = Augment([colours], (128, 128))(one, 3)
    assert after.keypoints.tolist() == one.keypoints.tolist()
    assert (after.image != one.image).any()
    with pytest.raises(DataError, match="moves pixels, and keypoints cannot be kept in step"):
        Augment([colours, moves], (128, 128))(one, 0)


def test_drawn_figures_are_the_same_every_time():
    assert figures(2)[1].image.tolist() == figures(3)[1].image.tolist()
    assert figures(1, seed=1).records[0].keypoints.tolist() != figures(1).records[0].keypoints.tolist()
    visible = np.concatenate([record.keypoints[..., 2].ravel() for record in figures(30).records])
    assert set(visible) == {1, 2}
    for one in figures(10):
        check_sample(one, 1)
    with pytest.raises(ValueError, match="figures: expected count >= 0"):
        figures(1, image_size=(32, 32))


def test_annotations_without_keypoints_are_written_as_before(tmp_path):
    plain = [replace(record, keypoints=None, skeleton=None) for record in figures(1).records]
    write_annotations(plain, ["figure"], tmp_path / "a.json", lambda record: record.id)
    assert "keypoints" not in (tmp_path / "a.json").read_text()


def test_the_doctor_finds_what_training_would_refuse(tmp_path):
    """Keypoints of which none is marked, and a val split with another skeleton."""
    names = [*NAMES[1:], NAMES[0]]
    coco_keypoints(tmp_path, [person([1, 1, 2] * 3)], "train/_annotations.coco.json", "train")
    coco_keypoints(tmp_path, [person([1, 1, 0] * 3)], "valid/_annotations.coco.json", "valid")
    file = tmp_path / "test" / "_annotations.coco.json"
    coco_keypoints(tmp_path, [person([1, 1, 2] * 3)], "test/_annotations.coco.json", "test")
    content = json.loads(file.read_text())
    for category in content["categories"]:
        category["keypoints"] = names
    file.write_text(json.dumps(content))
    diagnosis = examine.examine(tmp_path, task="keypoints")
    val, test = [finding.message for finding in diagnosis.findings if finding.kind == "no keypoints"]
    assert val.startswith("split val: ") and "none of the 3 keypoints is annotated in any image" in val
    assert test.startswith("split test: ") and f"its keypoints are {names[0]}, " in test
    assert diagnosis.grades()["error"] >= 2

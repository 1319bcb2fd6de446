"""The readers of images with masks."""

import numpy as np
import pytest
from PIL import Image
from support import tiny_data

from visionkit import limits, npboxes
from visionkit.data.readers.mask_pairs import splits
from visionkit.data.readers.masks import instance_masks, semantic_masks
from visionkit.types import DataError, check_sample

MAP = [[0, 0, 3], [7, 7, 255]]


def test_values_become_class_ids_named_by_their_value(tmp_path):
    tiny_data.pair(tmp_path / "images", tmp_path / "masks", "a", MAP)
    tiny_data.pair(tmp_path / "images", tmp_path / "masks", "b", [[3, 7], [3, 9]], suffix="_mask")
    data = semantic_masks(tmp_path)
    assert data.class_names == ["0", "3", "7", "9"]
    assert data[0].segmentation.tolist() == [[0, 0, 1], [2, 2, 255]]
    assert data[1].segmentation.tolist() == [[1, 2], [1, 3]]
    assert data[0].image.shape == (2, 3, 3)
    assert data.records[0].segmentation is None
    for sample in data:
        check_sample(sample, 4)


def test_0_and_255_alone_are_two_classes(tmp_path):
    tiny_data.pair(tmp_path / "image", tmp_path / "label", "0", [[0, 255], [255, 0]])
    data = semantic_masks(tmp_path)
    assert data.class_names == ["0", "255"]
    assert data[0].segmentation.tolist() == [[0, 1], [1, 0]]
    names = tiny_data.text(tmp_path / "classes.txt", "background\nroad\n")
    named = semantic_masks(tmp_path)
    assert (named.class_names, named[0].segmentation.tolist()) == (["background", "road"], [[0, 1], [1, 0]])
    names.write_text("background\nvoid\n")
    assert semantic_masks(tmp_path)[0].segmentation.tolist() == [[0, 255], [255, 0]]


def test_classes_txt_names_values_and_void_is_ignored(tmp_path):
    tiny_data.pair(tmp_path / "images", tmp_path / "masks", "a", [[0, 1, 2, 255]])
    names = tiny_data.text(tmp_path / "classes.txt", "sky\nVoid\nroad\ncar\n")
    data = semantic_masks(tmp_path)
    assert data.class_names == ["sky", "road", "car"]
    assert data[0].segmentation.tolist() == [[0, 255, 1, 255]]
    names.write_text("sky\nvoid\n")
    with pytest.raises(DataError, match=r"a\.png: holds the value 2, but .*classes\.txt names 0\.\.1"):
        semantic_masks(tmp_path)


def test_a_value_that_comes_in_later_is_an_error_and_not_ignored(tmp_path):
    tiny_data.pair(tmp_path / "images", tmp_path / "masks", "a", MAP)
    data = semantic_masks(tmp_path)
    for value in (5, 9, 254):  # between the classes, above them, and beside 255
        tiny_data.mask(tmp_path / "masks" / "a.png", [[0, 0, 3], [7, value, 255]])
        with pytest.raises(DataError, match=rf"masks/a\.png: holds the value {value}, which is no class"):
            data[0]
    tiny_data.mask(tmp_path / "masks" / "a.png", [[255, 0, 3], [7, 0, 255]])
    assert data[0].segmentation.tolist() == [[255, 0, 1], [2, 0, 255]]


def test_camvid_layout_void_and_ids_equal_in_all_splits(tmp_path):
    tiny_data.pair(tmp_path / "train", tmp_path / "trainannot", "a", [[0, 2, 11]])
    tiny_data.pair(tmp_path / "val", tmp_path / "valannot", "b", [[1, 2, 2]])
    data = semantic_masks(tmp_path, "val", void=11)
    assert splits(tmp_path) == ["train", "val"]
    assert data.class_names == ["0", "1", "2"]
    assert data[0].segmentation.tolist() == [[1, 2, 2]]
    assert semantic_masks(tmp_path, "train", void=11)[0].segmentation.tolist() == [[0, 2, 255]]
    assert [r.id for r in semantic_masks(tmp_path).records] == ["train/a", "val/b"]
    with pytest.raises(DataError, match="void: expected a value of the masks, 0 to 65535, found -1"):
        semantic_masks(tmp_path, void=-1)
    with pytest.raises(DataError, match="no split 'test'; there are: train, val"):
        semantic_masks(tmp_path, "test")


@pytest.mark.parametrize("where", ["", "ImageSets/Segmentation"])
def test_lists(tmp_path, where):
    for name in "abc":
        tiny_data.pair(tmp_path / "JPEGImages", tmp_path / "SegmentationClass", name, MAP)
    file = tiny_data.text(tmp_path / where / "train.txt", "c\n/other/machine/a.png /other/a_L.png\n")
    assert [r.id for r in semantic_masks(tmp_path, "train").records] == ["JPEGImages/c", "JPEGImages/a"]
    assert len(semantic_masks(tmp_path)) == 3
    tiny_data.pair(tmp_path / "JPEGImages", tmp_path / "SegmentationClass", "IMG 1", MAP)
    file.write_text("IMG 1\nb.png a.png\n")
    assert [r.file.name for r in semantic_masks(tmp_path, "train").records] == ["IMG 1.png", "b.png"]
    file.write_text("a\nd\n")
    with pytest.raises(DataError, match=r"train\.txt:2: 'd' has no image"):
        semantic_masks(tmp_path, "train")


@pytest.mark.parametrize("layout", ["images/{} masks/{}", "{}/images {}/masks"])
def test_split_folders(tmp_path, layout):
    for split in ("train", "valid"):
        images, masks = layout.format(split, split).split()
        tiny_data.pair(tmp_path / images, tmp_path / masks, "x", MAP)
    assert len(semantic_masks(tmp_path, "val")) == 1
    assert len(semantic_masks(tmp_path)) == 2
    lone = tmp_path / layout.format("val2017", "").split()[0]
    tiny_data.picture(lone / "x.png")
    with pytest.raises(DataError, match=f"{lone}: its masks .*val2017.* do not exist"):
        semantic_masks(tmp_path)


def test_instances(tmp_path):
    tiny_data.pair(tmp_path / "PNGImages", tmp_path / "PedMasks", "a", [[0, 5, 5, 0], [2, 0, 5, 0]], suffix="_mask")
    tiny_data.pair(tmp_path / "PNGImages", tmp_path / "PedMasks", "b", [[0, 0]], suffix="_mask")
    data = instance_masks(tmp_path)
    a, b = data
    assert data.class_names == ["object"]
    assert a.boxes.tolist() == [[0, 1, 1, 2], [1, 0, 3, 2]]  # value 2, then value 5
    assert a.masks.tolist() == [[[0, 0, 0, 0], [1, 0, 0, 0]], [[0, 1, 1, 0], [0, 0, 1, 0]]]
    assert (b.boxes.shape, b.masks.shape) == ((0, 4), (0, 1, 2))
    assert data.records[0].masks is None
    for sample in data:
        check_sample(sample, 1)
    tiny_data.text(tmp_path / "classes.txt", "person\n")
    assert instance_masks(tmp_path).class_names == ["person"]
    tiny_data.text(tmp_path / "classes.txt", "person\ncar\n")
    with pytest.raises(DataError, match=r"classes\.txt: expected one class"):
        instance_masks(tmp_path)


def test_what_does_not_fit_together_is_named(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    with pytest.raises(DataError, match="expected images/ beside masks/"):
        semantic_masks(tmp_path)
    tiny_data.pair(images, masks, "a", MAP)
    other = tiny_data.mask(masks / "b.png", MAP)
    with pytest.raises(DataError, match=r"masks/b\.png: its image .*images/b\.jpg"):
        semantic_masks(tmp_path)
    tiny_data.picture(images / "b.png", (5, 5))
    with pytest.raises(DataError, match=r"masks/b\.png: height, width \(2, 3\), but its image has \(5, 5\)"):
        instance_masks(tmp_path)
    with pytest.raises(DataError, match=r"masks/b\.png: height, width \(2, 3\), but its image has \(5, 5\)"):
        semantic_masks(tmp_path)
    other.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"masks/b\.png"):
        semantic_masks(tmp_path)


def test_photographs_are_not_masks(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tiny_data.pair(images, masks, "a", values)
    assert len(semantic_masks(tmp_path).class_names) == 255
    tiny_data.picture(images / "a.png", (40, 40))
    Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)).save(masks / "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected a class map of at most 255 values, found 1599"):
        semantic_masks(tmp_path)
    with pytest.raises(DataError, match="1599 values are above the limit of 1000"):
        instance_masks(tmp_path)


def test_image_without_mask_is_left_out_aloud(tmp_path, caplog):
    tiny_data.pair(tmp_path / "images", tmp_path / "masks", "a", MAP)
    tiny_data.picture(tmp_path / "images" / "b.png")
    assert len(semantic_masks(tmp_path)) == 1
    assert len(caplog.messages) == 1 and "1 image of" in caplog.text and "(b.png)" in caplog.text


def test_lists_say_what_is_learned_of_scenes(tmp_path):
    for scene in ("seqA", "seqB"):
        for name in ("0", "1"):
            tiny_data.pair(tmp_path / "images" / scene, tmp_path / "masks" / scene, name, MAP)
    tiny_data.text(tmp_path / "train.txt", "seqA/0.png\n/elsewhere/images/seqB/1.png\n")
    tiny_data.text(tmp_path / "val.txt", "seqB/0.png\n")
    assert splits(tmp_path) == ["train", "val"]
    assert [r.id for r in semantic_masks(tmp_path, "train").records] == ["images/seqA/0", "images/seqB/1"]
    assert [r.id for r in semantic_masks(tmp_path, "val").records] == ["images/seqB/0"]
    tiny_data.text(tmp_path / "val.txt", "0.png\n")
    with pytest.raises(DataError, match=r"val\.txt:1: '0\.png' may be any of 2 images"):
        semantic_masks(tmp_path, "val")


def test_two_images_of_one_name_have_masks_with_their_suffix(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name, values in (("a.jpg", MAP), ("a.png", [[0, 0, 0], [0, 0, 0]])):
        tiny_data.picture(images / name, (2, 3))
        tiny_data.mask(masks / f"{name}.png", values)
    assert [sample.segmentation.max() for sample in semantic_masks(tmp_path)] == [255, 0]
    (masks / "a.jpg.png").rename(masks / "a.png")
    with pytest.raises(DataError, match=r"a\.png: of .*a\.jpg or a\.png\? Name it a\.jpg\.png"):
        semantic_masks(tmp_path)


def test_objects_whose_masks_take_too_much_memory_are_refused(tmp_path, monkeypatch):
    tiny_data.picture(tmp_path / "images" / "a.jpg", (2, 3))
    tiny_data.mask(tmp_path / "masks" / "a.png", [[0, 1, 2], [3, 3, 3]])
    monkeypatch.setattr(limits, "MASKS", 2 * 2 * 3)
    with pytest.raises(DataError, match=r"a\.png: 3 masks of 3 x 2 pixels are above the limit"):
        instance_masks(tmp_path)
    monkeypatch.undo()
    assert instance_masks(tmp_path)[0].masks.tolist() == [
        [[0, 1, 0], [0, 0, 0]],
        [[0, 0, 1], [0, 0, 0]],
        [[0, 0, 0], [1, 1, 1]],
    ]


def test_boxes_of_numbers_are_those_of_masks(rng=np.random.default_rng(0)):  # noqa: B008
    for numbers in (rng.integers(0, 5, (9, 7)), np.zeros((3, 4), int), np.eye(5, dtype=int)):
        objects = numbers == np.arange(1, numbers.max() + 1)[:, None, None]
        np.testing.assert_array_equal(npboxes.of_numbers(numbers), npboxes.of_masks(objects))

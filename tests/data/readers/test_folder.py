"""The reader of class folders."""

import pytest
from support import tiny_data

from visionkit.data.readers.folder import folder, splits
from visionkit.data.recognise import open_dataset
from visionkit.doctor.examine import examine
from visionkit.types import DataError, check_sample


def test_class_folders(tmp_path):
    hidden = ".hidden/1.png", "__MACOSX/1.png", "cat/._1.png", "cat/.thumbnails/1.png"
    for name in ("dog/1.png", "dog/deep/2.JPG", "cat/1.png", *hidden):
        tiny_data.picture(tmp_path / name)
    data = folder(tmp_path)
    assert data.class_names == ["cat", "dog"]
    assert [(s.id, s.label) for s in data] == [("cat/1", 0), ("dog/1", 1), ("dog/deep/2", 1)]
    assert data[0].image_size == (30, 40)
    for sample in data:
        check_sample(sample, 2)


def test_splits_share_class_ids(tmp_path):
    for name in ("train/dog/1.png", "train/ant/1.png", "validation/dog/1.png", "test/wolf/1.png"):
        tiny_data.picture(tmp_path / name)
    assert folder(tmp_path, "val").class_names == ["ant", "dog", "wolf"]
    assert [r.label for r in folder(tmp_path, "val").records] == [1]
    assert len(folder(tmp_path)) == 4
    with pytest.raises(DataError, match="no split 'extra'; there are: test, train, validation"):
        folder(tmp_path, "extra")


@pytest.mark.parametrize("deeper", ["", "images/", "train/"])
def test_folders_of_splits_are_no_classes(tmp_path, deeper):
    for name in ("train", "valid", "test_2017", "dev1", "val", "Validation"):
        tiny_data.picture(tmp_path / name / deeper / "1.png")
    assert splits(tmp_path) == {}
    with pytest.raises(DataError, match="no data set recognised"):
        open_dataset(tmp_path)


def test_a_split_between_classes_is_refused_unless_it_is_a_class_of_a_split(tmp_path):
    for name in ("bus", "train", "car"):
        tiny_data.picture(tmp_path / "a" / name / "1.png"), tiny_data.picture(tmp_path / "b" / "train" / name / "1.png")
    with pytest.raises(DataError, match="a/train: has the name of a split, but lies beside the classes bus, car: move"):
        open_dataset(tmp_path / "a")
    assert open_dataset(tmp_path / "b").class_names == ["bus", "car", "train"]
    tiny_data.picture(tmp_path / "b" / "train" / "images" / "1.png")
    with pytest.raises(DataError, match="images: has the name of a folder of another layout"):
        open_dataset(tmp_path / "b")


def test_broken_image_and_no_classes_are_named(tmp_path):
    with pytest.raises(DataError, match="expected folders of images, one per class"):
        folder(tmp_path)
    tiny_data.text(tmp_path / "cat" / "bad.jpg", "not a picture")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        folder(tmp_path)
    with pytest.raises(DataError, match="nowhere: expected folders"):
        folder(tmp_path / "nowhere")


def test_a_folder_whose_images_lie_deeper_is_no_class_and_that_is_said(tmp_path, caplog):
    for name in ("cat/1.png", "dog/1.png", "bird/2020/1.png", "empty/notes.txt"):
        tiny_data.picture(tmp_path / name) if name.endswith("png") else tiny_data.text(tmp_path / name, "")
    assert folder(tmp_path).class_names == ["cat", "dog"]
    assert f"{tmp_path / 'bird'}: not a class, because its images are deeper: 2020/1.png, ..." in caplog.text
    assert "empty" not in caplog.text
    diagnosis = examine(tmp_path)
    assert [finding.message for finding in diagnosis.by_kind()["deeper folder"]] == [
        caplog.messages[0].partition(": ")[2]
    ]


def test_pictures_of_a_kind_that_is_not_read_are_said(tmp_path, caplog):
    for name in ("cat/1.png", "cat/2.jfif", "dog/1.png"):
        tiny_data.picture(tmp_path / name)
    for name in ("cat/3.heic", "bird/1.HEIC"):
        tiny_data.text(tmp_path / name, "")
    assert len(folder(tmp_path)) == 3
    left = "2 pictures are left out, of a kind that is not read (1.HEIC, ...): save as JPEG or PNG"
    assert caplog.messages == [f"class folders: {tmp_path}: {left}"]
    assert [finding.message for finding in examine(tmp_path).by_kind()["unread image"]] == [f"{tmp_path}: {left}"]


def test_trainval_is_a_split(tmp_path):
    for name in ("trainval/cat/1.png", "trainval/dog/1.png", "test/cat/1.png"):
        tiny_data.picture(tmp_path / name)
    assert sorted(splits(tmp_path)) == ["test", "trainval"]
    assert len(folder(tmp_path)) == 3 and len(folder(tmp_path, "trainval")) == 2

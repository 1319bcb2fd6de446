"""The YOLO reader."""

import numpy as np
import pytest
from support import tiny_data

from visionkit import limits
from visionkit.data.readers.yolo import splits, yolo
from visionkit.types import DataError, check_sample


def test_boxes_polygons_background_and_names(tmp_path):
    labels = {"a": "1 0.5 0.5 0.5 0.2\n\n0 0.1 0.2 0.3 0.2 0.3 0.6\n", "b": "", "c": None}
    data = yolo(tiny_data.yolo(tmp_path, labels, "names: {0: cat, 1: dog}\npath: ../../etc\ntrain: ../x\n"))
    assert data.class_names == ["cat", "dog"]
    # 40 x 30: (0.5 -+ 0.25) * 40, (0.5 -+ 0.1) * 30; polygon x 0.1..0.3 of 40, y 0.2..0.6 of 30
    np.testing.assert_allclose(data[0].boxes, [[10, 12, 30, 18], [4, 6, 12, 18]], atol=1e-4)
    assert data[0].labels.tolist() == [1, 0]
    assert [len(s.boxes) for s in data] == [2, 0, 0]
    assert [s.id for s in data] == ["images/a", "images/b", "images/c"]
    for sample in data:
        check_sample(sample, 2)


@pytest.mark.parametrize("layout", ["images/{}/x.png labels/{}/x.txt", "{}/images/x.png {}/labels/x.txt"])
def test_split_folders(tmp_path, layout):
    for split, label in (("train", 0), ("valid", 3)):
        image, text = layout.format(split, split).split()
        tiny_data.picture(tmp_path / image)
        tiny_data.text(tmp_path / text, f"{label} 0.5 0.5 0.5 0.5")
    assert yolo(tmp_path, "val").records[0].labels.tolist() == [3]
    assert yolo(tmp_path, "train").class_names == ["0", "1", "2", "3"]  # no names: those of all splits
    assert len(yolo(tmp_path)) == 2
    with pytest.raises(DataError, match="no split 'test'; there are: train, valid"):
        yolo(tmp_path, "test")
    lone = {split: layout.format(split, split).split()[0] for split in ("test", "val2017")}
    for name in lone.values():
        tiny_data.picture(tmp_path / name)
        with pytest.raises(DataError, match=f"{(tmp_path / name).parent} has 1 image but no labels/"):
            yolo(tmp_path, "train")
        (tmp_path / name).unlink()


def test_box_over_the_border_is_cut_and_rounding_is_not_worth_a_word(tmp_path, caplog):
    data = yolo(tiny_data.yolo(tmp_path, {"a": "0 0.9 0.5 0.4 0.5\n0 0.5 0.5 1.001 1\n0 0.5 0.5 0 0.1\n"}))
    np.testing.assert_allclose(data.records[0].boxes, [[28, 7.5, 40, 22.5], [0, 0, 40, 30]], atol=1e-4)
    assert caplog.messages == ["YOLO txt: 1 box dropped (zero area: images/a), 1 clipped to the image (images/a)"]


@pytest.mark.parametrize(
    "line,expected",
    [
        ("0 0.5 0.5 0.5", "expected `class cx cy w h`"),
        ("0 0.5 0.5 0.5 0.5 0.9", "expected `class cx cy w h`"),
        ("0.5 0.5 0.5 0.5 0.5", "expected `class cx cy w h`"),
        ("-1 0.5 0.5 0.5 0.5", "expected `class cx cy w h`"),
        ("0 0.5 half 0.5 0.5", "expected a number, found 'half'"),
        ("0 0.5 nan 0.5 0.5", "expected a number, found 'nan'"),
        ("0 10 12 20 6", r"expected fractions of the image \(0..1\)"),
        ("2 0.5 0.5 0.5 0.5", "expected a class 0..1, found 2"),
    ],
)
def test_errors_name_the_file_and_line(tmp_path, line, expected):
    root = tiny_data.yolo(tmp_path, {"a": f"0 0.5 0.5 0.5 0.5\n{line}\n"})
    with pytest.raises(DataError, match=rf"a\.txt:2: {expected}"):
        yolo(root)


@pytest.mark.parametrize(
    "names,expected",
    [
        ("names: [a, [b]]", r"data\.yaml: names: expected a list"),
        ("names: {1: a, 2: b}", r"data\.yaml: names: expected a list"),
        ("names: [a", r"data\.yaml: broken YAML"),
        ("names: !!bool maybe", r"data\.yaml: broken YAML"),
        ("names: [0x" + "f" * 5000 + "]", r"data\.yaml: names: expected a list"),
        ("names: [" + "9" * 5000 + "]", r"data\.yaml: broken YAML"),
        ("names: [a, a]", r"data\.yaml: the class 'a' is named twice"),
        ("names: [a]\nkpt_shape: [17, 3]", r"data\.yaml: kpt_shape: labels with keypoints"),
        ("!!python/object/apply:os.system ['true']", r"data\.yaml: broken YAML"),
        (" " * (2**20 + 1), r"data\.yaml: above the limit of 1 MB"),
    ],
)
def test_wrong_names_are_named(tmp_path, names, expected):
    with pytest.raises(DataError, match=expected):
        yolo(tiny_data.yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.5"}, names))


def test_polygons_are_limited(tmp_path, monkeypatch):
    zigzag = "0" + " -1 0 2 0.1" * 9_000  # 18,000 edges of 3 x 40 pixels
    with pytest.raises(DataError, match=r"a\.txt:1: polygons with edges of 2160000 pixels are above the limit"):
        yolo(tiny_data.yolo(tmp_path, {"a": zigzag}))
    root = tiny_data.yolo(tmp_path, {"a": "0 0 0 1 0 1 1\n0 0 0 1 0 1 1"})
    monkeypatch.setattr(limits, "MASKS", 30 * 40)
    with pytest.raises(DataError, match=r"a\.png: 2 masks of 40 x 30 pixels are above the limit"):
        yolo(root)


def test_classes_txt_and_too_many_classes(tmp_path):
    root = tiny_data.yolo(tmp_path, {"a": "999999999 0.5 0.5 0.5 0.5"}, None)
    with pytest.raises(DataError, match=r"class 999999999, and no data\.yaml"):
        yolo(root)
    root = tiny_data.yolo(tmp_path, {"a": "1 0.5 0.5 0.5 0.5"}, None)
    tiny_data.text(root / "labels" / "classes.txt", "cat\ndog\n")
    assert yolo(root).class_names == ["cat", "dog"]


def test_label_without_image_names_both(tmp_path):
    root = tiny_data.yolo(tmp_path, {"a": ""})
    tiny_data.text(root / "labels" / "b.txt", "")
    with pytest.raises(DataError, match=r"labels/b\.txt: its image .*images/b\.jpg"):
        yolo(root)


def test_two_images_of_one_stem_keep_different_ids(tmp_path):
    root = tiny_data.yolo(tmp_path, {"a": None, "b": "0 .5 .5 .5 .5"})
    tiny_data.picture(root / "images" / "a.jpg")
    assert [r.id for r in yolo(root).records] == ["images/a.jpg", "images/a.png", "images/b"]
    tiny_data.picture(root / "images" / "b.jpg")
    with pytest.raises(DataError, match=r"labels/b.txt: .*b.jpg or b.png. Two images have its name"):
        yolo(root)


def test_a_folder_beside_images_is_no_split_but_by_its_name(tmp_path):
    box = "0 0.5 0.5 0.5 0.5"
    data = yolo(tiny_data.yolo(tmp_path / "a", {"a": box, "b": box, "extra/c": box}))
    assert [(s.id, len(s.boxes)) for s in data] == [("images/a", 1), ("images/b", 1), ("images/extra/c", 1)]
    parts = tiny_data.yolo(tmp_path / "b", {"train/a": box, "test/b": box, "preview": None})
    assert sorted(splits(parts)) == ["test", "train"] and len(yolo(parts, "train")) == 1


def test_a_blank_line_among_names_would_shift_the_ids(tmp_path):
    root = tiny_data.yolo(tmp_path, {"a": "1 0.5 0.5 0.5 0.5"}, None)
    tiny_data.text(root / "classes.txt", "cat\ndog\n\n")
    assert yolo(root).class_names == ["cat", "dog"]
    tiny_data.text(root / "classes.txt", "cat\n\ndog\n")
    with pytest.raises(DataError, match=r"classes\.txt:2: expected .* found a blank line before 'dog'"):
        yolo(root)


def test_files_of_other_systems(tmp_path):
    root = tiny_data.yolo(tmp_path, {"a": "1 0.5 0.5 0.5 0.5"}, "names: [cat, dog]")
    (root / "labels" / "a.txt").rename(root / "labels" / "a.TXT")
    (root / "._data.yaml").write_bytes(b"\x00\x05\x16\x07")  # of a macOS archive
    assert yolo(root).records[0].labels.tolist() == [1]


def test_splits_with_a_capital_are_splits(tmp_path):
    for split in ("Train", "VALID", "Test2017"):
        tiny_data.picture(tmp_path / "images" / split / "x.png")
        tiny_data.text(tmp_path / "labels" / split / "x.txt", "0 0.5 0.5 0.5 0.5")
    for split in ("train", "val", "test"):
        assert len(yolo(tmp_path, split)) == 1


def yolo_splits(root, data_yaml):
    for name in ("train/images/a", "valid/images/b", "test/images/c"):
        tiny_data.picture(root / f"{name}.png")
        tiny_data.text(root / f"{name.replace('images', 'labels')}.txt", "0 .5 .5 .5 .5")
    return tiny_data.text(root / "data.yaml", data_yaml)


def test_a_split_without_labels_is_an_error_and_does_not_vanish(tmp_path):
    file = yolo_splits(tmp_path, "{train: train/images, val: valid/images, test: test/images, names: [cat]}")
    labels = tmp_path / "test" / "labels"
    (labels / "c.txt").unlink()
    labels.rmdir()
    for data in (file, tmp_path):
        assert splits(data) == ["train", "val", "test"]
        with pytest.raises(DataError, match=r"test/images has 1 image but no labels/: label them, or take them out"):
            yolo(data, "train")
    file.unlink()
    with pytest.raises(DataError, match=r"test/images has 1 image but no labels/: expected them in .*test/labels"):
        yolo(tmp_path)


def test_a_folder_with_one_data_yaml_means_that_file(tmp_path):
    file = yolo_splits(tmp_path, "{train: [train/images, test/images], val: valid/images, names: [cat]}")
    for data in (file, tmp_path):
        assert splits(data) == ["train", "val"]
        assert [record.file.name for record in yolo(data, "train").records] == ["a.png", "c.png"]


@pytest.mark.parametrize("with_yaml", [True, False])
def test_lists_of_images_are_splits_of_images_beside_labels(tmp_path, with_yaml):
    tiny_data.yolo(tmp_path, dict.fromkeys("abc", "0 .5 .5 .5 .5"), "{train: train.txt, val: val.txt, names: [cat]}")
    tiny_data.text(tmp_path / "train.txt", "/content/data/images/a.png\nimages/b.png\n")
    tiny_data.text(tmp_path / "val.txt", "./images/c.png\n")
    if not with_yaml:
        (tmp_path / "data.yaml").unlink()
    assert splits(tmp_path) == ["train", "val"]
    assert [record.file.name for record in yolo(tmp_path, "train").records] == ["a.png", "b.png"]
    tiny_data.text(tmp_path / "labels" / "c.txt", "0 .5 .5 .5 .5").unlink()
    with pytest.raises(DataError, match=r"the list of val has 1 image but no labels/"):
        yolo(tmp_path, "train")


def test_lists_of_classes_in_another_order_are_refused(tmp_path):
    tiny_data.yolo(tmp_path, {"a": "0 .5 .5 .5 .5"}, "names: [cat, dog]")
    tiny_data.text(tmp_path / "classes.txt", "dog\ncat\n")
    with pytest.raises(DataError, match=r"data.yaml: its classes are those of .*classes.txt in another order"):
        yolo(tmp_path)


def test_folders_of_machines_are_not_looked_into(tmp_path):
    tiny_data.yolo(tmp_path, {"a": "0 .5 .5 .5 .5"})
    tiny_data.picture(tmp_path / "images" / "@eaDir" / "a.png" / "SYNOPHOTO_THUMB_M.jpg")
    assert [sample.id for sample in yolo(tmp_path).records] == ["images/a"]

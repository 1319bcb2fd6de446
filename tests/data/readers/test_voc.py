"""The Pascal VOC reader."""

import numpy as np
import pytest
from PIL import Image
from support import tiny_data

from visionkit.data.readers.voc import splits, voc
from visionkit.doctor.examine import examine
from visionkit.types import DataError, check_sample


def test_boxes_labels_and_difficult(tmp_path):
    objects = [("dog", 1, 1, 40, 30), ("cat", 5, 6, 10, 12, 1)]
    data = voc(tiny_data.voc(tmp_path, {"a": objects, "b": []}))
    a, b = data
    assert data.class_names == ["cat", "dog"]
    assert a.boxes.tolist() == [[0, 0, 40, 30], [4, 5, 10, 12]]  # 1-based first pixel, last pixel inside
    assert (a.labels.tolist(), a.ignore.tolist()) == ([1, 0], [False, True])
    assert a.image.shape == (30, 40, 3)
    assert (a.id, a.file) == ("a", tmp_path / "JPEGImages" / "a.png")
    assert b.boxes.shape == (0, 4)
    assert "counted from 1" in data.source
    for sample in data:
        check_sample(sample, 2)


def test_one_zero_anywhere_makes_the_whole_set_0_based(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": [("cat", 5, 6, 10, 12)], "b": [("cat", 3, 0, 9, 9)]}, {"train": ["a"]})
    data = voc(root, "train")
    assert data.records[0].boxes.tolist() == [[5, 6, 10, 12]]
    assert "counted from 0" in data.source


def test_splits_share_class_ids(tmp_path):
    images = {"a": [("zebra", 1, 1, 9, 9)], "b": [("ant", 1, 1, 9, 9)], "c": []}
    root = tiny_data.voc(tmp_path, images, {"train": ["a"], "val": ["b", "c"], "ant_train": ["a -1", "b 1"]})
    assert splits(root) == ["train", "val"]
    train, val = voc(root, "train"), voc(root, "validation")
    assert train.class_names == val.class_names == ["ant", "zebra"]
    assert train.records[0].labels.tolist() == [1]
    assert [r.id for r in val.records] == ["b", "c"]
    with pytest.raises(DataError, match="no split 'test'; there are: train, val"):
        voc(root, "test")


def test_names_with_spaces_are_listed_as_they_are(tmp_path):
    images = {id: [("ant", 1, 1, 9, 9)] for id in ("IMG 0", "IMG 1", "photo", "photo (1)")}
    lists = {"train": ["IMG 0", "IMG 1"], "test": ["photo", "photo (1)"], "ant_train": ["IMG 0  1", "IMG 1\t-1"]}
    root = tiny_data.voc(tmp_path, images, lists)
    assert splits(root) == ["test", "train"]
    assert [r.id for split in ("train", "test") for r in voc(root, split).records] == list(images)


def test_wrong_boxes_are_repaired_and_told_in_one_line(tmp_path, caplog):
    bad = [
        ("cat", 5, 5, 5, 5),
        ("cat", -3, 2, 60, 20),
        ("cat", 50, 5, 60, 9),
        ("dog", 9, 9, 4, 12),
        ("dog", 1, 1, 9, 9),
    ]
    data = voc(tiny_data.voc(tmp_path, {"a": bad, "b": [("cat", 5, 5, 9, 5)]}))
    assert data.records[0].boxes.tolist() == [[0, 1, 40, 20], [0, 0, 9, 9]]
    assert data.records[0].labels.tolist() == [0, 1]
    assert caplog.messages == [
        "Pascal VOC XML: 4 boxes dropped (zero area: a, b; outside the image: a; corners in the wrong order: a), "
        "1 clipped to the image (a)"
    ]


def test_image_is_found_by_stem_then_by_filename(tmp_path):
    tiny_data.picture(tmp_path / "images" / "other.png")
    tiny_data.text(tmp_path / "annotations" / "a.xml", tiny_data.voc_xml([], filename="other.png"))
    assert voc(tmp_path).records[0].file.name == "other.png"


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..\\secret.png", "a/../../secret.png", "x" * 300])
def test_file_names_cannot_leave_the_root(tmp_path, name):
    root = tiny_data.voc(tmp_path / "set", {"a": []})
    tiny_data.picture(tmp_path / "set" / "secret.png")
    tiny_data.text(root / "Annotations" / "b.xml", tiny_data.voc_xml([], filename=name))
    with pytest.raises(DataError, match=r"b\.xml: filename: .*not the name of a file inside"):
        voc(root)


@pytest.mark.parametrize(
    "content,expected",
    [
        ("<annotation><object>", r"a\.xml: broken XML: .*line 1"),
        ("", r"a\.xml: broken XML"),
        ('<!DOCTYPE x [<!ENTITY e "eee">]><annotation>&e;</annotation>', r"a\.xml: refused XML"),
        ('<?xml version="1.0" encoding="martian"?><annotation/>', r"a\.xml: (broken|refused) XML"),
        (tiny_data.voc_xml([("cat", 1, 1, "wide", 9)]), r"a\.xml: object 1 \(cat\): xmax: expected a number.*wide"),
        (tiny_data.voc_xml([("cat", 1, 1, 9, 9), ("cat", "nan", 1, 9, 9)]), r"a\.xml: object 2 \(cat\): xmin.*nan"),
        (tiny_data.voc_xml([("cat", 1, 1, 1e300, 9)]), r"a\.xml: object 1 \(cat\): xmax"),
        (tiny_data.voc_xml([("", 1, 1, 9, 9)]), r"a\.xml: object 1: expected a <name>"),
        ("<annotation><object><name>cat</name></object></annotation>", r"a\.xml: object 1 \(cat\): xmin"),
        (tiny_data.voc_xml([], size=(300, 400)), r"a\.xml: says height, width \(300, 400\).*a\.png has \(30, 40\)"),
        (tiny_data.voc_xml([], size=(40, 30)), "EXIF"),
    ],
)
def test_errors_name_the_file_and_the_object(tmp_path, content, expected):
    root = tiny_data.voc(tmp_path, {"a": []})
    tiny_data.text(root / "Annotations" / "a.xml", content)
    with pytest.raises(DataError, match=expected):
        voc(root)


def test_a_size_of_zero_is_no_size(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": []})
    tiny_data.text(root / "Annotations" / "a.xml", tiny_data.voc_xml([], size=(0, 0)))
    assert voc(root).records[0].image_size == (30, 40)


def test_missing_files_are_named_with_what_needs_them(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": [], "b": []}, {"train": ["a", "gone"], "twice": ["a", "a"]})
    with pytest.raises(DataError, match=r"train\.txt:2: image 'gone' has no annotation .*gone\.xml"):
        voc(root, "train")
    with pytest.raises(DataError, match=r"twice\.txt:2: .*already listed in line 1"):
        voc(root, "twice")
    (root / "JPEGImages" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.xml: its image .*b\.png does not exist"):
        voc(root)
    with pytest.raises(DataError, match=r"nowhere: expected Annotations/\*\.xml"):
        voc(tmp_path / "nowhere")


def test_annotation_above_the_limit_is_refused(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": []})
    tiny_data.text(root / "Annotations" / "a.xml", " " * (2 * 2**20 + 1))
    with pytest.raises(DataError, match=r"a\.xml: above the limit of 2 MB"):
        voc(root)


def test_broken_image_is_named_when_it_is_loaded(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": []})
    file = root / "JPEGImages" / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:1000])
    data = voc(root)
    with pytest.raises(DataError, match=r"a\.png"):
        data[0]


def test_images_without_an_annotation_are_said(tmp_path, caplog):
    root = tiny_data.voc(tmp_path, {"a": [("cat", 5, 6, 10, 12)], "b": []})
    (root / "Annotations" / "b.xml").rename(root / "Annotations" / "b.XML")
    for name in ("._a.xml", "._b.XML"):  # of a macOS archive
        (root / "Annotations" / name).write_bytes(b"\x00\x05\x16\x07")
    assert [record.id for record in voc(root)] == ["a", "b"] and not caplog.messages
    tiny_data.picture(root / "JPEGImages" / "c.png")
    assert len(voc(root)) == 2
    assert caplog.messages == [f"Pascal VOC XML: 1 image of {root / 'JPEGImages'} left out without an XML (c.png)"]
    assert "unannotated image" in {finding.kind for finding in examine(root).findings}


def test_of_two_images_of_one_stem_the_annotation_names_its_own(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": [("cat", 5, 6, 10, 12)]})
    tiny_data.picture(root / "JPEGImages" / "a.bmp")
    assert voc(root).records[0].file.name == "a.png"
    xml = root / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("a.png", "other.png"))
    with pytest.raises(DataError, match=r"a\.xml: .*a\.bmp or a\.png\? Its <filename> names neither"):
        voc(root)


def test_an_annotation_does_not_fall_back_on_the_image_of_another(tmp_path):
    root = tiny_data.voc(tmp_path, {"a": []})
    tiny_data.text(root / "Annotations" / "flipped.xml", tiny_data.voc_xml([], filename="a.png"))
    with pytest.raises(DataError, match=r"flipped\.xml: its image does not exist: .*a\.png is that of a\.xml"):
        voc(root)


@pytest.mark.parametrize("difficult", ["False", "0", "", "true", "maybe"])
def test_difficult_is_yes_or_no(tmp_path, difficult):
    root = tiny_data.voc(tmp_path, {"a": [("cat", 5, 6, 10, 12, 1)]})
    xml = root / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("<difficult>1<", f"<difficult>{difficult}<"))
    if difficult == "maybe":
        with pytest.raises(DataError, match=r"object 1: difficult: expected 0 or 1, found 'maybe'"):
            voc(root)
    else:
        assert voc(root).records[0].ignore.tolist() == [difficult == "true"]

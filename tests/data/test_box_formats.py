"""Boxes of another format, and data without objects: errors of the doctor, refused by whoever would use them."""

import json

import pytest
from support import tiny_data

from visionkit.data.convert import convert
from visionkit.data.recognise import open_dataset
from visionkit.doctor.diagnosis import ERROR, KINDS
from visionkit.doctor.examine import examine
from visionkit.recipes.shared import training_data
from visionkit.types import DataError

CORNERS = [[20, 15, 38, 28], [22, 16, 39, 29], [10, 20, 36, 27]]  # as x, y, width, height they leave 40 x 30


def yolo(root):
    boxes = ([4, 3, 20, 10], [6, 4, 30, 12], [10, 5, 36, 27])
    lines = "".join(f"0 {x1 / 40} {y1 / 30} {x2 / 40} {y2 / 30}\n" for x1, y1, x2, y2 in boxes)
    return tiny_data.yolo(root, {"a": lines, "b": "0 .5 .5 .2 .2\n"})


def coco(root):
    return tiny_data.coco(root, tiny_data.coco_dict([{"bbox": box} for box in CORNERS]))


def voc(root):
    objects = [("cat", 30, 20, 8, 7), ("cat", 25, 22, 9, 6), ("cat", 28, 18, 5, 9)]
    return tiny_data.voc(root, {"a": objects})


def jsonl(root):
    return tiny_data.jsonl(root, [{"file_name": "a.png", "objects": {"bbox": CORNERS, "categories": ["cat"] * 3}}])


def via(root):
    keys = ("x", "y", "width", "height")
    shapes = [{"name": "rect", **dict(zip(keys, box, strict=True))} for box in CORNERS]
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "cat"}} for shape in shapes]
    content = {"a.png1": {"filename": "a.png", "size": 1, "regions": regions, "file_attributes": {}}}
    tiny_data.text(root / "via.json", json.dumps(content))
    tiny_data.picture(root / "a.png")
    return root


def table(root):
    rows = "".join(f"a.png,cat,{x1},{y1},{x2},{y2}\n" for x1, y1, x2, y2 in [[30, 20, 8, 7], [25, 22, 9, 6]] * 2)
    return tiny_data.table(root, "filename,class,xmin,ymin,xmax,ymax\n" + rows)


@pytest.mark.parametrize("write", [yolo, coco, voc, jsonl, via, table], ids=lambda write: write.__name__)
def test_boxes_that_look_like_another_format_are_refused_in_every_layout(tmp_path, write):
    root = write(tmp_path / "data")
    expected = r"of \d boxes look like x.*, which is not how .* has them \(such as "
    with pytest.raises(DataError, match=expected):
        open_dataset(root)
    with pytest.raises(DataError, match=expected + ".*`visionkit doctor "):
        convert(root, "coco", tmp_path / "out")
    assert "wrong box format" in examine(root).by_kind() and KINDS["wrong box format"][0] == ERROR


def test_two_boxes_of_many_that_leave_their_image_are_no_other_format(tmp_path):
    good = dict.fromkeys("bcd", "0 .5 .5 .2 .2\n0 .4 .4 .2 .2\n")
    root = tiny_data.yolo(tmp_path, {"a": "0 .8 .6 .95 .9\n0 .7 .75 .9 .95\n0 .7 .7 .9 .9\n", **good})
    assert len(open_dataset(root)) == 4
    assert set(examine(root).by_kind()) >= {"box format"}


@pytest.mark.parametrize("lines", ["", "0 20 15 10 8\n"], ids=["empty", "pixels"])
def test_data_without_an_object_is_an_error(tmp_path, lines):
    root = tiny_data.yolo(tmp_path / "data", {"a": lines, "b": lines})
    diagnosis = examine(root)
    assert diagnosis.grades()["error"] and "no objects" in diagnosis.by_kind()
    message = "none of its 2 images has an object" if not lines else "expected fractions of the image"
    with pytest.raises(DataError, match=message):
        convert(root, "voc", tmp_path / "out")
    with pytest.raises(
        DataError, match=message.replace("none of its 2 images has an object", "its only image has no object")
    ):
        training_data(root, "detect", seed=0)


def test_labelme_flags_images_in_the_file_and_two_images_of_one_name_are_named(tmp_path):
    root = tiny_data.labelme(tmp_path, {"a": []})
    content = json.loads((root / "a.json").read_text())
    tiny_data.text(root / "a.json", json.dumps(content | {"flags": {"sharp": True}}))
    with pytest.raises(DataError, match=r"a.json: LabelMe's `flags`, classes of whole images, are not read"):
        open_dataset(root)
    tiny_data.picture(root / "a.jpg")
    tiny_data.text(root / "a.json", json.dumps(content | {"imagePath": "b.png"}))
    with pytest.raises(DataError, match=r"a.jpg or a.png. Two images have its name"):
        open_dataset(root)
    (root / "a.jpg").unlink()
    (root / "a.png").rename(root / "c.png")
    tiny_data.text(root / "a.json", json.dumps(content | {"imageData": "aGVsbG8=", "imagePath": "b.png"}))
    with pytest.raises(DataError, match="its image is only in the file itself, as imageData"):
        open_dataset(root)

"""LabelMe: rectangles, polygons as masks, and what is refused by name."""

import logging

import pytest
from support import tiny_data

from visionkit.data.readers.labelme import labelme, splits
from visionkit.data.repair import Repairs
from visionkit.types import DataError

SQUARE = ("cat", "polygon", [[2, 3], [7, 3], [7, 7], [2, 7]])


def test_polygons_are_masks_and_those_of_a_group_are_one_object(tmp_path):
    other = ("cat", "polygon", [[20, 3], [24, 3], [24, 7], [20, 7]], 5)
    grouped = [(*SQUARE, 5), other, ("dog", "polygon", [[0, 0], [4, 0], [4, 2], [0, 2]], None)]
    data = labelme(tiny_data.labelme(tmp_path, {"a": grouped, "b": []}))
    assert data.source == "LabelMe, split all, boxes and masks" and data.class_names == ["cat", "dog"]
    assert data[0].boxes.tolist() == [[2, 3, 24, 7], [0, 0, 4, 2]] and data[0].labels.tolist() == [0, 1]
    assert data[0].masks.sum(axis=(1, 2)).tolist() == [5 * 4 + 4 * 4, 4 * 2]
    assert data[0].masks[0, 3:7, 2:7].all() and data[0].masks[0, 3:7, 20:24].all()
    assert data[1].boxes.shape == (0, 4) and data[1].masks.shape == (0, 30, 40)


def test_a_rectangle_among_polygons_makes_them_boxes_and_that_is_noted(tmp_path):
    rectangle = ("dog", "rectangle", [[9, 8], [4, 2]])  # drawn from the bottom right
    root = tiny_data.labelme(tmp_path, {"a": [SQUARE, rectangle]})
    repairs = Repairs("labelme", collect=True)
    data = labelme(root, repairs=repairs)
    assert data[0].boxes.tolist() == [[2, 3, 7, 7], [4, 2, 9, 8]] and data[0].masks is None
    assert [finding.message for finding in repairs.findings] == [
        f"{root}: 1 of 2 objects have no mask: read as boxes alone"
    ]


@pytest.mark.parametrize(
    "shape,message",
    [
        (
            ("cat", "circle", [[5, 5], [8, 8]]),
            "a shape .circle.; only rectangles and polygons are read: redraw or delete it",
        ),
        (("cat", "polygon", [[5, 5], [8, 8]]), r"expected the points of a polygon \[\[x, y\], ...\], found \[\[5, 5\]"),
        (("cat", "rectangle", [[5, 0], [9, 5], [5, 9], [0, 5]]), "a rectangle that is not upright"),
        ((" ", "polygon", SQUARE[2]), "label: expected the name of a class, found ' '"),
        (("cat", "polygon", [[5, "x"], [8, 8], [1, 2]]), "points: expected a number, found 'x'"),
    ],
)
def test_other_shapes_are_refused_by_name_and_left_out_for_the_doctor(tmp_path, shape, message):
    root = tiny_data.labelme(tmp_path, {"a": [SQUARE, shape]})
    with pytest.raises(DataError, match=rf"a\.json: shapes\[1\]: .*{message}|a\.json: shapes\[1\]: {message}"):
        labelme(root)
    repairs = Repairs("labelme", collect=True)
    assert len(labelme(root, repairs=repairs)[0].boxes) == 1
    assert [finding.kind for finding in repairs.findings] == ["broken annotation"]


def test_an_image_of_another_name_or_size_is_an_error_and_one_without_labels_is_said(tmp_path, caplog):
    root = tiny_data.labelme(tmp_path / "data", {"train/a": [SQUARE], "val/b": [SQUARE]}, image="../../{}.png")
    assert splits(root) == ["train", "val"] and [r.id for r in labelme(root, "val").records] == ["val/b"]
    tiny_data.picture(root / "val" / "c.png")
    with caplog.at_level(logging.WARNING):
        assert len(labelme(root)) == 2
    assert f"1 image of {root} left out, which no annotation names (c.png)" in caplog.text
    (root / "val" / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.json: imagePath: '.*b\.png' is not the name of a file inside"):
        labelme(root)
    tiny_data.picture(root / "val" / "b.png", (40, 30))
    with pytest.raises(
        DataError, match=r"b\.json: says height, width \(30.0, 40.0\), but .* annotated before its EXIF"
    ):
        labelme(root)

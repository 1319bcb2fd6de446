"""VIA: regions of JSON and CSV, and which attribute is the class."""

import json

import pytest
from support import tiny_data

from visionkit.data.readers.via import splits, via
from visionkit.types import DataError

RECT = {"name": "rect", "x": 2, "y": 3, "width": 5, "height": 4}
POLYGON = {"name": "polygon", "all_points_x": [2, 7, 7, 2], "all_points_y": [3, 3, 7, 7]}


def test_polygons_are_masks_and_the_class_is_the_attribute_with_a_usual_name(tmp_path):
    data = via(
        tiny_data.via(tmp_path, [(POLYGON, {"note": "x", "Type": "cat"}), (POLYGON, {"note": "", "Type": "ant"})])
    )
    assert data.class_names == ["ant", "cat"] and data[0].labels.tolist() == [1, 0]
    assert data[0].boxes.tolist() == [[2, 3, 7, 7]] * 2 and data[0].masks.sum() == 2 * 20
    data = via(tiny_data.via(tmp_path, [(RECT, {"note": "", "kind": "cat"}), (RECT, {"kind": "cat"})]))
    assert data.class_names == ["cat"] and data[0].masks is None  # the only attribute that all regions have
    data = via(tiny_data.via(tmp_path, [(RECT, {"kind": {"cat": True, "dog": False}})]))
    assert data.class_names == ["cat"]
    assert via(tiny_data.via(tmp_path, [(RECT, {})])).class_names == ["object"]


@pytest.mark.parametrize(
    "regions,message",
    [
        ([(RECT, {"a": "1", "b": "2"})], "which attribute of VIA's regions is the class.*Rename it to `class`.*a, b"),
        ([(RECT, {"class": ""})], "region 0: class: expected the name of a class, found ''"),
        ([(RECT, {"class": {"cat": True, "dog": True}})], "class: expected one class, found .'cat', 'dog'"),
        (
            [({"name": "circle", "cx": 1, "cy": 2, "r": 3}, {})],
            "a shape .circle.; only rectangles and polygons are read",
        ),
        ([({**POLYGON, "all_points_x": [1, 2]}, {})], "expected all_points_x and all_points_y of three points or more"),
        ([({**RECT, "x": "?"}, {})], "region 0: x: expected a number, found"),
    ],
)
def test_what_is_not_certain_or_not_read_is_refused(tmp_path, regions, message):
    with pytest.raises(DataError, match=rf"{tmp_path}.*{message}"):
        via(tiny_data.via(tmp_path, regions))


def test_numbered_regions_of_via_1_and_rows_of_csv_are_read(tmp_path):
    root = tiny_data.via(tmp_path / "a", [(RECT, {"class": "cat"})])
    content = json.loads((root / "via.json").read_text())
    content["a.png99"]["regions"] = {"0": content["a.png99"]["regions"][0]}
    tiny_data.text(root / "via.json", json.dumps(content))
    assert via(root)[0].boxes.tolist() == [[2, 3, 7, 7]]
    tiny_data.picture(tmp_path / "b" / "a.png"), tiny_data.picture(tmp_path / "b" / "empty.png")
    shape, attributes = (json.dumps(value).replace('"', '""') for value in (RECT, {"class": "cat"}))
    rows = (
        f'filename,region_shape_attributes,region_attributes\na.png,"{shape}","{attributes}"\nempty.png,"{{}}","{{}}"\n'
    )
    tiny_data.text(tmp_path / "b" / "via.csv", rows)
    data = via(tmp_path / "b")
    assert [len(sample.boxes) for sample in data] == [1, 0] and splits(tmp_path / "b") == [""]
    tiny_data.text(tmp_path / "b" / "via.csv", rows.replace("{}", "{"))
    with pytest.raises(DataError, match=r"via\.csv:3: expected attributes as JSON"):
        via(tmp_path / "b")

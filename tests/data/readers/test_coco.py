"""The COCO reader and its masks."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from support import tiny_data

from visionkit import limits
from visionkit.data.readers.coco import coco, splits
from visionkit.data.repair import Repairs
from visionkit.data.segments import parse_segment, rasterise
from visionkit.data.transforms import detection_eval
from visionkit.data.writers import write_annotations
from visionkit.types import DataError, check_sample

SQUARE = {"bbox": [2, 3, 5, 4], "segmentation": [[2, 3, 7, 3, 7, 7, 2, 7]]}


def test_boxes_gaps_in_category_ids_crowds_and_background(tmp_path):
    crowd = {
        "bbox": [0, 0, 40, 30],
        "category_id": 7,
        "iscrowd": 1,
        "segmentation": {"size": [30, 40], "counts": [0, 1200]},
    }
    data = coco(tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE, crowd], names=("a", "empty"))))
    a, empty = data
    assert data.class_names == ["cat", "dog"]
    assert a.boxes.tolist() == [[2, 3, 7, 7], [0, 0, 40, 30]]
    assert (a.labels.tolist(), a.ignore.tolist()) == ([0, 1], [False, True])
    assert a.masks[0].sum() == 20 and a.masks[0, 3:7, 2:7].all()
    assert a.masks[1].all()
    assert (empty.boxes.shape, empty.masks.shape) == ((0, 4), (0, 30, 40))
    assert [r.id for r in data.records] == ["a", "empty"]
    for sample in data:
        check_sample(sample, 2)


def test_without_masks_for_all_there_are_none(tmp_path):
    content = tiny_data.coco_dict([SQUARE, {"bbox": [1, 1, 5, 5]}])
    data = coco(tiny_data.coco(tmp_path, content))
    assert data[0].masks is None
    assert "1 of 2 annotations have no mask" in data.source


def test_masks_stay_with_their_boxes_when_one_is_dropped(tmp_path, caplog):
    flat = {"bbox": [5, 5, 0, 9], "segmentation": [[5, 5, 5, 9, 5, 14]]}
    data = coco(tiny_data.coco(tmp_path, tiny_data.coco_dict([flat, SQUARE, {**SQUARE, "bbox": [30, 3, 50, 4]}])))
    assert data[0].boxes.tolist() == [[2, 3, 7, 7], [30, 3, 40, 7]]
    assert data[0].masks.sum(axis=(1, 2)).tolist() == [20, 20]
    assert caplog.messages == ["COCO JSON: 1 box dropped (zero area: a), 1 clipped to the image (a)"]


def test_areas_are_those_that_the_annotation_states(tmp_path, caplog):
    flat = {"bbox": [5, 5, 0, 9], "area": 7.0}
    stated = [flat, SQUARE | {"area": 17.25}, SQUARE | {"area": 0}, SQUARE | {"area": "x"}, SQUARE]
    content = tiny_data.coco_dict(stated)
    for annotation, fields in zip(content["annotations"], stated, strict=True):
        annotation.pop("area", None)
        if "area" in fields:
            annotation["area"] = fields["area"]
    data = coco(tiny_data.coco(tmp_path / "read", content))
    np.testing.assert_array_equal(data.records[0].areas, [17.25, np.nan, np.nan, np.nan])
    file = tmp_path / "written.json"
    write_annotations(data, data.class_names, file, lambda sample: sample.id)
    assert [a["area"] for a in json.loads(file.read_text())["annotations"]] == [17.25, 20, 20, 20]
    resized = detection_eval((60, 60))(data[0], 0)
    assert resized.areas is None  # they are of the original's pixels
    with pytest.raises(DataError, match=r"areas float64 \(4,\)"):
        check_sample(replace(data.records[0], areas=np.zeros(3)))


@pytest.mark.parametrize(
    "file,images,split",
    [
        ("annotations/instances_val2017.json", "val2017", "val"),
        ("annotations/instances_val2017.json", "images/val2017", "val2017"),
        ("annotations.json", "images", None),
        ("annotations.json", ".", None),
        ("valid/_annotations.coco.json", "valid", "val"),
    ],
)
def test_layouts(tmp_path, file, images, split):
    root = tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE]), file, images)
    assert coco(root, split).records[0].file.resolve() == (root / images / "a.png").resolve()


def test_splits_and_all(tmp_path):
    for split, name in (("train2017", "a"), ("val2017", "b")):
        tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE], (name,)), f"annotations/instances_{split}.json", split)
    tiny_data.text(tmp_path / "annotations" / "captions_val2017.json", '{"images": "annotations" "categories"')
    assert list(splits(tmp_path)) == ["train2017", "val2017"]
    assert [r.id for r in coco(tmp_path).records] == ["a", "b"]
    assert coco(tmp_path)[1].masks.sum() == 20
    with pytest.raises(DataError, match="no split 'test'; there are: train2017, val2017"):
        coco(tmp_path, "test")


def changed(part, index, **change):
    content = tiny_data.coco_dict([SQUARE, SQUARE])
    content[part][index].update(change)
    return content


@pytest.mark.parametrize(
    "content,expected",
    [
        (changed("annotations", 1, bbox=[1, 2, "x", 4]), r"annotations\[1\]: bbox: expected a number, found 'x'"),
        (changed("annotations", 1, bbox=[1, 2, float("nan"), 4]), r"annotations\[1\]: bbox.*nan"),
        (changed("annotations", 1, bbox=[1, 2, 10**400, 4]), r"annotations\[1\]: bbox"),
        (changed("annotations", 1, bbox=None), r"annotations\[1\]: expected bbox"),
        (changed("annotations", 1, category_id=3), r"annotations\[1\]: no category has the id 3"),
        (changed("annotations", 1, category_id=[3]), r"annotations\[1\]: expected category_id"),
        (changed("annotations", 1, image_id=3), r"annotations\[1\]: no image has the id 3"),
        (changed("annotations", 0, segmentation=[[1, 2, 3]]), r"annotations\[0\]: segmentation: expected a polygon"),
        (changed("annotations", 0, segmentation=[[1, 2, 3, 4, 5, "y"]]), r"annotations\[0\]: segmentation.*'y'"),
        (changed("annotations", 0, segmentation={"size": [30, 40], "counts": [5]}), "expected run lengths that cover"),
        (changed("annotations", 0, segmentation={"size": [30, 40], "counts": "~~"}), "expected run lengths that cover"),
        (changed("annotations", 0, segmentation={"size": [40, 30], "counts": [1200]}), "expected run lengths"),
        (changed("annotations", 0, segmentation="polygon"), "expected polygons or run lengths"),
        (changed("categories", 1, id=1), r"categories\[1\]: expected a new id"),
        (changed("categories", 1, name="cat"), r"categories\[1\]: expected a new id and a new name"),
        (changed("images", 0, height=31), r"images\[0\] \('a.png'\): says height, width \(31.*has \(30, 40\)"),
        (changed("images", 0, id=None), r"images\[0\].*: expected id"),
        ({**tiny_data.coco_dict([]), "images": [{"id": 0}], "annotations": 5}, "a list of objects 'annotations'"),
    ],
)
def test_errors_name_the_file_and_the_annotation(tmp_path, content, expected):
    root = tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE]))
    tiny_data.text(root / "annotations.json", json.dumps(content))
    with pytest.raises(DataError, match=rf"annotations\.json: .*{expected}"):
        coco(root)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a\0.png", "", None, 5])
def test_file_names_cannot_leave_the_root(tmp_path, monkeypatch, name):
    root = tiny_data.coco(tmp_path / "set", tiny_data.coco_dict([SQUARE]))
    tiny_data.picture(tmp_path / "secret.png")
    content = tiny_data.coco_dict([])
    content["images"][0]["file_name"] = name
    tiny_data.text(root / "annotations.json", json.dumps(content))
    monkeypatch.chdir(root)
    for way in (root, ".", root / "images" / ".."):
        with pytest.raises(DataError, match=r"annotations\.json: images\[0\]: file_name: .*not the name of a file"):
            coco(way)


def test_missing_image_broken_json_and_two_of_one_name(tmp_path):
    root = tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE]))
    (root / "images" / "a.png").unlink()
    with pytest.raises(
        DataError, match=r"annotations\.json: images\[0\] \('a\.png'\): no such image in any of .*images"
    ):
        coco(root)
    tiny_data.coco(tmp_path, tiny_data.coco_dict([], names=("a", "a")))
    with pytest.raises(DataError, match=r"images\[1\] .*: its id 1 or file name is that of an earlier image"):
        coco(root)
    for broken, why in (("{", "line 2 column 2"), ("[" * 100_000, "")):
        tiny_data.text(root / "annotations.json", '{"images": 1, "annotations": 2, "categories":\n' + broken)
        with pytest.raises(DataError, match=rf"annotations\.json: broken JSON: .*{why}"):
            coco(root)
    with pytest.raises(DataError, match="expected COCO annotations in"):
        coco(tmp_path / "nowhere")


@given(st.data())
def test_run_lengths_equal_pycocotools(data):
    h, w = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    bits = data.draw(st.lists(st.integers(0, 1), min_size=h * w, max_size=h * w))
    mask = np.array(bits, np.uint8).reshape(h, w)
    runs = mask_utils.encode(np.asfortranarray(mask))
    compressed = {"size": [h, w], "counts": runs["counts"].decode()}
    np.testing.assert_array_equal(rasterise(parse_segment(compressed, (h, w), ""), (h, w)), mask)


@given(st.lists(st.integers(-400, 800), min_size=3, max_size=12), st.integers(0, 2**32 - 1))
def test_polygons_equal_pycocotools(tenths, seed):
    x = np.array(tenths) / 10
    y = np.random.default_rng(seed).uniform(-30, 60, len(x)).round(2)
    polygon = np.stack([x, y], -1).ravel().tolist()
    found = rasterise(parse_segment([polygon], (30, 40), ""), (30, 40))
    (runs,) = mask_utils.frPyObjects([polygon], 30, 40)
    assert found.shape == (30, 40) and found.dtype == np.uint8
    assert found.sum() == mask_utils.area(runs)
    if found.any():
        assert mask_utils.iou([mask_utils.encode(np.asfortranarray(found))], [runs], [0])[0, 0] == 1


@given(st.lists(st.lists(st.integers(-10, 50), min_size=6, max_size=12), min_size=2, max_size=4))
def test_several_polygons_are_their_union(polygons):
    even = [polygon[: len(polygon) // 2 * 2] for polygon in polygons]
    found = rasterise(parse_segment(even, (30, 40), ""), (30, 40))
    clipped = [np.clip(np.reshape(p, (-1, 2)), [-40, -30], [80, 60]).ravel().tolist() for p in even]
    merged = mask_utils.merge(mask_utils.frPyObjects(clipped, 30, 40))
    same = mask_utils.encode(np.asfortranarray(found))
    assert same == merged


def test_long_polygons_are_refused(tmp_path):
    zigzag = [value for _ in range(13_000) for value in (0, 0, 80, 1)]  # 2 x 13,000 edges of 40 pixels or more
    data = tiny_data.coco_dict([SQUARE | {"segmentation": [zigzag]}])
    with pytest.raises(DataError, match=r"annotations\[0\].*: polygons with edges of 2080\d+ pixels are above"):
        coco(tiny_data.coco(tmp_path, data))


def test_masks_that_take_too_much_memory_are_refused(tmp_path, monkeypatch):
    root = tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE] * 3))
    monkeypatch.setattr(limits, "MASKS", 2 * 30 * 40)
    with pytest.raises(DataError, match=r"images\[0\] .*: 3 masks of 40 x 30 pixels are above the limit of 0 MB"):
        coco(root)
    monkeypatch.setattr(limits, "MASKS", 3 * 30 * 40)
    assert coco(root)[0].masks.shape == (3, 30, 40)


def test_far_polygon_points_cost_nothing():
    mask = rasterise(parse_segment([[-1e9, 10, 1e9, 10, 1e9, 20, -1e9, 20]], (30, 40), ""), (30, 40))
    assert mask[10:20].all() and mask.sum() == 400


def test_the_project_that_roboflow_puts_above_the_classes_is_none(tmp_path):
    content = tiny_data.coco_dict([SQUARE])
    number = max(category["id"] for category in content["categories"]) + 1
    for category in content["categories"]:
        category["supercategory"] = "cat"
    content["categories"].insert(0, {"id": number, "name": "cat", "supercategory": "none"})
    assert coco(tiny_data.coco(tmp_path / "a", content)).class_names == ["cat", "dog"]
    content["annotations"][0]["category_id"] = number  # it is a class after all
    content["categories"][0]["name"] = "animal"
    for category in content["categories"][1:]:
        category["supercategory"] = "animal"
    assert sorted(coco(tiny_data.coco(tmp_path / "b", content)).class_names) == ["animal", "cat", "dog"]


@pytest.mark.parametrize(("said", "ignored"), [("0", False), (False, False), (None, False), ("1", True)])
def test_a_crowd_is_yes_or_no(tmp_path, said, ignored):
    data = coco(tiny_data.coco(tmp_path, tiny_data.coco_dict([SQUARE | {"iscrowd": said}])))
    assert data.records[0].ignore.tolist() == [ignored]


def test_an_annotation_with_a_wrong_crowd_flag_is_left_out_whole(tmp_path):
    wrong = SQUARE | {"iscrowd": "maybe", "bbox": [1, 1, 5, 5]}
    root = tiny_data.coco(tmp_path, tiny_data.coco_dict([wrong, SQUARE]))
    repairs = Repairs("coco", collect=True)
    (record,) = coco(root, repairs=repairs).records
    assert record.boxes.tolist() == [[2, 3, 7, 7]] and record.ignore.tolist() == [False]
    (finding,) = (finding for finding in repairs.findings if finding.kind == "broken annotation")
    assert finding.id == "a"
    assert "annotations[0]: iscrowd: expected 0 or 1, found 'maybe'" in finding.message

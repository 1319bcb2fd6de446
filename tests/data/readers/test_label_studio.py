"""Label Studio's own JSON: rectangles, polygons, which annotation counts, and what is refused by name."""

import json

import pytest
from support import tiny_data

from visionkit.data.readers.label_studio import label_studio, splits
from visionkit.types import DataError

RECTANGLE = ("rectanglelabels", "cat", {"x": 5, "y": 10, "width": 12.5, "height": 15, "rotation": 0})
POLYGON = ("polygonlabels", "dog", {"points": [[5, 10], [17.5, 10], [17.5, 25], [5, 25]]})
CONFIG = (
    '<View><RectangleLabels name="l" toName="image"><Label value="dog"/><Label value="cat"/></RectangleLabels></View>'
)


def change(root, **changes):
    file = root / "tasks.json"
    tasks = json.loads(file.read_text())
    tasks[0] |= changes
    file.write_text(json.dumps(tasks))
    return root


def test_percents_become_pixels_and_the_configuration_orders_the_classes(tmp_path):
    data = label_studio(tiny_data.label_studio(tmp_path, [RECTANGLE, POLYGON], CONFIG))
    assert data.class_names == ["dog", "cat"] and data[0].labels.tolist() == [1, 0]
    assert data[0].boxes.tolist() == [[2, 3, 7, 7.5], [2, 3, 7, 7.5]] and data[0].masks is None
    (tmp_path / "label_config.xml").unlink()
    assert label_studio(tmp_path).class_names == ["cat", "dog"]
    (tmp_path / "label_config.xml").write_text("<View>")
    with pytest.raises(DataError, match=r"label_config\.xml: broken XML"):
        label_studio(tmp_path)


def test_polygons_alone_are_masks_and_an_uploaded_image_is_found(tmp_path):
    square = {"points": [[5, 10], [17.5, 10], [17.5, 20], [5, 20]]}
    data = label_studio(
        tiny_data.label_studio(tmp_path, [("polygonlabels", "dog", square)], image="/data/upload/7/a.png")
    )
    assert data[0].masks.sum() == data[0].masks[0, 3:6, 2:7].sum() == 15
    assert splits(tmp_path) == [""]


def test_the_last_annotation_that_was_not_cancelled_counts(tmp_path):
    root = tiny_data.label_studio(tmp_path, [RECTANGLE])
    done = json.loads((root / "tasks.json").read_text())[0]["annotations"][0]
    change(root, annotations=[{"result": []}, done, {"result": [], "was_cancelled": True}], predictions=[done])
    assert len(label_studio(root)[0].boxes) == 1
    choice = {"type": "choices", "value": {"choices": ["sharp"]}}
    change(root, annotations=[{"result": [*done["result"], choice]}])
    assert len(label_studio(root)[0].boxes) == 1
    change(root, annotations=[{"result": []}])
    assert len(label_studio(root)[0].boxes) == 0
    change(root, annotations=[])  # nobody has looked at it
    with pytest.raises(DataError, match="expected annotations of Label Studio, found none"):
        label_studio(root)


def test_splits_and_order_of_converted_tasks_are_kept(tmp_path):
    root = tiny_data.label_studio(tmp_path, [RECTANGLE], split="rest", file="images/a.png", number=1)
    tiny_data.picture(root / "images" / "b.png")
    tasks = json.loads((root / "tasks.json").read_text())
    tasks.append(json.loads(json.dumps(tasks[0])))
    tasks[1]["data"] |= {"file": "images/b.png", "number": 0}
    (root / "tasks.json").write_text(json.dumps(tasks))
    assert splits(root) == ["rest"]
    assert [record.file.name for record in label_studio(root, "rest").records] == ["b.png", "a.png"]


@pytest.mark.parametrize(
    "region,message",
    [
        (("brushlabels", "cat", {}), "a region 'brushlabels'; only labelled rectangles and polygons are read"),
        ((*RECTANGLE[:2], RECTANGLE[2] | {"rotation": 30}), "a rotated rectangle; only upright ones are read"),
        ((*RECTANGLE[:2], {"x": 5, "y": "x", "width": 1, "height": 1}), "region 1: y: expected a number"),
        ((*POLYGON[:2], {"points": [[1, 2], [3, 4]]}), "expected at least three points, found"),
        ((*POLYGON[:2], {"points": [[1, 2], [3, 4], [5]]}), r"expected points \[x, y\], found '\[5\]'"),
        (("rectanglelabels", "cat", {"rectanglelabels": ["a", "b"]}), r"expected one label, found .\['a', 'b'\]"),
    ],
)
def test_other_shapes_are_refused_by_name(tmp_path, region, message):
    with pytest.raises(DataError, match=message):
        label_studio(tiny_data.label_studio(tmp_path, [region]))


def test_files_that_are_no_list_of_tasks_are_refused(tmp_path):
    root = tiny_data.label_studio(tmp_path, [RECTANGLE])
    (root / "tasks.json").write_text('{"annotations": [], "result": [], "data": {}}')
    with pytest.raises(DataError, match="expected a list of tasks, as Label Studio exports as JSON"):
        label_studio(root)
    (root / "tasks.json").write_text('[{"annotations": [{"result": 3}], "data": {"image": "a.png"}}]')
    with pytest.raises(DataError, match="task 1: expected a list as `result`, found '3'"):
        label_studio(root)


def test_a_second_project_below_the_split_adds_to_it_and_only_its_own_images_are_reported(tmp_path, caplog):
    first = tiny_data.label_studio(tmp_path / "train", [RECTANGLE], image="/data/local-files/?d=my_data/a.png")
    second = change(
        tiny_data.label_studio(first / "round2", [RECTANGLE]), data={"image": "/data/local-files/?d=images/b.png"}
    )
    (second / "images" / "a.png").rename(second / "images" / "b.png")
    assert splits(tmp_path) == ["train"]
    caplog.clear()
    assert [record.id.rpartition("/")[2] for record in label_studio(tmp_path).records] == ["a", "b"]
    (said,) = [record.message for record in caplog.records if "found by base name" in record.message]
    assert f"1 image of {first / 'tasks.json'} found by base name" in said

"""FiftyOne's samples.json: detections, polylines and classifications."""

import json

import pytest
from support import tiny_data

from visionkit.data.readers.fiftyone import fiftyone, splits
from visionkit.data.repair import Repairs
from visionkit.types import DataError


def detections(*rows):
    several = [{"_cls": "Detection", "label": label, "bounding_box": box, **more} for label, box, more in rows]
    return {"_cls": "Detections", "detections": several}


def test_boxes_are_fractions_of_images_that_are_not_square_and_classes_keep_their_order(tmp_path):
    labels = {"a": detections(("dog", [0.1, 0.2, 0.5, 0.5], {}), ("cat", [0, 0, 0.5, 1], {"iscrowd": 1})), "b": None}
    data = fiftyone(tiny_data.fiftyone(tmp_path, labels, classes=("zebra", "dog", "cat")))
    assert data.class_names == ["zebra", "dog", "cat"] and data[0].labels.tolist() == [1, 2]
    assert data[0].boxes.round(4).tolist() == [[4, 6, 24, 21], [0, 0, 20, 30]] and data[0].ignore.tolist() == [
        False,
        True,
    ]
    assert len(data[1].boxes) == 0
    data = fiftyone(tiny_data.fiftyone(tmp_path, labels, classes=("dog",)))
    assert data.class_names == ["cat", "dog"]


def test_closed_polylines_are_masks(tmp_path):
    line = {
        "_cls": "Polyline",
        "label": "cat",
        "closed": True,
        "points": [[[0.1, 0.1], [0.2, 0.1], [0.2, 0.3], [0.1, 0.3]]],
    }
    root = tiny_data.fiftyone(tmp_path, {"a": {"_cls": "Polylines", "polylines": [line]}})
    sample = fiftyone(root)[0]
    assert (
        sample.boxes.round(4).tolist() == [[4, 3, 8, 9]] and sample.masks.sum() == sample.masks[0, 3:9, 4:8].sum() == 24
    )
    line["closed"] = False
    tiny_data.fiftyone(tmp_path, {"a": {"_cls": "Polylines", "polylines": [line]}})
    with pytest.raises(DataError, match=r"polylines\[0\]: a line; only closed polylines are read"):
        fiftyone(root)


def test_masks_of_detections_are_said_to_be_left_out(tmp_path):
    root = tiny_data.fiftyone(tmp_path, {"a": detections(("cat", [0, 0, 1, 1], {"mask": {"$binary": "x"}}))})
    repairs = Repairs("fiftyone", collect=True)
    assert fiftyone(root, repairs=repairs)[0].masks is None
    assert "masks of detections are not read: export it as COCODetectionDataset" in repairs.findings[0].message


@pytest.mark.parametrize(
    "change,message",
    [
        (
            {"other": detections(), "ground_truth": None, "more": detections()},
            "which field has the labels.*more, other",
        ),
        (
            {"ground_truth": detections(("cat", [10, 10, 20, 20], {}))},
            r"detections\[0\]: bounding_box: expected fractions",
        ),
        ({"ground_truth": detections(("cat", [1, 1, 2], {}))}, r"expected bounding_box \[x, y, width, height\]"),
        ({"ground_truth": detections(), "tags": ["train", "test"]}, "is tagged as in two splits, train and test"),
        ({"filepath": "/elsewhere/none.png"}, "filepath: '/elsewhere/none.png' is not the name of a file inside"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    root = tiny_data.fiftyone(tmp_path, {"a": detections(("cat", [0, 0, 1, 1], {}))})
    content = json.loads((root / "samples.json").read_text())
    content["samples"][0] |= change
    tiny_data.text(root / "samples.json", json.dumps(content))
    with pytest.raises(DataError, match=rf"samples\.json: .*{message}"):
        fiftyone(root)


def test_tags_are_splits(tmp_path):
    root = tiny_data.fiftyone(tmp_path, {"a": detections(), "b": detections(("cat", [0, 0, 1, 1], {}))})
    content = json.loads((root / "samples.json").read_text())
    content["samples"][0]["tags"], content["samples"][1]["tags"] = ["validation", "x"], ["test"]
    tiny_data.text(root / "samples.json", json.dumps(content))
    assert splits(root) == ["validation", "test"] and [r.id for r in fiftyone(root, "val").records] == ["data/a"]

"""What labelling programs are given and give back: CVAT and Label Studio, with the suspects marked."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from support import tiny_data
from support.detections import sample

from visionkit.data.conversion import Mark
from visionkit.data.convert import convert
from visionkit.data.recognise import open_dataset, splits
from visionkit.data.repair import Repairs
from visionkit.data.writers import write_annotations
from visionkit.types import DataError

PROGRAMS = ("cvat", "labelstudio")
NAMES = ["zebra", "cat & <dog>", "ant", "unused"]  # not sorted: ids must not be those of the sorted names


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """10,000 boxes with all the digits of a float32, in three splits; some reach the border or are thin as a hair."""
    root, rng = tmp_path_factory.mktemp("fuzzed") / "data", np.random.default_rng(0)
    for split, images in (("train", 20), ("val", 15), ("extra", 5)):
        samples = []
        for i in range(images):
            size = tuple(rng.integers(200, 900, 2).tolist())
            tiny_data.picture(root / split / f"{split}{i:02} é%.png", size)
            corners = rng.uniform(0, 1, (250, 2, 2)) * size[::-1]
            corners[:20] = np.round(corners[:20])
            boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 0.01], axis=1)
            boxes[20:30, 2:] = size[::-1]
            boxes = np.minimum(boxes, [*size[::-1]] * 2).astype(np.float32)
            samples.append(sample(boxes, rng.integers(0, 3, 250), size, f"{split}{i:02} é%.png"))
        order = rng.permutation(images)  # not that of the names
        file = root / "annotations" / f"instances_{split}.json"
        write_annotations([samples[i] for i in order], NAMES, file, lambda record: record.id)
    return root


@pytest.mark.parametrize("to", PROGRAMS)
def test_ten_thousand_boxes_come_back_with_classes_order_and_splits(fuzzed, tmp_path, to):
    marks = {}
    for part in splits(fuzzed):
        for record in open_dataset(fuzzed, part).records:
            marks[record.file] = [Mark(text="missing: ant", score=0.5, label=2, box=np.float32([1, 2, 30, 40]))]
    convert(fuzzed, to, tmp_path / "out", marks=marks)
    assert splits(tmp_path / "out") == splits(fuzzed)
    if to == "cvat":  # as CVAT writes a project: datumaro passes over images whose subset is not listed
        project = ElementTree.parse(tmp_path / "out" / "annotations.xml").find("meta/project")
        assert [subset.text for subset in project.iter("subset")] == splits(fuzzed)
    boxes = 0
    for part in splits(fuzzed):
        before, after = open_dataset(fuzzed, part), open_dataset(tmp_path / "out", part)
        assert after.class_names == NAMES
        assert [record.file.name for record in after.records] == [record.file.name for record in before.records]
        for old, new in zip(before.records, after.records, strict=True):
            assert old.image_size == new.image_size
            np.testing.assert_array_equal(old.labels, new.labels)
            np.testing.assert_array_equal(old.boxes, new.boxes)
            boxes += len(new.boxes)
    assert boxes == 10_000


@pytest.fixture
def marked(tmp_path):
    """One image with two objects, of which one is suspicious, and a third that is proposed."""
    data = tiny_data.table(
        tmp_path / "data",
        "filename,class,xmin,ymin,xmax,ymax\na.png,cat,2,3,7,7\na.png,dog,10,3,17,17\n",
    )
    wrong = Mark(
        text="wrong class: dog, probably cat (0.90)", score=0.8, row=1, label=0, box=np.float32([10, 3, 18, 17])
    )
    missing = Mark(text="missing: cat (0.70)", score=0.6, label=0, box=np.float32([20, 3, 30, 17]))
    invented = Mark(text="invented: cat", score=0.5, row=0)
    return data, {data / "a.png": [wrong, missing, invented]}


def test_cvat_shows_suspects_as_attributes_and_keeps_what_is_accepted(marked, tmp_path):
    data, marks = marked
    convert(data, "cvat", tmp_path / "out", marks=marks)
    file = tmp_path / "out" / "annotations.xml"
    tree = ElementTree.parse(file).getroot()
    shown = [(box.get("label"), *(item.text for item in box)) for box in tree.iter("box")]
    assert shown == [
        ("cat", "invented: cat", "false"),
        ("dog", "wrong class: dog, probably cat (0.90)", "false"),
        ("cat", "missing: cat (0.70)", "true"),
    ]
    assert [item.findtext("name") for item in tree.find(".//label").iter("attribute")] == ["suspect", "proposed"]
    repairs = Repairs("CVAT", collect=True)
    assert len(open_dataset(tmp_path / "out", repairs=repairs)[0].boxes) == 2
    assert [finding.kind for finding in repairs.findings] == ["proposal"]
    file.write_text(file.read_text().replace(">true<", ">false<"))  # as after a tick in CVAT
    assert open_dataset(tmp_path / "out")[0].boxes.tolist()[2] == [20, 3, 30, 17]


def test_label_studio_gets_proposals_as_predictions_and_a_column_to_sort_by(marked, tmp_path):
    data, marks = marked
    convert(data, "labelstudio", tmp_path / "out", marks=marks)
    (task,) = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert task["data"]["suspicion"] == 0.8 and task["data"]["suspects"][2] == "invented: cat"
    assert task["data"]["image"] == "/data/local-files/?d=images/a.png"
    (said,) = task["predictions"]
    assert [region["value"]["rectanglelabels"] for region in said["result"]] == [["cat"], ["cat"]]
    assert said["result"][1]["value"]["x"] == 50 and said["result"][1]["score"] == 0.6
    assert len(task["annotations"][0]["result"]) == 2 == len(open_dataset(tmp_path / "out")[0].boxes)
    config = (tmp_path / "out" / "label_config.xml").read_text()
    assert config.index('<Label value="cat"') < config.index('<Label value="dog"')


def test_masks_become_polygons(tmp_path):
    data = tiny_data.cvat(tmp_path / "data", '<polygon label="cat" points="2.0,3.0;7.0,3.0;7.0,7.5;2.0,7.0"/>')
    for to in PROGRAMS:
        convert(data, to, tmp_path / to)
        before, after = (open_dataset(root, task="instance")[0] for root in (data, tmp_path / to))
        np.testing.assert_array_equal(before.masks, after.masks)


def test_names_that_cannot_be_expressed_are_refused(tmp_path):
    data = tiny_data.coco(tmp_path / "data", tiny_data.coco_dict([{"bbox": [2, 3, 5, 4]}], categories=((1, "c\x01"),)))
    for to in PROGRAMS:
        with pytest.raises(DataError, match=r"cannot express the class 'c\\x01'; rename it, or convert to coco"):
            convert(data, to, tmp_path / to)

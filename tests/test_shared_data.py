"""The readers on the real data sets that lie beside the checkout, where there are any."""

import numpy as np
import pytest
from support.shared_data import SHARED, case, needs

from visionkit.data.masks import semantic_masks
from visionkit.data.recognise import describe, open_dataset
from visionkit.types import check_sample

DETECTION = [
    case("detection/bccd", None, 364, 4886, 3),
    case("detection/voc2012_first100", None, 100, 273, 20),
    case("detection/coco_tiny80", None, 80, 815, 80),
    case("instance/fruits_nuts", None, 18, 165, 3),
    case("instance/pennfudan_half", "detect", 170, 423, 1),
]


@pytest.mark.parametrize("root,task,images,boxes,classes", DETECTION)
def test_detection(root, task, images, boxes, classes):
    data = open_dataset(root, task=task)
    found = len(data), sum(len(r.boxes) for r in data.records), len(data.class_names)
    assert found == (images, boxes, classes)
    assert sorted(np.unique(np.concatenate([r.labels for r in data.records]))) == list(range(classes))
    for record in data.records:
        check_sample(record, classes)
    for i in range(0, len(data), 25):
        check_sample(data[i], classes)


@needs("detection/bccd")
def test_the_two_zero_area_boxes_of_bccd_are_named(caplog):
    data = open_dataset(SHARED / "detection/bccd", "train+val")
    assert len(data) == 205 + 87
    assert len(open_dataset(SHARED / "detection/bccd", "test")) == 72
    assert caplog.messages == [
        "voc: 1 box dropped (zero area: BloodImage_00343)",
        "voc: 1 box dropped (zero area: BloodImage_00338)",
    ]


@needs("detection/coco_tiny80")
def test_masks_lie_in_their_boxes():
    data = open_dataset(SHARED / "detection/coco_tiny80")
    assert sum(r.ignore.sum() for r in data.records) == 11
    for sample in data[:20]:
        for (x1, y1, x2, y2), mask in zip(sample.boxes, sample.masks, strict=True):
            inside = mask[int(y1) : int(np.ceil(y2)) + 1, int(x1) : int(np.ceil(x2)) + 1].sum()
            assert inside >= 0.95 * mask.sum()


@needs("segmentation/camvid_trainval")
def test_camvid():
    root = SHARED / "segmentation/camvid_trainval"
    data = semantic_masks(root, "val", void=11)
    assert (len(data), len(data.class_names)) == (101, 11)
    assert len(data.records) + 367 == sum(1 for _ in root.glob("*annot/*.png"))
    check_sample(data[0], 11)
    assert describe(root).endswith("splits: train, val")


@needs("segmentation/isbi_em")
def test_isbi():
    data = open_dataset(SHARED / "segmentation/isbi_em", task="segment")
    assert (len(data), data.class_names) == (30, ["0", "255"])
    assert np.unique(check_sample(data[0], 2).segmentation).tolist() == [0, 1]


@needs("classification/clothing10")
def test_clothing():
    data = open_dataset(SHARED / "classification/clothing10", "val")
    assert (len(data), len(data.class_names)) == (341, 10)
    assert data.class_names[data[0].label] == data[0].file.parent.name


@needs("classification/hymenoptera")
def test_hymenoptera():
    data = open_dataset(SHARED / "classification/hymenoptera", "val")
    assert data.class_names == ["ants", "bees"]
    assert [sum(r.label == i for r in data.records) for i in (0, 1)] == [70, 83]

"""The readers on the real data sets that lie beside the checkout, where there are any."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.shared_data import SHARED, case, needs

from visionkit import npboxes
from visionkit.data.readers.masks import semantic_masks
from visionkit.data.recognise import describe, open_dataset
from visionkit.metrics.detection import DetectionMetric
from visionkit.types import Detections, check_sample

COCO_NUMBERS = ("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large")  # in COCO's order
COCO_NUMBERS += ("mAR1", "mAR10", "mAR100", "mAR_small", "mAR_medium", "mAR_large")

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
        "Pascal VOC XML: 1 box dropped (zero area: BloodImage_00343)",
        "Pascal VOC XML: 1 box dropped (zero area: BloodImage_00338)",
    ]


@needs("detection/coco_tiny80")
def test_masks_lie_in_their_boxes():
    data = open_dataset(SHARED / "detection/coco_tiny80")
    assert sum(r.ignore.sum() for r in data.records) == 11
    for sample in data[:20]:
        for (x1, y1, x2, y2), mask in zip(sample.boxes, sample.masks, strict=True):
            inside = mask[int(y1) : int(np.ceil(y2)) + 1, int(x1) : int(np.ceil(x2)) + 1].sum()
            assert inside >= 0.95 * mask.sum()


@needs("detection/coco_tiny80")
@pytest.mark.parametrize("with_masks", [False, True])
def test_the_numbers_by_size_equal_pycocotools_on_the_annotation_file(with_masks):
    data = open_dataset(SHARED / "detection/coco_tiny80")
    file = SHARED / "detection/coco_tiny80/annotations/instances_val2017.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
    image_ids = {Path(image["file_name"]).stem: image["id"] for image in truth.dataset["images"]}
    metric, boxes, masks, rng = DetectionMetric(data.class_names), [], [], np.random.default_rng(0)
    for i, record in sorted(enumerate(data.records), key=lambda pair: image_ids[Path(pair[1].id).stem]):
        sample = data[i] if with_masks else record
        detections = _moved(sample, rng)
        metric.update(sample, detections)
        for j, (label, score) in enumerate(zip(detections.labels, detections.scores, strict=True)):
            one = {"image_id": image_ids[Path(record.id).stem], "score": float(score)}
            one["category_id"] = sorted(truth.cats)[label]
            boxes.append(one | {"bbox": npboxes.to_xywh(detections.boxes[j]).astype(float).tolist()})
            if with_masks:
                masks.append(one | {"segmentation": mask_utils.encode(np.asfortranarray(detections.masks[j]))})
    scores = metric.result()
    assert [scores[name] for name in COCO_NUMBERS] == pytest.approx(_pycocotools(truth, boxes, "bbox"), abs=1e-6)
    assert 0.1 < scores["mAP_small"] < 0.9 and 0.1 < scores["mAP_large"] < 0.9
    if with_masks:
        numbers = [scores[f"mask_{name}"] for name in COCO_NUMBERS]
        assert numbers == pytest.approx(_pycocotools(truth, masks, "segm"), abs=1e-6)


def _moved(sample, rng):
    """The objects of a sample, some missing, the others a few pixels beside their place and of random scores."""
    rows = np.flatnonzero(rng.random(len(sample.boxes)) < 0.8)
    scores = np.sort(rng.random(len(rows)).astype(np.float32))[::-1]
    by = rng.integers(-4, 5, 2)
    boxes = npboxes.clip(sample.boxes[rows] + np.tile(by, 2) + rng.normal(0, 2, (len(rows), 4)), sample.image_size)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    masks = None if sample.masks is None else np.roll(sample.masks[rows], by[::-1], axis=(1, 2))
    shown = {"boxes": boxes.astype(np.float32), "scores": scores, "labels": sample.labels[rows], "masks": masks}
    return Detections(id=sample.id, image_size=sample.image_size, **shown)


def _pycocotools(truth, results, iou_type):
    """The twelve numbers of the reference implementation."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


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

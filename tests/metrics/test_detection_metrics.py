"""DetectionMetric against pycocotools, published numbers, and cases small enough to do by hand."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.detections import drawn_set, ellipses, found, sample
from support.paths import SHARED

from visionkit import npboxes
from visionkit.metrics.detection import DetectionMetric
from visionkit.types import DataError, Sample

REFERENCE = SHARED / "data/detection/metric_refs/coco_eval"
TWELVE = ("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large")  # in COCO's order
TWELVE += ("mAR1", "mAR10", "mAR100", "mAR_small", "mAR_medium", "mAR_large")
BOX = [10.0, 10.0, 50.0, 30.0]


def score(*pairs, class_names=("cat", "dog")):
    metric = DetectionMetric(class_names)
    for pair in pairs:
        metric.update(*pair)
    return metric


def pycocotools_stats(pairs, num_classes, iou_type):
    """The twelve numbers of the reference implementation, from result files of the kind it documents."""
    annotations, results = [], []
    for i, (there, detections) in enumerate(pairs, start=1):
        for j, box in enumerate(npboxes.to_xywh(there.boxes).astype(float).tolist()):
            code = rle.encode(np.asfortranarray(there.masks[j])) if there.masks is not None else None
            area = float(rle.area(code)) if code else box[2] * box[3]
            crowd = int(there.ignore is not None and there.ignore[j])
            one = {"id": len(annotations) + 1, "image_id": i, "category_id": int(there.labels[j]), "bbox": box}
            annotations.append(one | {"area": area, "iscrowd": crowd, "segmentation": code})
        for j, box in enumerate(npboxes.to_xywh(detections.boxes).astype(float).tolist()):
            one = {"image_id": i, "category_id": int(detections.labels[j]), "score": float(detections.scores[j])}
            mask = detections.masks[j] if iou_type == "segm" else None
            results.append(
                one | ({"bbox": box} if mask is None else {"segmentation": rle.encode(np.asfortranarray(mask))})
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [
                {"id": i, "height": s.image_size[0], "width": s.image_size[1]} for i, (s, _) in enumerate(pairs, 1)
            ],
            "annotations": annotations,
            "categories": [{"id": k} for k in range(num_classes)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_twelve_numbers_equal_pycocotools(seed, capfd):
    pairs = drawn_set(seed)
    numbers = score(*pairs, class_names="abc").result()
    assert capfd.readouterr() == ("", "")  # and it prints nothing
    expected = pycocotools_stats(pairs, 3, "bbox")
    assert [numbers[key] for key in TWELVE] == pytest.approx(expected.tolist(), abs=1e-6)
    assert 0.1 < numbers["mAP"] < 0.9  # neither trivial nor empty
    assert numbers["per_class"]["c"]["mAP"] == -1 and numbers["per_class"]["c"]["detections"] > 0


def test_mask_numbers_equal_pycocotools():
    pairs = drawn_set(3, images=12)
    numbers = score(*pairs, class_names="abc").result()
    expected = pycocotools_stats(pairs, 3, "segm")
    assert [numbers[f"mask_{key}"] for key in TWELVE] == pytest.approx(expected.tolist(), abs=1e-6)
    assert numbers["mask_mAP"] != numbers["mAP"]


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="../shared/data/detection/metric_refs is not here")
def test_published_numbers():
    files = [json.loads((REFERENCE / f"{name}.json").read_text()) for name in ("gts", "dets", "expected")]
    truth, dets, expected = files
    ids = {c["id"]: k for k, c in enumerate(truth["categories"])}
    metric = DetectionMetric([c["name"] for c in truth["categories"]])
    for image in sorted(truth["images"], key=lambda image: image["id"]):  # equal scores go by the order of images
        there, here = ([a for a in side["annotations"] if a["image_id"] == image["id"]] for side in (truth, dets))
        here.sort(key=lambda a: -a["score"])
        size = image["height"], image["width"]
        boxes = [npboxes.from_xywh(np.reshape([a["bbox"] for a in side], (-1, 4))) for side in (there, here)]
        labels = [[ids[a["category_id"]] for a in side] for side in (there, here)]
        metric.update(sample(boxes[0], labels[0], size), found(boxes[1], [a["score"] for a in here], labels[1], size))
    numbers = metric.result()
    assert [numbers[key] for key in TWELVE] == pytest.approx(
        [v for k, v in expected.items() if k.startswith("A")], abs=1e-6
    )


def test_the_size_of_an_object_is_its_stated_area():
    stated, other = np.array([1024.5, np.nan]), [100, 10, 150, 60]  # the boxes have 800 and 2500 square pixels
    pair = sample([BOX, other], [0, 1], areas=stated), found([BOX], [0.5], [0])
    numbers = score(pair).result()
    assert (numbers["mAP_small"], numbers["mAP_medium"], numbers["mAR_medium"]) == (-1, 0.5, 0.5)
    without = sample([BOX, other], [0, 1]), found([BOX], [0.5], [0])
    assert score(without).result()["mAP_small"] == 1


def test_perfect_and_shifted_boxes():
    perfect = score((sample([BOX], [0]), found([BOX], [0.5], [0]))).result()
    assert (perfect["mAP"], perfect["mAP50"], perfect["voc07_mAP50"], perfect["voc12_mAP50"]) == (1, 1, 1, 1)
    # Width 40, shifted by 10: IoU = 30 / 50 = 0.6, a hit at 0.50, 0.55 and 0.60, so 3 of the 10 thresholds.
    # (0.60 itself is reached: 0.6 is not below it.)
    shifted = score((sample([BOX], [0]), found([[20, 10, 60, 30]], [0.5], [0]))).result()
    assert shifted["mAP50"] == 1 and shifted["mAP75"] == 0
    assert shifted["mAP"] == pytest.approx(0.3)


def test_empty_cases():
    nothing_found = score((sample([BOX], [0]), found([], [], []))).result()
    assert (nothing_found["mAP"], nothing_found["mAR100"], nothing_found["voc07_mAP50"]) == (0, 0, 0)
    assert nothing_found["mAP_large"] == -1  # the box has 800 square pixels: small
    nothing_there = score((sample([], []), found([BOX], [0.9], [1]))).result()
    assert (nothing_there["mAP"], nothing_there["voc12_mAP50"]) == (-1, -1)
    assert DetectionMetric(["cat"]).result()["mAP50"] == -1
    # Class 1 has no object, so the mean is over class 0 alone, whatever was claimed of class 1.
    assert score((sample([BOX], [0]), found([BOX, BOX], [0.9, 0.8], [1, 0]))).result()["mAP"] == 1


def test_ignored_objects_are_neither_missed_nor_mistakes():
    # The ignored one is found first, the real one second: with it counted as a mistake AP would be 1/2.
    there = sample([BOX, [100, 10, 150, 60]], [0, 0], ignore=np.array([False, True]))
    numbers = score((there, found([[100, 10, 150, 60], BOX], [0.9, 0.8], [0, 0]))).result()
    assert (numbers["mAP"], numbers["voc12_mAP50"]) == (1, 1)
    assert [row["objects"] for row in numbers["per_class"].values()] == [1, 0]


def test_masks_only_where_both_sides_have_them():
    masks = ellipses(np.float32([BOX]), (100, 200))
    there, here = sample([BOX], [0], masks=masks), found([BOX], [0.9], [0], masks=masks)
    assert score((there, here)).result()["mask_mAP"] == 1
    assert "mask_mAP" not in score((there, found([BOX], [0.9], [0]))).result()  # a detector of boxes
    assert "mask_mAP" not in score((sample([BOX], [0]), here)).result()
    metric = score((there, here), (sample([], []), found([], [], [])))  # an empty image needs none
    assert metric.result()["mask_mAP"] == 1
    assert metric.pairs[0][0].masks is None and metric.pairs[0][1].masks is None  # they are kept as codes only


def test_errors_name_the_sample():
    with pytest.raises(DataError, match=r"'x'.*labels 0..1, found \[2\]"):
        score((sample([BOX], [0], name="x"), found([BOX], [0.9], [2])))
    with pytest.raises(DataError, match=r"'x' is \(100, 200\).*\(300, 300\)"):
        score((sample([BOX], [0], name="x"), found([BOX], [0.9], [0], size=(300, 300))))
    with pytest.raises(DataError, match="'x' has no boxes"):
        score((Sample(id="x", image_size=(100, 200)), found([BOX], [0.9], [0])))


# Away from the diagonal and far from square, so that no wrong reading hits by chance.
THERE = np.float32([[20, 6, 70, 16], [100, 40, 190, 60], [30, 70, 50, 98]])
W, H = 200, 100


def yolo(boxes):
    return npboxes.to_yolo(boxes, (H, W)) * np.float32([W, H, W, H])


@pytest.mark.parametrize(
    ("boxes", "labels", "word"),
    [
        (THERE, [1, 2, 1], "one too high"),
        (THERE[:, [1, 0, 3, 2]], [0, 1, 0], "x and y are swapped"),
        (npboxes.to_xywh(THERE), [0, 1, 0], "detections are x, y, width, height"),
        (yolo(THERE), [0, 1, 0], "detections are centre x"),
        (THERE / np.float32([W, H, W, H]), [0, 1, 0], "detections are fractions"),
        (THERE, [2, 3, 2], "classes are not"),  # a permutation that no shift by one undoes
    ],
)
def test_why_zero_names_the_mistake(boxes, labels, word):
    metric = score((sample(THERE, [0, 1, 0]), found(boxes, [0.9, 0.8, 0.7], labels)), class_names="abcd")
    assert metric.result()["mAP50"] <= 0.01
    sentences = metric.why_zero()
    assert word in sentences[0] and "mAP50 would be" in sentences[0]


@pytest.mark.parametrize(
    ("boxes", "labels", "word"),
    [
        (THERE, [1, 2, 1], "one too low"),
        (npboxes.to_xywh(THERE), [0, 1, 0], "annotation is x, y, width, height"),
        (THERE / np.float32([W, H, W, H]), [0, 1, 0], "annotation is in fractions"),
    ],
)
def test_why_zero_names_the_mistake_of_the_annotation(boxes, labels, word):
    metric = score((sample(boxes, labels), found(THERE, [0.9, 0.8, 0.7], [0, 1, 0])), class_names="abc")
    assert word in metric.why_zero()[0]


def test_why_zero_says_that_nothing_was_detected():
    (sentence,) = score((sample(THERE, [0, 1, 0]), found([], [], []))).why_zero()
    assert sentence.startswith("The model detects nothing in any image: no score reaches its threshold.")


def test_why_zero_is_silent_when_there_is_nothing_to_say():
    assert score((sample(THERE, [0, 1, 0]), found(THERE, [0.9, 0.8, 0.7], [0, 1, 0]))).why_zero() == []  # not zero
    assert score((sample([], []), found([BOX], [0.9], [0]))).why_zero() == []  # nothing there
    assert score((sample([BOX], [0]), found([[150, 80, 199, 99]], [0.9], [0]))).why_zero() == []  # simply wrong

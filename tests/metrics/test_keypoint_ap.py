"""The scores of keypoints against pycocotools, and cases small enough to do by hand."""

import contextlib
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import evaluate
from visionkit.metrics.detection import DetectionMetric
from visionkit.metrics.resampling import intervals
from visionkit.skeletons import COCO_PERSON, SIGMA, sigmas_of, skeleton_of
from visionkit.types import DataError, Detections, Sample

SIZE = (400, 600)
EIGHT = ("mAP", "mAP50", "mAP75", "mAP_medium", "mAP_large", "mAR20", "mAR_medium", "mAR_large")
OF_COCO = (0, 1, 2, 3, 4, 5, 8, 9)  # its tenth numbers without the recalls at one threshold


def people(rng, count, skeleton):
    """Boxes, keypoints with every visibility, crowds, and areas, some of them not stated."""
    points = len(skeleton.names)
    corner, side = rng.uniform(0, 300, (count, 2)), rng.uniform(8, 180, (count, 2))
    boxes = np.concatenate([corner, np.minimum(corner + side, [[599, 399]])], axis=1).astype(np.float32)
    keypoints = np.zeros((count, points, 3), np.float32)
    keypoints[..., :2] = boxes[:, None, :2] + rng.random((count, points, 2)) * (boxes[:, None, 2:] - boxes[:, None, :2])
    keypoints[..., 2] = rng.integers(0, 3, (count, points))
    keypoints[rng.random(count) < 0.2] = 0
    keypoints[keypoints[..., 2] == 0] = 0
    areas = np.where(rng.random(count) < 0.3, np.nan, npboxes.area(boxes) * rng.uniform(0.3, 0.9, count))
    return boxes, keypoints, rng.random(count) < 0.1, areas


def drawn(seed, skeleton=COCO_PERSON, images=25, classes=2):
    rng, pairs = np.random.default_rng(seed), []
    for i in range(images):
        count = int(rng.integers(0, 6))
        boxes, keypoints, crowd, areas = people(rng, count, skeleton)
        labels = rng.integers(0, classes, count).astype(np.int32)
        sample = Sample(
            id=str(i),
            image_size=SIZE,
            boxes=boxes,
            labels=labels,
            ignore=crowd,
            areas=areas.astype(np.float64),
            keypoints=keypoints,
            skeleton=skeleton,
        )
        copies = np.repeat(np.arange(count), 8 if i == 0 else 2)  # more than 20 in the first image
        other, wrong, _, _ = people(rng, 3, skeleton)
        near = keypoints[copies] + rng.normal(0, 3, (len(copies), len(skeleton.names), 3))
        found = np.concatenate([near, wrong]).astype(np.float32)
        scores = np.sort(rng.random(len(found)))[::-1].astype(np.float32)
        detections = Detections(
            id=str(i),
            image_size=SIZE,
            boxes=np.concatenate([boxes[copies], other]),
            labels=np.concatenate([labels[copies], rng.integers(0, classes, 3)]).astype(np.int32),
            scores=scores,
            keypoints=found[rng.permutation(len(found))] if i == 1 else found,
            skeleton=skeleton,
        )
        pairs.append((sample, detections))
    return pairs


def collected(pairs, classes=("a", "b")):
    metric = DetectionMetric(classes)
    for pair in pairs:
        metric.update(*pair)
    return metric


def score(pairs, classes=("a", "b")):
    return collected(pairs, classes).result()


def pycocotools_stats(pairs, classes=2):
    annotations, results = [], []
    for i, (sample, detections) in enumerate(pairs, start=1):
        for j, box in enumerate(npboxes.to_xywh(sample.boxes).astype(float).tolist()):
            points = sample.keypoints[j].astype(float)
            area = box[2] * box[3] if math.isnan(sample.areas[j]) else float(sample.areas[j])
            one = {"id": len(annotations) + 1, "image_id": i, "category_id": int(sample.labels[j]), "bbox": box}
            one |= {"area": area, "iscrowd": int(sample.ignore[j]), "keypoints": points.ravel().tolist()}
            annotations.append(one | {"num_keypoints": int((points[:, 2] > 0).sum())})
        results += detections.to_coco(i, range(classes))
    for result in results:
        del result["bbox"]  # by which pycocotools takes them for boxes
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, len(pairs) + 1)],
            "annotations": annotations,
            "categories": [{"id": k} for k in range(classes)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas_of(pairs[0][0].skeleton))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("skeleton", [COCO_PERSON, skeleton_of(["tip", "left", "right"])], ids=["coco", "own"])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_numbers_equal_pycocotools(seed, skeleton):
    pairs = drawn(seed, skeleton)
    numbers = score(pairs)
    expected = pycocotools_stats(pairs)[list(OF_COCO)]
    assert [numbers[f"keypoint_{key}"] for key in EIGHT] == pytest.approx(expected.tolist(), abs=1e-6)
    assert 0.1 < numbers["keypoint_mAP"] < 0.95


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_table_for_intervals_gives_the_same_scores(seed):
    """Crowds, objects without keypoints, which are matched once, and more detections than are considered."""
    metric = collected(drawn(seed))
    table, numbers = metric.tables()[-1], metric.result()
    found = table.scores(np.ones((1, table.images))).overall
    for name in ("mAP", "mAP50", "mAP75", "mAR20"):
        assert found[f"keypoint_{name}"][0] == pytest.approx(numbers[f"keypoint_{name}"], abs=1e-9), name
    (low, high) = intervals(metric.tables(), ["a", "b"], resamples=50)[0]["keypoint_mAP"]
    assert low < numbers["keypoint_mAP"] < high


def test_evaluate_gives_their_intervals():
    pairs = [(s, replace(d, id=s.id)) for s, d in drawn(3)]
    data = Dataset([sample for sample, _ in pairs], ["a", "b"])
    scores = evaluate(Says(pairs, "keypoints", ["a", "b"]), data)
    low, high = scores["intervals"]["keypoint_mAP50"]
    assert low <= scores["keypoint_mAP50"] <= high


class Says:
    """Stands for a predictor, and gives the detections of some pairs."""

    def __init__(self, pairs, task, class_names):
        self.pairs, self.task, self.class_names = pairs, task, class_names

    def __call__(self, dataset, score):
        return iter([detections for _, detections in self.pairs])


def one_keypoint(apart, area=400.0):
    """An object with one keypoint, found `apart` pixels to its right."""
    skeleton = skeleton_of(["tip"])
    box = np.float32([[10, 10, 50, 50]])
    keypoints = np.float32([[[20, 20, 2]]])
    common = {"id": "a", "image_size": SIZE, "boxes": box, "labels": np.int32([0]), "skeleton": skeleton}
    sample = Sample(**common, keypoints=keypoints, areas=np.float64([area]))
    return sample, Detections(**common, scores=np.float32([0.9]), keypoints=keypoints + np.float32([apart, 0, 0]))


def test_the_similarity_falls_with_the_distance_by_hand():
    # exp(-d^2 / (2 * (2 sigma)^2 * area)) with sigma 0.05 and area 400: 0.5 is reached at d = 2 * sqrt(2 ln 2) = 2.35.
    edge = 2 * SIGMA * math.sqrt(400 * 2 * math.log(2))
    assert score([one_keypoint(edge - 0.01)], "a")["keypoint_mAP50"] == pytest.approx(1)
    assert score([one_keypoint(edge + 0.01)], "a")["keypoint_mAP50"] == 0
    assert score([one_keypoint(0)], "a")["keypoint_mAP"] == pytest.approx(1)


def test_without_keypoints_on_one_side_there_are_no_such_scores():
    sample, detections = one_keypoint(0)
    for pair in ((replace(sample, keypoints=None), detections), (sample, replace(detections, keypoints=None))):
        assert not [key for key in score([pair], "a") if key.startswith("keypoint")]


def test_objects_without_keypoints_are_not_counted():
    sample, detections = one_keypoint(0)
    bare = replace(sample, keypoints=np.zeros((1, 1, 3), np.float32))
    found = score([(sample, detections), (bare, replace(detections, scores=np.float32([0.95])))], "a")
    assert found["keypoint_mAP50"] == pytest.approx(1)
    assert score([(bare, detections)], "a")["keypoint_mAP"] == -1


def test_other_keypoints_than_the_models_are_refused():
    sample, detections = one_keypoint(0)
    with pytest.raises(DataError, match=r"sample 'a' has the keypoints \['tip'\] .*, but the model finds \['top'\]"):
        score([(sample, replace(detections, skeleton=skeleton_of(["top"])))], "a")

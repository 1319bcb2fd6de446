"""CPU seconds of a detector's COCO scores on drawn boxes, beside faster-coco-eval and pycocotools alone.

    python tools/benchmarks/bench_evaluation.py [--images 5000]

Both libraries begin with parsed JSON, as `evaluate` begins with samples and detections. CPU time is measured, which
other programs on the machine hardly change. visionkit's own part also has both kinds of Pascal VOC's scores in it.
"""

import argparse
import contextlib
import io
import time

import faster_coco_eval
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visionkit import npboxes
from visionkit.metrics.detection import DetectionMetric
from visionkit.types import Detections, Sample

CLASSES, OBJECTS, DETECTIONS, SIZE = 80, 7.3, 100, (480, 640)  # about those of COCO's val2017


def drawn(count):
    """Pairs of samples and detections, of which a third lie near an object."""
    rng, pairs = np.random.default_rng(0), []
    for i in range(count):
        boxes, labels = _boxes(rng, 1 + rng.poisson(OBJECTS - 1))
        near = rng.integers(0, len(boxes), DETECTIONS // 3)
        others, other_labels = _boxes(rng, DETECTIONS - len(near))
        found = np.concatenate([boxes[near] + rng.normal(0, 4, (len(near), 4)).astype(np.float32), others])
        found_labels = np.concatenate([labels[near], other_labels])
        scores = np.sort(rng.beta(0.7, 3, DETECTIONS).astype(np.float32))[::-1]
        sample = Sample(id=str(i), image_size=SIZE, boxes=boxes, labels=labels)
        pairs.append((sample, Detections(id=str(i), image_size=SIZE, boxes=found, labels=found_labels, scores=scores)))
    return pairs


def _boxes(rng, count):
    corner, size = rng.uniform(0, [500, 350], (count, 2)), rng.lognormal(4, 0.8, (count, 2)).clip(8, 130)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32), rng.integers(0, CLASSES, count)


def ours(pairs):
    """CPU seconds and mAP of visionkit."""
    metric, start = DetectionMetric([str(k) for k in range(CLASSES)]), time.process_time()
    for pair in pairs:
        metric.update(*pair)
    return metric.result()["mAP"], time.process_time() - start


def alone(pairs, coco_class, evaluation_class):
    """CPU seconds and mAP of a library."""
    annotations, results = [], []
    for i, (sample, found) in enumerate(pairs, start=1):
        for box, label in zip(npboxes.to_xywh(sample.boxes).tolist(), sample.labels.tolist(), strict=True):
            one = {"id": len(annotations) + 1, "image_id": i, "category_id": label, "bbox": box, "iscrowd": 0}
            annotations.append(one | {"area": box[2] * box[3]})
        rows = (npboxes.to_xywh(found.boxes).tolist(), found.labels.tolist(), found.scores.tolist())
        for box, label, score in zip(*rows, strict=True):
            results.append({"image_id": i, "category_id": label, "bbox": box, "score": score})
    images = [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(1, len(pairs) + 1)]
    categories = [{"id": k, "name": str(k)} for k in range(CLASSES)]
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_class()
        truth.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
        truth.createIndex()
        evaluation = evaluation_class(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    pairs = drawn(parser.parse_args().images)
    measured = {
        "visionkit": ours(pairs),
        "faster-coco-eval": alone(pairs, faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
        "pycocotools": alone(pairs, COCO, COCOeval),
    }
    for name, (score, seconds) in measured.items():
        print(f"{name:18}{seconds:7.2f} s CPU   mAP {score:.4f}")


if __name__ == "__main__":
    main()

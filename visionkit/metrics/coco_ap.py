"""The tables behind the COCO scores, computed by faster-coco-eval; a test checks them against pycocotools."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster  # pyright: ignore[reportMissingTypeStubs] -- it ships none
from pycocotools import mask as rle

from visionkit import npboxes
from visionkit.types import Detections, Sample, objects_of

Pairs = Sequence[tuple[Sample, Detections]]  # the annotated objects of each image and what was detected in it
Rles = list[Any]  # one run-length code of pycocotools per mask
AREAS = ("all", "small", "medium", "large")  # split at 32^2 and 96^2 pixels
CAPS = (1, 10, 100)  # how many detections of a class are considered in an image
IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())


def coco_tables(
    pairs: Pairs,
    num_classes: int,
    rles: Sequence[tuple[Rles | None, Rles | None]] | None = None,
    of_masks: bool = False,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections with objects as COCO does.

    Args:
        pairs: the samples and detections; `Sample.ignore` becomes `iscrowd`.
        num_classes: K.
        rles: for each pair the encoded masks (see `encode_masks`) of its objects and of its detections.
        of_masks: compare the masks instead of the boxes.
        iou_thresholds: T thresholds.

    Returns:
        precision `[T, 101, K, 4, 3]` by threshold, recall 0..1, class, `AREAS` and `CAPS`, and recall `[T, K, 4, 3]`;
        -1 where the data set has no object to measure against.
    """
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for i, (sample, detections) in enumerate(pairs, start=1):
        object_rles, detection_rles = rles[i - 1] if rles is not None else (None, None)
        boxes, labels, ignore = objects_of(sample)
        # COCO takes an object's area from the annotation, whatever is being compared; a detection's from just that.
        objects = _records(i, boxes, labels, object_rles, object_rles)
        if sample.areas is not None:
            for record, area in zip(objects, sample.areas.tolist(), strict=True):
                record["area"] = record["area"] if math.isnan(area) else area
        for record, crowd in zip(objects, ignore.tolist(), strict=True):
            record["iscrowd"] = int(crowd)
        compared_rles = detection_rles if of_masks else None
        detected = _records(i, detections.boxes, detections.labels, detection_rles, compared_rles)
        for record, score in zip(detected, detections.scores.tolist(), strict=True):
            record["score"] = score
        annotations += objects
        results += detected
    images = [{"id": i, "height": s.image_size[0], "width": s.image_size[1]} for i, (s, _) in enumerate(pairs, start=1)]
    evaluation: Any = COCOeval_faster(
        _coco(images, annotations, num_classes),
        _coco(images, results, num_classes),
        "segm" if of_masks else "bbox",
        print_function=_silent,
    )
    evaluation.params.iouThrs = np.asarray(iou_thresholds)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])


def encode_masks(masks: np.ndarray | None) -> Rles | None:
    """Encodes masks uint8 `[N, H, W]` as run lengths: a few hundred bytes each instead of a megabyte."""
    return None if masks is None else [rle.encode(np.asfortranarray(mask)) for mask in masks]


def mean_defined(table: np.ndarray) -> float:
    """The mean of the entries that are defined (not -1), or -1 if none is."""
    defined = table[table > -1]
    return float(defined.mean()) if defined.size else -1.0


def _records(
    image_id: int, boxes: np.ndarray, labels: np.ndarray, codes: Rles | None, area_codes: Rles | None
) -> list[dict[str, Any]]:
    """COCO's records of the boxes `[N, 4]`, with the masks of `codes` and the areas of `area_codes`, if any."""
    xywh = npboxes.to_xywh(boxes).astype(float)  # [N, 4]
    areas = (xywh[:, 2] * xywh[:, 3]).tolist()
    if area_codes is not None:
        areas = [float(rle.area(code)) for code in area_codes]
    records = [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
        for label, box, area in zip(labels.tolist(), xywh.tolist(), areas, strict=True)
    ]
    if codes is not None:
        for record, code in zip(records, codes, strict=True):
            record["segmentation"] = code
    return records


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], num_classes: int) -> COCO:
    for number, annotation in enumerate(annotations, start=1):  # from 1, because COCO reads id 0 as "unmatched"
        annotation["id"] = number
    coco = COCO()
    categories = [{"id": k, "name": str(k)} for k in range(num_classes)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    return coco


def _silent(*_: object) -> None:
    pass

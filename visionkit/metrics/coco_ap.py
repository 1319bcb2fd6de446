"""The tables behind the COCO numbers, filled by faster-coco-eval, which a test holds equal to pycocotools."""

from collections.abc import Sequence

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as rle

from visionkit import npboxes
from visionkit.types import Detections, Sample

Pairs = Sequence[tuple[Sample, Detections]]  # what is in each image and what was found in it
AREAS = ("all", "small", "medium", "large")  # split at 32^2 and 96^2 pixels
CAPS = (1, 10, 100)  # how many detections of a class and image are looked at
IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10))


def coco_tables(
    pairs: Pairs,
    num_classes: int,
    rles: Sequence[tuple[list | None, list | None]] | None = None,
    of_masks: bool = False,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections with objects as COCO does.

    Args:
        pairs: the samples and detections; `Sample.ignore` becomes `iscrowd`.
        num_classes: K.
        rles: for each pair the encoded masks (see `encode_masks`) of its objects and of its detections.
        of_masks: compare the masks and not the boxes.
        iou_thresholds: T thresholds.

    Returns:
        precision `[T, 101, K, 4, 3]` by threshold, recall 0..1, class, `AREAS` and `CAPS`, and recall `[T, K, 4, 3]`;
        -1 where the set holds no object to measure by.
    """
    objects, found = [], []
    for i, (sample, detections) in enumerate(pairs, start=1):
        object_rles, found_rles = rles[i - 1] if rles is not None else (None, None)
        ignore = np.zeros(len(sample.boxes), bool) if sample.ignore is None else sample.ignore
        # An object's area is its mask's in either mode, a detection's is that of what is compared: so does COCO.
        objects += _annotations(i, sample, object_rles, object_rles, "iscrowd", ignore.astype(int))
        by_mask = found_rles if of_masks else None
        found += _annotations(i, detections, found_rles, by_mask, "score", detections.scores.astype(float))
    images = [{"id": i, "height": s.image_size[0], "width": s.image_size[1]} for i, (s, _) in enumerate(pairs, start=1)]
    evaluation = COCOeval_faster(
        _coco(images, objects, num_classes),
        _coco(images, found, num_classes),
        "segm" if of_masks else "bbox",
        print_function=_silent,
    )
    evaluation.params.iouThrs = np.asarray(iou_thresholds)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])


def encode_masks(masks: np.ndarray | None) -> list[dict] | None:
    """Run-length codes of masks uint8 `[N, H, W]`: some hundred bytes each in place of a megabyte."""
    return None if masks is None else [rle.encode(np.asfortranarray(mask)) for mask in masks]


def mean_defined(table: np.ndarray) -> float:
    """The mean of the entries that are defined (not -1), or -1 when none is."""
    defined = table[table > -1]
    return float(defined.mean()) if defined.size else -1.0


def _annotations(image_id, item, codes, area_codes, key, values) -> list[dict]:
    boxes = npboxes.to_xywh(item.boxes).astype(float)
    areas = boxes[:, 2] * boxes[:, 3] if area_codes is None else [float(rle.area(code)) for code in area_codes]
    records = [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": float(area), "iscrowd": 0, key: value}
        for label, box, area, value in zip(item.labels.tolist(), boxes.tolist(), areas, values.tolist(), strict=True)
    ]
    if codes is not None:
        for record, code in zip(records, codes, strict=True):
            record["segmentation"] = code
    return records


def _coco(images, annotations, num_classes) -> COCO:
    for number, annotation in enumerate(annotations, start=1):  # from 1: number 0 would mean "unmatched"
        annotation["id"] = number
    coco = COCO()
    categories = [{"id": k, "name": str(k)} for k in range(num_classes)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    return coco


def _silent(*_):
    pass

"""The tables behind the COCO scores, computed by faster-coco-eval; a test checks them against pycocotools."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCOeval_faster  # pyright: ignore[reportMissingTypeStubs] -- it ships none
from pycocotools import mask as rle

from visionkit import npboxes
from visionkit.metrics.keypoint_similarity import marked
from visionkit.skeletons import sigmas_of
from visionkit.types import Detections, Sample, objects_of

Pairs = Sequence[tuple[Sample, Detections]]  # the annotated objects of each image and what was detected in it
Rles = list[Any]  # one run-length code of pycocotools per mask
AREAS = ("all", "small", "medium", "large")  # split at 32^2 and 96^2 pixels
KEYPOINT_AREAS = ("all", "medium", "large")  # in which keypoints are scored: small ones cannot be marked
CAPS = (1, 10, 100)  # how many detections of a class are considered in an image
KEYPOINT_CAP = 20  # the same where keypoints are compared
IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())


def coco_tables(
    pairs: Pairs,
    num_classes: int,
    rles: Sequence[tuple[Rles | None, Rles | None]] | None = None,
    of_masks: bool = False,
    of_keypoints: bool = False,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections with objects as COCO does.

    Args:
        pairs: the samples and detections; `Sample.ignore` becomes `iscrowd`.
        num_classes: K.
        rles: for each pair the encoded masks (see `encode_masks`) of its objects and of its detections.
        of_masks: compare the masks instead of the boxes.
        of_keypoints: compare the keypoints, by their object keypoint similarity (OKS); an object without any is not
            counted, and only 20 detections of a class are considered in an image.
        iou_thresholds: T thresholds.

    Returns:
        precision `[T, 101, K, 4, 3]` by threshold, recall 0..1, class, `AREAS` and `CAPS`, and recall `[T, K, 4, 3]`;
        -1 where the data set has no object to measure against. Of keypoints `[T, 101, K, 3, 1]` and `[T, K, 3, 1]`, by
        `KEYPOINT_AREAS` and the 20 detections.
    """
    codes = [(None, None)] * len(pairs) if rles is None else rles
    annotated = [objects_of(sample) for sample, _ in pairs]
    # COCO takes an object's area from the annotation, whatever is being compared; a detection's from just that.
    of_objects = [one for one, _ in codes]
    of_detections = [one if of_masks else None for _, one in codes]
    objects = _records([one.boxes for one in annotated], [one.labels for one in annotated], of_objects)
    crowds = _joined([one.ignore for one in annotated], bool)
    for record, area, crowd in zip(objects, _stated_areas(pairs), crowds, strict=True):
        record["area"] = record["area"] if math.isnan(area) else area
        record["iscrowd"] = int(crowd)
    results = _records([d.boxes for _, d in pairs], [d.labels for _, d in pairs], of_detections)
    for record, score in zip(results, _joined([d.scores for _, d in pairs], float), strict=True):
        record["score"] = score
    sigmas = _add_keypoints(pairs, objects, results) if of_keypoints else None
    evaluator: Any = COCOeval_faster
    evaluation = evaluator(
        _Records(pairs, num_classes, objects),
        _Records(pairs, num_classes, results),
        "keypoints" if of_keypoints else "segm" if of_masks else "bbox",
        print_function=_silent,
        kpt_oks_sigmas=sigmas,
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
    boxes: Sequence[np.ndarray], labels: Sequence[np.ndarray], codes: Sequence[Rles | None]
) -> list[dict[str, Any]]:
    """COCO's records of the boxes `[N, 4]` of each image, with their labels `[N]` and masks, if any."""
    counts = [len(one) for one in boxes]
    xywh = npboxes.to_xywh(np.concatenate([np.empty((0, 4), np.float32), *boxes])).astype(float)  # [all, 4]
    records: list[dict[str, Any]] = [
        # From 1, because COCO reads id 0 as "unmatched".
        {"id": id, "image_id": image_id, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
        for id, (image_id, label, box, area) in enumerate(
            zip(
                np.repeat(np.arange(1, len(boxes) + 1), counts).tolist(),
                _joined(labels, int),
                xywh.tolist(),
                (xywh[:, 2] * xywh[:, 3]).tolist(),
                strict=True,
            ),
            start=1,
        )
    ]
    if any(one is not None for one in codes):
        of_records = itertools.chain.from_iterable(
            [None] * count if one is None else one for one, count in zip(codes, counts, strict=True)
        )
        for record, code in zip(records, of_records, strict=True):
            if code is not None:
                record["segmentation"], record["area"] = code, float(rle.area(code))
    return records


def _add_keypoints(pairs: Pairs, objects: list[dict[str, Any]], results: list[dict[str, Any]]) -> list[float]:
    """Adds the keypoints to COCO's records of objects and detections, and returns the sigmas of their skeleton."""
    skeleton = next(detections.skeleton for _, detections in pairs if detections.skeleton is not None)
    none = np.zeros((0, len(skeleton.names), 3))
    of_objects = np.concatenate([none, *(marked(sample, len(skeleton.names)) for sample, _ in pairs)])
    of_results = np.concatenate([none, *(d.keypoints for _, d in pairs if d.keypoints is not None)])
    for record, points in zip(objects, of_objects.astype(float), strict=True):
        record["keypoints"], record["num_keypoints"] = points.ravel().tolist(), int((points[:, 2] > 0).sum())
    for record, points in zip(results, of_results.astype(float), strict=True):
        record["keypoints"] = points.ravel().tolist()
        width, height = points[:, :2].max(axis=0) - points[:, :2].min(axis=0)
        record["area"] = float(width * height)  # COCO takes the box around the keypoints for that of the detection
    return sigmas_of(skeleton)


def _stated_areas(pairs: Pairs) -> list[float]:
    """The areas of all objects as the annotation states them, NaN where it states none."""
    areas = [
        np.full(len(objects_of(sample).boxes), np.nan) if sample.areas is None else sample.areas for sample, _ in pairs
    ]
    return _joined(areas, float)


def _joined(parts: Sequence[Any], dtype: type) -> list[Any]:
    """The arrays of all images as one list of Python numbers."""
    return np.concatenate([np.empty(0), *parts]).astype(dtype).tolist()


class _Records:
    """What the library asks of its class COCO, which would first index every record by image, by class and by id.

    Args:
        pairs: the samples, for the sizes of the images.
        num_classes: K.
        records: all of them; the library groups them itself.
    """

    print_function = None

    def __init__(self, pairs: Pairs, num_classes: int, records: list[dict[str, Any]]):
        self.imgs = {
            i: {"id": i, "height": sample.image_size[0], "width": sample.image_size[1]}
            for i, (sample, _) in enumerate(pairs, start=1)
        }
        self.num_classes, self.records = num_classes, records

    def getImgIds(self) -> list[int]:
        return list(self.imgs)

    def getCatIds(self) -> list[int]:
        return list(range(self.num_classes))

    @property
    def cat_img_map(self) -> dict[int, None]:
        """The library takes the classes from its keys, where it scores keypoints."""
        return dict.fromkeys(self.getCatIds())

    def getAnnIds(self, imgIds: object, catIds: object) -> None:
        """Every record is meant."""

    def loadAnns(self, ids: object) -> list[dict[str, Any]]:
        return self.records


def _silent(*_: object) -> None:
    pass

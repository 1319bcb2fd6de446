"""Which score threshold suits a detector, and what it gets wrong: curves, confusion matrix and single mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionkit import npboxes
from visionkit.metrics.coco_ap import Pairs
from visionkit.types import Detections, Sample, objects_of

WRONG, NOT_COUNTED = -1, -2  # in place of an object's row: the detection hits nothing, or an ignored object
IOU = 0.5


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of one class at every score threshold that makes a difference.

    Args:
        scores: float32 `[N]`, descending, without repeats.
        precision: float64 `[N]`, the share of hits among the detections with this score or a higher one.
        recall: float64 `[N]`, the share of the objects that these detect; 0 for a class without objects.
        objects: how many objects there are.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    objects: int

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of precision and recall, float64 `[N]`."""
        return 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)

    @property
    def best(self) -> dict[str, float]:
        """The threshold with the greatest F1 and what it gives: `{"threshold", "F1", "precision", "recall"}`.

        Without any hit the threshold is 1 and the others are 0.
        """
        if not self.f1.any():
            return {"threshold": 1.0, "F1": 0.0, "precision": 0.0, "recall": 0.0}
        at = int(self.f1.argmax())
        values = {"threshold": self.scores, "F1": self.f1, "precision": self.precision, "recall": self.recall}
        return {key: float(value[at]) for key, value in values.items()}

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision for drawing, `[N + 1]` each: the first point is at recall 0.

        It has the precision of the first detection; without detections both arrays are empty.
        """
        recall, precision = np.append(self.recall[:1], self.recall), np.append(self.precision[:1], self.precision)
        recall[:1] = 0
        return recall, precision


@dataclass(frozen=True, eq=False)
class Error:
    """One mistake.

    Args:
        image: index into the pairs.
        box: float32 `[4]` of the detection or of the missed object.
        label: the class of the detection or of the missed object.
        score: of the detection; None for a missed object.
    """

    image: int
    box: np.ndarray
    label: int
    score: float | None


def match(sample: Sample, detections: Detections, iou_threshold: float = IOU) -> np.ndarray:
    """Finds the object that each detection hits, class by class as COCO does.

    Best score first, a detection takes the free object of its class that it overlaps most, if the IoU reaches the
    threshold. Otherwise it is not counted if an ignored object of its class covers that share of its own area.

    Returns:
        int `[N]`: the object's row, or WRONG, or NOT_COUNTED.
    """
    result = np.full(len(detections.boxes), WRONG)
    boxes, labels, ignore = objects_of(sample)
    if not len(detections.boxes) or not len(boxes):
        return result
    overlap = npboxes.iou(detections.boxes, boxes)  # [detections, objects]
    own = np.maximum(npboxes.area(detections.boxes), 1e-9)[:, None]
    both = own + npboxes.area(boxes)  # IoU is shared / (both - shared), and so shared = both * IoU / (1 + IoU)
    inside = both * overlap / (1 + overlap) / own
    same = detections.labels[:, None] == labels
    free = same & ~ignore & (overlap >= iou_threshold)
    excused = (same & ignore & (inside >= iou_threshold)).any(axis=1)
    for i in np.argsort(-detections.scores, kind="stable"):
        if free[i].any():
            result[i] = np.where(free[i], overlap[i], -1).argmax()
            free[:, result[i]] = False
        elif excused[i]:
            result[i] = NOT_COUNTED
    return result


def curves(pairs: Pairs, num_classes: int, iou_threshold: float = IOU) -> list[Curve]:
    """Computes the curve of every class; detections of ignored objects do not count."""
    objects = np.zeros(num_classes, int)
    label_parts = [np.empty(0, np.int32)]
    score_parts = [np.empty(0, np.float32)]
    hit_parts = [np.empty(0, bool)]
    for sample, detections in pairs:
        _, labels, ignore = objects_of(sample)
        objects += np.bincount(labels[~ignore], minlength=num_classes)
        matched = match(sample, detections, iou_threshold)
        counts = matched != NOT_COUNTED
        label_parts.append(detections.labels[counts])
        score_parts.append(detections.scores[counts])
        hit_parts.append(matched[counts] >= 0)
    labels, scores, hits = np.concatenate(label_parts), np.concatenate(score_parts), np.concatenate(hit_parts)
    return [_curve(scores[labels == k], hits[labels == k], int(objects[k])) for k in range(num_classes)]


def confusion(pairs: Pairs, num_classes: int, thresholds: Sequence[float], iou_threshold: float = IOU) -> np.ndarray:
    """Counts which class was detected where which object is.

    Hits are counted first. The remaining detections, best score first, are then matched with the remaining objects
    regardless of class.

    Args:
        thresholds: for each class the score below which detections are left out.

    Returns:
        int `[K + 1, K + 1]`: rows are the true class, columns the detected one, the last of each is the background:
        the last row counts false detections, the last column missed objects. The corner is 0.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for sample, all_detections in pairs:
        detections = _above(all_detections, thresholds)
        boxes, labels, _ = objects_of(sample)
        matched = match(sample, detections, iou_threshold)
        left = _unmatched(sample, matched)
        overlap = npboxes.iou(detections.boxes, boxes)  # [detections, objects]
        for i in np.argsort(-detections.scores, kind="stable"):
            if matched[i] == NOT_COUNTED:
                continue
            truth = num_classes
            near = np.where(left, overlap[i], -1)
            if matched[i] >= 0:
                truth = labels[matched[i]]
            elif near.max(initial=-1) >= iou_threshold:
                truth = labels[near.argmax()]
                left[near.argmax()] = False
            matrix[truth, detections.labels[i]] += 1
        matrix[:, num_classes] += np.bincount(labels[left], minlength=num_classes + 1)
    return matrix


def worst(
    pairs: Pairs, thresholds: Sequence[float], iou_threshold: float = IOU, limit: int = 20
) -> tuple[list[Error], list[Error]]:
    """Finds the detections with the highest scores that hit nothing, and the largest objects that were missed.

    Args:
        thresholds: see `confusion`.
        limit: the most that are returned of each.
    """
    false: list[tuple[float, Error]] = []
    missed: list[Error] = []
    for image, (sample, all_detections) in enumerate(pairs):
        detections = _above(all_detections, thresholds)
        boxes, labels, _ = objects_of(sample)
        matched = match(sample, detections, iou_threshold)
        for i in np.flatnonzero(matched == WRONG):
            score = float(detections.scores[i])
            false.append((score, Error(image, detections.boxes[i], int(detections.labels[i]), score)))
        for i in np.flatnonzero(_unmatched(sample, matched)):
            missed.append(Error(image, boxes[i], int(labels[i]), None))
    false.sort(key=lambda pair: -pair[0])
    missed.sort(key=lambda error: -float(npboxes.area(error.box)))
    return [error for _, error in false[:limit]], missed[:limit]


def _curve(scores: np.ndarray, hits: np.ndarray, objects: int) -> Curve:
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # the last detection of each score
    detected, predicted = np.cumsum(hits)[last], np.flatnonzero(last) + 1
    return Curve(scores[last].astype(np.float32), detected / predicted, detected / max(objects, 1), objects)


def _unmatched(sample: Sample, matched: np.ndarray) -> np.ndarray:
    """bool `[N]`: the objects that count and that no detection hit."""
    left = ~objects_of(sample).ignore
    left[matched[matched >= 0]] = False
    return left


def _above(detections: Detections, thresholds: Sequence[float]) -> Detections:
    """The detections that reach the threshold of their class, without masks."""
    keep = detections.scores >= np.asarray(thresholds, np.float32)[detections.labels]
    return replace(
        detections,
        boxes=detections.boxes[keep],
        scores=detections.scores[keep],
        labels=detections.labels[keep],
        masks=None,
        keypoints=None,
    )

"""Average precision of Pascal VOC: 11-point (2007) and all-point (2010 and later).

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015, section 3; the rules are
those of the development kit's VOCevaldet.m. The matching differs from COCO's: a detection is compared only with the
object that it overlaps most, and counts as a mistake if that object is already taken, even if another one is free.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visionkit import npboxes
from visionkit.types import Detections, Objects, Sample, objects_of


class Ranking(NamedTuple):
    """A class's detections by descending score, bool `[N]`: True for a hit; and how many objects there are."""

    hits: np.ndarray
    num_objects: int


def voc_ap(
    pairs: Sequence[tuple[Sample, Detections]],
    num_classes: int,
    iou_threshold: float = 0.5,
    eleven_point: bool = False,
    inclusive_pixels: bool = False,
) -> np.ndarray:
    """Computes the average precision of each class.

    Args:
        pairs: the annotated objects of each image and what was detected in it. Objects with `Sample.ignore` are VOC's
            `difficult`: neither missed nor, when detected, a mistake.
        num_classes: K.
        iou_threshold: a detection hits at an IoU of this or more; must be above 0.
        eleven_point: the mean of the interpolated precision at recall 0, 0.1, ... 1 (VOC2007) instead of the area
            under the interpolated curve (VOC2010 and later).
        inclusive_pixels: measure boxes as the development kit does, width = x2 - x1 + 1.

    Returns:
        float64 `[K]` in 0..1; 0 for a class that was never detected, -1 (as in COCO) for a class without objects.
    """
    return aps(rankings(pairs, num_classes, iou_threshold, inclusive_pixels), eleven_point)


def aps(ranked: Sequence[Ranking], eleven_point: bool = False) -> np.ndarray:
    """What `voc_ap` returns, from what `rankings` does: both kinds need the boxes to be matched only once."""
    return np.array([average_precision(hits, n, eleven_point) if n else -1.0 for hits, n in ranked], float)


def rankings(
    pairs: Sequence[tuple[Sample, Detections]],
    num_classes: int,
    iou_threshold: float = 0.5,
    inclusive_pixels: bool = False,
) -> list[Ranking]:
    """Returns of each class which detections hit, the best score first, and how many objects there are.

    Args:
        pairs, num_classes, iou_threshold, inclusive_pixels: see `voc_ap`.
    """
    num_objects = np.zeros(num_classes, int)
    label_parts, score_parts, hit_parts = [np.empty(0, int)], [np.empty(0, np.float32)], [np.empty(0, bool)]
    for sample, detections in pairs:
        objects = objects_of(sample)
        num_objects += np.bincount(objects.labels[~objects.ignore], minlength=num_classes)
        # Within an image the order of scores is that of the whole ranking, so each image is matched on its own.
        order = np.argsort(-detections.scores, kind="stable")
        hit, counts = _match(objects, detections, order, iou_threshold, 1.0 if inclusive_pixels else 0.0)
        label_parts.append(detections.labels[order][counts])
        score_parts.append(detections.scores[order][counts])
        hit_parts.append(hit[counts])
    labels, scores, hits = np.concatenate(label_parts), np.concatenate(score_parts), np.concatenate(hit_parts)
    order = np.lexsort((-scores, labels))  # by class, then by score; stable
    ends = np.searchsorted(labels[order], np.arange(num_classes + 1))  # where each class begins
    return [Ranking(hits[order[ends[k] : ends[k + 1]]], int(num_objects[k])) for k in range(num_classes)]


def average_precision(hits: np.ndarray, num_objects: int, eleven_point: bool = False) -> float:
    """Computes the average precision of a ranking.

    Args:
        hits: bool `[N]`, best score first: True for a hit, False for a mistake.
        num_objects: how many objects there were to detect, at least 1.
        eleven_point: see `voc_ap`.

    Returns:
        0..1.
    """
    detected = np.cumsum(hits)  # [N] objects detected by the first n detections
    precision = detected / np.arange(1, len(detected) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    if eleven_point:
        # Recall r/10 is reached where 10 * detected >= r * num_objects; in whole numbers 3 of 10 IS recall 0.3.
        at = np.searchsorted(10 * detected, np.arange(11) * num_objects)
        return float(np.append(envelope, 0.0)[at].mean())
    return float(envelope[np.asarray(hits, bool)].sum() / num_objects)  # each hit adds a step of 1 / num_objects


def _match(
    objects: Objects, detections: Detections, order: np.ndarray, iou_threshold: float, grow: float
) -> tuple[np.ndarray, np.ndarray]:
    """For the detections of one image, best first: whether each is a hit, and whether it counts at all."""
    n = len(order)
    hit, counts = np.zeros(n, bool), np.ones(n, bool)
    if not n or not len(objects.boxes):
        return hit, counts
    corner = np.array([0, 0, grow, grow])
    overlap = npboxes.iou(detections.boxes[order] + corner, objects.boxes + corner)  # [detections, objects]
    overlap[detections.labels[order][:, None] != objects.labels] = -1.0
    best = overlap.argmax(axis=1)
    near = np.flatnonzero(overlap[np.arange(n), best] >= iou_threshold)
    hit[near[np.unique(best[near], return_index=True)[1]]] = True  # the best-scored one takes the object
    counts[near] = ~objects.ignore[best[near]]
    return hit, counts

"""Average precision of Pascal VOC: the 11-point one of 2007 and the all-point one of 2010 and later.

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015, section 3; the rules are
those of the development kit's VOCevaldet.m. It differs from COCO in the matching: a detection is compared only with
the object it overlaps most, and is a mistake when that object is taken, though another one may be free.
"""

from collections.abc import Sequence

import numpy as np

from visionkit import npboxes
from visionkit.types import Detections, Sample

UNDEFINED = -1.0  # as in COCO: there is nothing in the set to measure this by


def voc_ap(
    pairs: Sequence[tuple[Sample, Detections]],
    label: int,
    iou_threshold: float = 0.5,
    eleven_point: bool = False,
    inclusive_pixels: bool = False,
) -> float:
    """Average precision of one class.

    Args:
        pairs: what is in each image and what was found in it. Objects with `Sample.ignore` are VOC's `difficult`:
            neither missed nor, when detected, a mistake.
        label: the class id.
        iou_threshold: a detection hits at an IoU of this or more, 0..1.
        eleven_point: mean of the interpolated precision at recall 0, 0.1, ... 1 (VOC2007) instead of the area under
            the interpolated curve (VOC2010 and later).
        inclusive_pixels: measure boxes as the development kit does, width = x2 - x1 + 1.

    Returns:
        0..1; 0 when nothing was detected; -1 when the set holds no object of the class.
    """
    hits, num_objects = _hits(pairs, label, iou_threshold, inclusive_pixels)
    if num_objects == 0:
        return UNDEFINED
    return average_precision(hits, num_objects, eleven_point)


def voc_map(pairs: Sequence[tuple[Sample, Detections]], num_classes: int, **options) -> float:
    """Mean of `voc_ap` over the classes that occur, -1 when none does; `options` are those of `voc_ap`."""
    each = [voc_ap(pairs, label, **options) for label in range(num_classes)]
    each = [ap for ap in each if ap != UNDEFINED]
    return float(np.mean(each)) if each else UNDEFINED


def average_precision(hits: np.ndarray, num_objects: int, eleven_point: bool = False) -> float:
    """Average precision of a ranking.

    Args:
        hits: bool `[N]`, best score first: True for a hit, False for a mistake.
        num_objects: how many there were to find, at least 1.
        eleven_point: see `voc_ap`.
    """
    found = np.cumsum(hits)  # [N] objects found in the first n detections
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    if eleven_point:
        # Recall r/10 is reached where 10 * found >= r * num_objects; in whole numbers 3 of 10 IS recall 0.3.
        at = np.searchsorted(10 * found, np.arange(11) * num_objects)
        return float(np.append(envelope, 0.0)[at].mean())
    return float(envelope[np.asarray(hits, bool)].sum() / num_objects)  # each hit adds a step of 1 / num_objects


def _hits(pairs, label, iou_threshold, inclusive_pixels) -> tuple[np.ndarray, int]:
    grow = np.array([0, 0, 1, 1], np.float64) if inclusive_pixels else 0.0
    scores, hits, num_objects = [], [], 0
    for sample, found in pairs:
        mine = sample.labels == label
        objects = sample.boxes[mine] + grow
        ignore = np.zeros(len(objects), bool) if sample.ignore is None else sample.ignore[mine]
        num_objects += int((~ignore).sum())
        mine = np.flatnonzero(found.labels == label)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        # Within an image the order of scores is the order of the whole ranking, so each image is matched on its own.
        overlap = npboxes.iou(found.boxes[mine] + grow, objects)  # [detections, objects]
        taken = np.zeros(len(objects), bool)
        for score, row in zip(found.scores[mine], overlap, strict=True):
            best = int(row.argmax()) if len(row) else 0
            hit = len(row) > 0 and row[best] >= iou_threshold
            if hit and ignore[best]:
                continue
            scores.append(score)
            hits.append(hit and not taken[best])
            if hit:
                taken[best] = True
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return np.asarray(hits, bool)[order], num_objects

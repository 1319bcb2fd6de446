"""Average precision of Pascal VOC: the 11-point one of 2007 and the all-point one of 2010 and later.

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015, section 3; the rules are
those of the development kit's VOCevaldet.m. It differs from COCO in the matching: a detection is compared only with
the object it overlaps most, and is a mistake when that object is taken, though another one may be free.
"""

from collections.abc import Sequence

import numpy as np

from visionkit import npboxes
from visionkit.types import Detections, Sample


def voc_ap(
    pairs: Sequence[tuple[Sample, Detections]],
    num_classes: int,
    iou_threshold: float = 0.5,
    eleven_point: bool = False,
    inclusive_pixels: bool = False,
) -> np.ndarray:
    """Average precision of each class.

    Args:
        pairs: what is in each image and what was found in it. Objects with `Sample.ignore` are VOC's `difficult`:
            neither missed nor, when detected, a mistake.
        num_classes: K.
        iou_threshold: a detection hits at an IoU of this or more, above 0.
        eleven_point: mean of the interpolated precision at recall 0, 0.1, ... 1 (VOC2007) instead of the area under
            the interpolated curve (VOC2010 and later).
        inclusive_pixels: measure boxes as the development kit does, width = x2 - x1 + 1.

    Returns:
        float64 `[K]` in 0..1; 0 when nothing was detected, -1 (as in COCO) when the set holds no object of the class.
    """
    labels, scores, hits, num_objects = [], [], [], np.zeros(num_classes, int)
    for sample, found in pairs:
        ignore = np.zeros(len(sample.boxes), bool) if sample.ignore is None else sample.ignore
        num_objects += np.bincount(sample.labels[~ignore], minlength=num_classes)
        # Within an image the order of scores is that of the whole ranking, so each image is matched on its own.
        order = np.argsort(-found.scores, kind="stable")
        hit, counts = _match(sample, found, order, ignore, iou_threshold, 1.0 if inclusive_pixels else 0.0)
        labels.append(found.labels[order][counts])
        scores.append(found.scores[order][counts])
        hits.append(hit[counts])
    aps = np.full(num_classes, -1.0)
    if not pairs:
        return aps
    labels, scores, hits = (np.concatenate(part) for part in (labels, scores, hits))
    for k in np.flatnonzero(num_objects):
        mine = np.flatnonzero(labels == k)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        aps[k] = average_precision(hits[mine], num_objects[k], eleven_point)
    return aps


def average_precision(hits: np.ndarray, num_objects: int, eleven_point: bool = False) -> float:
    """Average precision of a ranking.

    Args:
        hits: bool `[N]`, best score first: True for a hit, False for a mistake.
        num_objects: how many there were to find, at least 1.
        eleven_point: see `voc_ap`.

    Returns:
        0..1.
    """
    found = np.cumsum(hits)  # [N] objects found in the first n detections
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # the best precision at this recall or a higher one
    if eleven_point:
        # Recall r/10 is reached where 10 * found >= r * num_objects; in whole numbers 3 of 10 IS recall 0.3.
        at = np.searchsorted(10 * found, np.arange(11) * num_objects)
        return float(np.append(envelope, 0.0)[at].mean())
    return float(envelope[np.asarray(hits, bool)].sum() / num_objects)  # each hit adds a step of 1 / num_objects


def _match(sample, found, order, ignore, iou_threshold, grow) -> tuple[np.ndarray, np.ndarray]:
    """For the detections of one image, best first: whether each is a hit, and whether it counts at all."""
    n = len(order)
    if not n or not len(sample.boxes):
        return np.zeros(n, bool), np.ones(n, bool)
    grow = np.array([0, 0, grow, grow])
    overlap = npboxes.iou(found.boxes[order] + grow, sample.boxes + grow)  # [detections, objects]
    overlap[found.labels[order][:, None] != sample.labels] = -1.0
    best = overlap.argmax(axis=1)
    near = np.flatnonzero(overlap[np.arange(n), best] >= iou_threshold)
    hit, counts = np.zeros(n, bool), np.ones(n, bool)
    hit[near[np.unique(best[near], return_index=True)[1]]] = True  # the first to come takes the object
    counts[near] = ~ignore[best[near]]
    return hit, counts

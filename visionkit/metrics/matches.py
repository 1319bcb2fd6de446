"""A detector's hits and mistakes image by image, from which the COCO scores of any resampled data set follow.

The rules are COCO's, as `coco_ap` has them: with every weight 1 the scores are the same numbers, and with whole-number
weights they are those that pycocotools computes for a data set in which the images are repeated that often.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as rle
from scipy import sparse  # pyright: ignore[reportMissingTypeStubs] -- it ships none

from visionkit import npboxes
from visionkit.metrics.coco_ap import CAPS, IOU_THRESHOLDS, KEYPOINT_CAP, Pairs, Rles
from visionkit.metrics.keypoint_similarity import has_keypoints, similarity
from visionkit.metrics.weighted import Scores, mean_of_classes
from visionkit.types import Detections, Objects, objects_of

RECALLS = np.linspace(0, 1, 101)  # COCO's, with their rounding
_ABOVE = np.append(RECALLS, np.inf)
CELLS = 4_000_000  # numbers in one array of running sums: 32 MB


@dataclass(frozen=True, eq=False)
class Matches:
    """Which detections of a data set hit an object, at COCO's ten IoU thresholds.

    Args:
        images: N.
        objects: float64 `[N, K]`, the objects of each class that count.
        image, label: int `[D]`, of each detection.
        score: float64 `[D]`.
        hit: bool `[D, T]`.
        ignored: bool `[D, T]`, True for a detection of an ignored object, which is neither a hit nor a mistake.
        prefix: in front of the scores' names: "mask_" for masks, "keypoint_" for keypoints.
        cap: how many detections of a class were considered in an image.
    """

    images: int
    objects: np.ndarray
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    prefix: str = ""
    cap: int = CAPS[-1]

    def scores(self, weights: np.ndarray) -> Scores:
        """`mAP`, `mAP50`, `mAP75` and `mAR100` (for a cap of 100), of each class the first two; see `prefix`."""
        num_classes = self.objects.shape[1]
        ap = np.full((len(weights), num_classes, len(IOU_THRESHOLDS)), np.nan)  # [R, K, T]
        recall = ap.copy()
        objects = weights @ self.objects  # [R, K]
        by_image = np.ascontiguousarray(weights.T)  # [N, R]
        order = np.lexsort((-self.score, self.label))  # by class, then by score; stable, as COCO's ranking is
        ends = np.cumsum(np.bincount(self.label + 1, minlength=num_classes + 1))  # [K + 1] where each class begins
        for k in np.flatnonzero(self.objects.any(axis=0)).tolist():
            rows = order[ends[k] : ends[k + 1]]
            # As many data sets at a time as leave the arrays small.
            step = max(1, CELLS // max(1, int(self.hit[rows].any(axis=1).sum())))
            for start in range(0, len(weights), step):
                some = slice(start, start + step)
                ap[some, k], recall[some, k] = self._of_class(rows, by_image[:, some], objects[some, k])
        defined = np.moveaxis(ap, 2, 0)  # [T, R, K]
        by_threshold = [mean_of_classes(values) for values in defined]  # T of [R]
        overall = {
            "mAP": np.mean(by_threshold, axis=0),
            "mAP50": by_threshold[0],
            "mAP75": by_threshold[5],
            f"mAR{self.cap}": mean_of_classes(recall.mean(axis=2)),
        }
        per_class = {"mAP": ap.mean(axis=2), "mAP50": ap[:, :, 0]}
        if self.prefix:
            overall = {self.prefix + name: values for name, values in overall.items()}
            per_class = {self.prefix + name: values for name, values in per_class.items()}
        return Scores(overall, per_class)

    @property
    def occurs(self) -> np.ndarray:
        """See `Table`."""
        return self.objects > 0

    def best_thresholds(self) -> np.ndarray:
        """The score of each class at which F1 is greatest at an IoU of 0.5: float64 `[K]`, infinite without a hit."""
        thresholds = np.full(self.objects.shape[1], np.inf)
        for k, objects in enumerate(self.objects.sum(axis=0)):
            rows = np.flatnonzero((self.label == k) & ~self.ignored[:, 0])
            rows = rows[np.argsort(-self.score[rows], kind="stable")]
            hits = np.cumsum(self.hit[rows, 0])
            f1 = 2 * hits / (np.arange(1, len(rows) + 1) + objects)
            if f1.any():
                thresholds[k] = self.score[rows[f1.argmax()]]
        return thresholds

    def errors(self) -> np.ndarray:
        """Missed objects and wrong detections of each image, at an IoU of 0.5 and each class's best threshold."""
        errors = self.objects.sum(axis=1)
        said = (self.score >= self.best_thresholds()[self.label]) & ~self.ignored[:, 0]
        np.add.at(errors, self.image[said], np.where(self.hit[said, 0], -1.0, 1.0))
        return errors

    def beside(self, other: "Matches") -> "Matches":
        """See `Table`. The rankings are merged by place: scores of two models need not mean the same.

        Each place is taken twice. The earlier image comes first, whichever model looked at it: if one of the models
        always did, exchanging their answers would favour it.
        """
        places = np.concatenate([_places(self), _places(other)])
        ranks = np.empty(len(places))
        ranks[np.lexsort((np.concatenate([self.image, other.image]), places))] = np.arange(len(places))
        return Matches(
            self.images + other.images,
            np.concatenate([self.objects, other.objects]),
            np.concatenate([self.image, other.image + self.images]),
            np.concatenate([self.label, other.label]),
            -ranks,
            np.concatenate([self.hit, other.hit]),
            np.concatenate([self.ignored, other.ignored]),
            self.prefix,
            self.cap,
        )

    def _of_class(self, rows: np.ndarray, by_image: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average precision and recall `[R, T]` of a class.

        Args:
            rows: int, its detections by descending score.
            by_image: float64 `[N, R]`, the weights.
            objects: float64 `[R]`, the weight of its objects.
        """
        r, t = len(objects), len(IOU_THRESHOLDS)
        ap, recall = np.zeros((r, t)), np.zeros((r, t))
        ap[objects == 0], recall[objects == 0] = np.nan, np.nan
        hit, ignored, image = self.hit[rows], self.ignored[rows], self.image[rows]
        steps = np.flatnonzero(hit.any(axis=1))  # precision matters only where recall rises
        counted = _before(steps, image, np.ones(len(rows)), by_image)  # [steps, R] detections up to and with each step
        denominator = np.maximum(objects, 1e-300)
        for i in range(t):
            at = np.flatnonzero(hit[steps, i])
            if not len(at):
                continue
            hits = _running(by_image[image[steps[at]]])
            total = counted[at]
            if ignored[:, i].any():
                total = total - _before(steps, image, ignored[:, i].astype(float), by_image)[at]
            reached = hits / denominator
            defined = objects > 0
            ap[defined, i] = _area(hits, total, reached)[defined]
            recall[defined, i] = reached[-1][defined]
        return ap, recall


def _places(matches: Matches) -> np.ndarray:
    """The place of each detection in the ranking of its class, from 0: float64 `[D]`."""
    order = np.lexsort((-matches.score, matches.label))
    starts = np.searchsorted(matches.label[order], matches.label[order])
    places = np.empty(len(order))
    places[order] = np.arange(len(order)) - starts
    return places


def _before(steps: np.ndarray, image: np.ndarray, counts: np.ndarray, by_image: np.ndarray) -> np.ndarray:
    """The weight of the detections up to each step: float64 `[steps, R]`.

    Args:
        steps: int, ascending indices of detections.
        image: int `[D]`, of each detection.
        counts: float64 `[D]`, 1 for detections that are summed and 0 for others.
        by_image: float64 `[N, R]`, the weights.
    """
    cell = np.searchsorted(steps, np.arange(len(image)))
    inside = (cell < len(steps)) & (counts > 0)
    # The bulk of the detections are mistakes: a sparse product sums them without an array of [D, R].
    sums: Any = sparse.csr_array((counts[inside], (cell[inside], image[inside])), shape=(len(steps), len(by_image)))
    return _running(np.asarray(sums @ by_image))


def _running(values: np.ndarray) -> np.ndarray:
    """Cumulative sums down the columns, in place; row by row, which is several times faster than np.cumsum here."""
    for above, row in itertools.pairwise(values):
        row += above
    return values


def _area(hits: np.ndarray, total: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """COCO's average precision: the mean, over 101 recalls, of the best precision at that recall or a higher one.

    Args:
        hits, total, reached: float64 `[steps, R]`: hits and detections up to each step, and the recall there.
    """
    precision = hits / np.maximum(total, 1e-300)
    for below, row in itertools.pairwise(precision[::-1]):
        np.maximum(row, below, out=row)
    # How many of the 101 recalls are reached: the rounding of a product decides nothing, as the next is looked up.
    last = np.floor(reached * 100 - 1e-6)
    count = last + 1 + (_ABOVE[(last + 1).astype(np.intp)] <= reached)
    count[1:] -= count[:-1].copy()
    return np.einsum("ur,ur->r", count, precision) / len(RECALLS)


def match_all(
    pairs: Pairs,
    num_classes: int,
    rles: Sequence[tuple[Rles | None, Rles | None]] | None = None,
    of_keypoints: bool = False,
) -> Matches:
    """Matches the detections of each image with its objects.

    Args:
        pairs: the samples and detections.
        num_classes: K.
        rles: for each pair the encoded masks of its objects and of its detections; the masks are then compared.
        of_keypoints: compare the keypoints; objects without any are then ignored.
    """
    cap, prefix = (KEYPOINT_CAP, "keypoint_") if of_keypoints else (CAPS[-1], "" if rles is None else "mask_")
    objects = np.zeros((len(pairs), num_classes))
    parts: list[tuple[np.ndarray, ...]] = []
    for i, (sample, detections) in enumerate(pairs):
        annotated = objects_of(sample)
        crowd = annotated.ignore
        if of_keypoints:
            annotated = annotated._replace(ignore=crowd | ~has_keypoints(sample))
        objects[i] = np.bincount(annotated.labels[~annotated.ignore], minlength=num_classes)
        rows = _kept(detections, cap)
        picked = replace(detections, masks=None)[rows]
        if of_keypoints:
            overlap = similarity(sample, picked)
        else:
            overlap = _overlap(annotated, picked, None if rles is None else rles[i], rows)
        hit, ignored = _match(overlap, picked.labels, annotated, crowd)
        parts.append((np.full(len(rows), i), picked.labels, picked.scores.astype(float), hit, ignored))
    t = len(IOU_THRESHOLDS)
    none = (np.empty(0, int), np.empty(0, int), np.empty(0), np.empty((0, t), bool), np.empty((0, t), bool))
    image, label, score, hit, ignored = (np.concatenate(column) for column in zip(none, *parts, strict=True))
    return Matches(len(pairs), objects, image, label, score, hit, ignored, prefix, cap)


def _kept(detections: Detections, cap: int) -> np.ndarray:
    """The best `cap` of each class, by descending score."""
    order = np.argsort(-detections.scores, kind="stable")
    if len(order) <= cap:
        return order
    kept = np.zeros(len(order), bool)
    for label in np.unique(detections.labels):
        kept[np.flatnonzero(detections.labels[order] == label)[:cap]] = True
    return order[kept]


def _overlap(
    annotated: Objects, detections: Detections, codes: tuple[Rles | None, Rles | None] | None, rows: np.ndarray
) -> np.ndarray:
    """IoU `[detections, objects]`; with an ignored object, the share of the detection that it covers."""
    if not len(detections) or not len(annotated.boxes):
        return np.zeros((len(detections), len(annotated.boxes)))
    crowd = annotated.ignore.astype(np.uint8).tolist()
    compare: Any = rle.iou
    if codes is None:
        sides = (npboxes.to_xywh(boxes).astype(float) for boxes in (detections.boxes, annotated.boxes))
        return np.asarray(compare(*sides, crowd))
    object_codes, detection_codes = codes[0] or [], codes[1] or []
    return np.asarray(compare([detection_codes[row] for row in rows.tolist()], object_codes, crowd))


def _match(
    overlap: np.ndarray, labels: np.ndarray, annotated: Objects, crowd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections hit an object, and which an ignored one: two bool `[detections, T]`.

    Args:
        overlap: `[detections, objects]`; the detections by descending score.
        labels: int `[detections]`.
        annotated: the objects.
        crowd: bool `[objects]`, which of the ignored ones take any number of detections; the others take one.
    """
    thresholds = np.asarray(IOU_THRESHOLDS)
    hit = np.zeros((len(labels), len(thresholds)), bool)
    ignored = hit.copy()
    near = np.where(labels[:, None] == annotated.labels, overlap, -1)
    counted = np.where(annotated.ignore, -1, near)
    covered = np.where(annotated.ignore, near, -1)
    free = np.ones((len(thresholds), len(annotated.labels)), bool)
    for i in np.flatnonzero(near.max(axis=1, initial=-1) >= thresholds[0]).tolist():
        candidates = np.where(free & (counted[i] >= thresholds[:, None]), counted[i], -1)[:, ::-1]  # [T, objects]
        best = candidates.argmax(axis=1)  # of equal ones the last, as COCO does
        hit[i] = candidates[np.arange(len(thresholds)), best] >= 0
        free[hit[i], free.shape[1] - 1 - best[hit[i]]] = False
        candidates = np.where((free | crowd) & (covered[i] >= thresholds[:, None]), covered[i], -1)[:, ::-1]
        best = candidates.argmax(axis=1)
        ignored[i] = ~hit[i] & (candidates[np.arange(len(thresholds)), best] >= 0)
        free[ignored[i], free.shape[1] - 1 - best[ignored[i]]] = False
    return hit, ignored

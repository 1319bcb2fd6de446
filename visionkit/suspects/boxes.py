"""Suspicious boxes: annotations and detections that contradict each other where the model is usually right.

A detector's scores mean something else in each model and each class. They are therefore replaced by ranks: the weight
of a detection is the share of the confirmed detections of its class that score no higher. So a weight of 0.5 is the
typical score of an object that is annotated as well, and that of most false alarms is near 0. Where a model contradicts
more labels than are likely to be wrong, its contradictions count for less. Comparing a model with its own usual
confidence is the idea of confident learning (Northcutt et al., arXiv 1911.00068), and the kinds of errors are those of
ObjectLab (Tkachenko et al., arXiv 2309.00832); the scores are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visionkit import npboxes
from visionkit.metrics.coco_ap import Pairs
from visionkit.metrics.curves import IOU, WRONG, match
from visionkit.suspects.suspect import CLASS, INVENTED, MISSING, PLACE, Suspect, ranked
from visionkit.types import Detections, Objects, Sample, objects_of

TOUCHES = 0.1  # an IoU from which a box may be meant for an object that it misses
AMISS = 0.1  # the share of a class's labels that may well be wrong; if more are contradicted, it is the model's fault
SURE = 0.1  # a weight from which a detection explains what is there instead of an object
LEAST = 0.2  # suspicions with a lower score are not reported


@dataclass(frozen=True)
class Usual:
    """How the model usually does, where annotations and detections agree.

    Args:
        scores: for each class, float `[n]` ascending: the scores of its confirmed detections.
        overlap: float `[K]`, the median IoU of confirmed detections with their objects.
        objects: float `[K]`, how many are annotated.
        alarms: for each class, float `[n]` ascending: the scores of the detections where nothing is annotated.
    """

    scores: Sequence[np.ndarray]
    overlap: np.ndarray
    objects: np.ndarray
    alarms: Sequence[np.ndarray]

    def weights(self, detections: Detections) -> np.ndarray:
        """The weight of each detection, float64 `[N]` in 0..1; 0 in classes of which nothing was confirmed."""
        weights = np.zeros(len(detections))
        for k in np.unique(detections.labels):
            of_class = detections.labels == k
            known = self.scores[k]
            weights[of_class] = np.searchsorted(known, detections.scores[of_class], "right") / max(len(known), 1)
        return weights

    def trust_in_alarm(self, label: int, score: float) -> float:
        """How far to trust a detection where nothing is annotated: 1 unless there are many as sure as this one."""
        as_sure = len(self.alarms[label]) - np.searchsorted(self.alarms[label], score, "left")
        return min(1.0, max(1.0, AMISS * self.objects[label]) / max(as_sure, 1e-9))

    def trust_in_misses(self) -> np.ndarray:
        """How far to trust that there is nothing where nothing is detected: float64 `[K]`."""
        confirmed = np.array([len(scores) for scores in self.scores])
        missed = np.maximum(self.objects - confirmed, 1e-9)
        return np.where(confirmed > 0, np.minimum(1, np.maximum(1, AMISS * self.objects) / missed), 0)


def suspicious_boxes(pairs: Pairs, num_classes: int) -> list[Suspect]:
    """Returns the suspicious annotations of a data set, the most suspicious first.

    Args:
        pairs: each sample with the detections of a model that has not learned from it, down to low scores; both in the
            same class ids.
        num_classes: K.
    """
    plain = [(sample, replace(detections, masks=None)) for sample, detections in pairs]
    matches = [match(sample, detections) for sample, detections in plain]
    usual = _usual(plain, matches, num_classes)
    found: list[Suspect] = []
    for image, ((sample, detections), matched) in enumerate(zip(plain, matches, strict=True)):
        found += _Scene(image, sample, detections, matched, usual).suspects()
    return ranked([suspect for suspect in found if suspect.score >= LEAST])


def _usual(pairs: Pairs, matches: Sequence[np.ndarray], num_classes: int) -> Usual:
    scores: list[list[float]] = [[] for _ in range(num_classes)]
    overlaps: list[list[float]] = [[] for _ in range(num_classes)]
    alarms: list[list[float]] = [[] for _ in range(num_classes)]
    objects = np.zeros(num_classes)
    for (sample, detections), matched in zip(pairs, matches, strict=True):
        boxes, labels, ignore = objects_of(sample)
        objects += np.bincount(labels[~ignore], minlength=num_classes)
        overlap = npboxes.iou(detections.boxes, boxes)
        for i in np.flatnonzero(matched >= 0).tolist():
            scores[detections.labels[i]].append(float(detections.scores[i]))
            overlaps[detections.labels[i]].append(float(overlap[i, matched[i]]))
        for i in np.flatnonzero((matched == WRONG) & (overlap.max(axis=1, initial=0) < IOU)).tolist():
            alarms[detections.labels[i]].append(float(detections.scores[i]))
    return Usual(
        [np.sort(values) for values in scores],
        np.array([np.median(values) if values else 1.0 for values in overlaps]),
        objects,
        [np.sort(values) for values in alarms],
    )


class _Scene:
    """One image, whose contradictions are explained one after the other, the strongest first.

    Args:
        image: its number.
        sample, detections: of it.
        matched: of the detections, by `match`.
        usual: see `Usual`.
    """

    def __init__(self, image: int, sample: Sample, detections: Detections, matched: np.ndarray, usual: Usual):
        self.image, self.usual, self.detections, self.matched = image, usual, detections, matched
        self.objects: Objects = objects_of(sample)
        self.weights = usual.weights(detections)
        self.overlap = npboxes.iou(detections.boxes, self.objects.boxes)  # [detections, objects]
        self.support = np.zeros(len(self.objects.boxes))  # the weight of the detection that confirms each object
        confirmed = np.flatnonzero(matched >= 0)
        self.support[matched[confirmed]] = self.weights[confirmed]
        seen = (self.weights[:, None] * self.overlap).max(axis=0, initial=0)  # [objects]
        self.absent = usual.trust_in_misses()[self.objects.labels] * (1 - seen)  # how surely there is no such object
        self.open_objects = ~self.objects.ignore
        self.open_detections = matched == WRONG

    def suspects(self) -> list[Suspect]:
        return [*self._contradicted(), *self._shifted(), *self._missing(), *self._invented()]

    def _contradicted(self) -> list[Suspect]:
        """Objects where an open detection says another class, or the same class with other borders."""
        labels = self.objects.labels
        claims: list[tuple[float, int, int, str]] = []
        rows, columns = np.nonzero(self.overlap >= TOUCHES)
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if not self.open_detections[i] or not self.open_objects[j] or self.weights[i] < SURE:
                continue
            if self.detections.labels[i] != labels[j]:
                if self.overlap[i, j] >= IOU:
                    claims.append((self._against(i, j), i, j, CLASS))
            elif not self.support[j]:
                claims.append((self._against(i, j), i, j, PLACE))
        found = []
        for score, i, j, kind in sorted(claims, reverse=True):
            if score >= LEAST and self.open_detections[i] and self.open_objects[j]:
                self.open_detections[i] = self.open_objects[j] = False
                found.append(self._suspect(kind, score, i, j))
        return found

    def _against(self, i: int, j: int) -> float:
        """How much speaks against object j, if it is what detection i found."""
        if self.support[j]:
            return self.weights[i] - self.support[j]
        # Two things do: the detection has no other object, and the object no other detection. Either may be a mistake
        # of the model's, and both together seldom are.
        return 1 - (1 - self.weights[i]) * (1 - self.absent[j])

    def _shifted(self) -> list[Suspect]:
        """Objects that are confirmed, but with a smaller overlap than is usual."""
        found = []
        for i in np.flatnonzero(self.matched >= 0).tolist():
            j = self.matched[i]
            usual = self.usual.overlap[self.detections.labels[i]]
            score = self.weights[i] * (usual - self.overlap[i, j]) / usual
            if score >= LEAST and self.open_objects[j]:
                found.append(self._suspect(PLACE, score, i, j))
        return found

    def _missing(self) -> list[Suspect]:
        """Detections where nothing is annotated."""
        near = self.overlap.max(axis=1, initial=0)
        found: list[Suspect] = []
        taken: list[int] = []
        for i in np.argsort(-self.weights, kind="stable").tolist():
            if not self.open_detections[i] or near[i] >= IOU:
                continue
            box = self.detections.boxes[[i]]
            if npboxes.iou(box, self.detections.boxes[taken]).max(initial=0) < IOU:
                taken.append(i)
                trust = self.usual.trust_in_alarm(int(self.detections.labels[i]), float(self.detections.scores[i]))
                found.append(self._suspect(MISSING, trust * float(self.weights[i] * (1 - near[i])), i, None))
        return found

    def _invented(self) -> list[Suspect]:
        """Objects that no detection confirms, where the model usually finds objects of that class."""
        found = []
        for j in np.flatnonzero(self.open_objects & (self.support == 0)).tolist():
            found.append(self._suspect(INVENTED, self.absent[j], None, j))
        return found

    def _suspect(self, kind: str, score: float, i: int | None, j: int | None) -> Suspect:
        there = {} if j is None else {"row": j, "box": self.objects.boxes[j], "label": int(self.objects.labels[j])}
        said = {}
        if i is not None:
            said = {"proposed_box": self.detections.boxes[i], "proposed_label": int(self.detections.labels[i])}
            said["confidence"] = float(self.detections.scores[i])
        return Suspect(image=self.image, kind=kind, score=float(min(max(score, 0), 1)), **there, **said)

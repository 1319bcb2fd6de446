"""Where a detector's threshold should lie and what it gets wrong: curves, confusion matrix and single errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.metrics.classification import save_figure
from visionkit.types import Detections, Sample

Pairs = Sequence[tuple[Sample, Detections]]  # what is in each image and what was found in it
WRONG, NOT_COUNTED = -1, -2  # in place of an object's row: it hits nothing, or something that is ignored
IOU = 0.5


@dataclass(frozen=True, eq=False)
class Curve:
    """What one class reaches when detections below a score are left out, for every score that occurs.

    Args:
        scores: float32 `[N]`, falling, each once.
        precision: float64 `[N]`, the share of detections of this score or more that hit.
        recall: float64 `[N]`, the share of the objects that these find; 0 where the class has no object.
        objects: how many there are.
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
    def best(self) -> dict:
        """The score with the greatest F1 and what it gives: `{"threshold", "F1", "precision", "recall"}`.

        Without a hit the threshold is 1 and the others are 0.
        """
        if not self.f1.any():
            return {"threshold": 1.0, "F1": 0.0, "precision": 0.0, "recall": 0.0}
        at = int(self.f1.argmax())
        values = {"threshold": self.scores, "F1": self.f1, "precision": self.precision, "recall": self.recall}
        return {key: float(value[at]) for key, value in values.items()}


@dataclass(frozen=True, eq=False)
class Error:
    """One mistake.

    Args:
        image: its place in the pairs.
        box: float32 `[4]`, of the detection or of the object.
        label: the class of the detection or of the object.
        score: of the detection; None for an object that was missed.
    """

    image: int
    box: np.ndarray
    label: int
    score: float | None


def match(sample: Sample, found: Detections, iou_threshold: float = IOU) -> np.ndarray:
    """Which object each detection finds, class by class as COCO does.

    Best score first, a detection takes the free object of its class that it overlaps most, at least by the threshold;
    else it may lie in an ignored one, by that share of its own area.

    Returns:
        int `[N]`: the object's row, or WRONG, or NOT_COUNTED.
    """
    result = np.full(len(found.boxes), WRONG)
    if not len(found.boxes) or not len(sample.boxes):
        return result
    ignore = np.zeros(len(sample.boxes), bool) if sample.ignore is None else sample.ignore
    overlap = npboxes.iou(found.boxes, sample.boxes)  # [detections, objects]
    own = np.maximum(npboxes.area(found.boxes), 1e-9)[:, None]
    both = own + npboxes.area(sample.boxes)  # IoU is shared / (both - shared), and so shared = both * IoU / (1 + IoU)
    inside = both * overlap / (1 + overlap) / own
    same = found.labels[:, None] == sample.labels
    free = same & ~ignore & (overlap >= iou_threshold)
    excused = (same & ignore & (inside >= iou_threshold)).any(axis=1)
    for i in np.argsort(-found.scores, kind="stable"):
        if free[i].any():
            result[i] = np.where(free[i], overlap[i], -1).argmax()
            free[:, result[i]] = False
        elif excused[i]:
            result[i] = NOT_COUNTED
    return result


def curves(pairs: Pairs, num_classes: int, iou_threshold: float = IOU) -> list[Curve]:
    """The curve of every class; detections that lie in ignored regions do not count."""
    objects = np.zeros(num_classes, int)
    labels, scores, hits = [], [], []
    for sample, found in pairs:
        real = slice(None) if sample.ignore is None else ~sample.ignore
        objects += np.bincount(sample.labels[real], minlength=num_classes)
        matched = match(sample, found, iou_threshold)
        counts = matched != NOT_COUNTED
        labels.append(found.labels[counts])
        scores.append(found.scores[counts])
        hits.append(matched[counts] >= 0)
    labels, scores, hits = (np.concatenate(x) if x else np.empty(0) for x in (labels, scores, hits))
    return [_curve(scores[labels == k], hits[labels == k], int(objects[k])) for k in range(num_classes)]


def confusion(pairs: Pairs, num_classes: int, thresholds: Sequence[float], iou_threshold: float = IOU) -> np.ndarray:
    """Which class was found where which stood.

    Hits come first; then what is left of the detections, best score first, is put with what is left of the objects,
    whatever the class.

    Args:
        thresholds: for each class the score under which detections are left out.

    Returns:
        int `[K + 1, K + 1]`: rows are the truth and columns what was found, the last ones background: the last row
        counts inventions, the last column misses. Nothing is background in both.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for sample, found in pairs:
        found = _above(found, thresholds)
        matched = match(sample, found, iou_threshold)
        left = np.ones(len(sample.boxes), bool) if sample.ignore is None else ~sample.ignore
        left[matched[matched >= 0]] = False
        overlap = npboxes.iou(found.boxes, sample.boxes)  # [detections, objects]
        for i in np.argsort(-found.scores, kind="stable"):
            truth = num_classes
            if matched[i] == NOT_COUNTED:
                continue
            if matched[i] >= 0:
                truth = sample.labels[matched[i]]
            elif (near := np.where(left, overlap[i], -1)).max(initial=-1) >= iou_threshold:
                truth = sample.labels[near.argmax()]
                left[near.argmax()] = False
            matrix[truth, found.labels[i]] += 1
        np.add.at(matrix, (sample.labels[left], num_classes), 1)
    return matrix


def worst(
    pairs: Pairs, thresholds: Sequence[float], iou_threshold: float = IOU, limit: int = 20
) -> tuple[list[Error], list[Error]]:
    """The detections of greatest score that hit nothing, and the largest objects that were missed.

    Args:
        thresholds: see `confusion`.
        limit: of each at most so many.
    """
    false, missed = [], []
    for image, (sample, found) in enumerate(pairs):
        found = _above(found, thresholds)
        matched = match(sample, found, iou_threshold)
        wrong = np.flatnonzero(matched == WRONG)
        false += [Error(image, found.boxes[i], int(found.labels[i]), float(found.scores[i])) for i in wrong]
        left = np.ones(len(sample.boxes), bool) if sample.ignore is None else ~sample.ignore
        left[matched[matched >= 0]] = False
        missed += [Error(image, sample.boxes[i], int(sample.labels[i]), None) for i in np.flatnonzero(left)]
    false.sort(key=lambda error: -error.score)
    missed.sort(key=lambda error: -npboxes.area(error.box))
    return false[:limit], missed[:limit]


def curves_pictures(found: Sequence[Curve], class_names: Sequence[str], pr_file: Path, f1_file: Path) -> None:
    """Draws precision over recall, and F1 over the threshold with its best point, one line a class with objects."""
    from matplotlib.figure import Figure  # see `confusion_picture`

    pr, f1 = (Figure(figsize=(7, 5), dpi=110, layout="constrained") for _ in range(2))
    pr_axes, f1_axes = pr.subplots(), f1.subplots()
    for curve, name in zip(found, class_names, strict=True):
        if not curve.objects:
            continue
        # The axes begin where nothing is said yet: recall 0, at the precision of the first detection.
        recall, precision = (np.append(x[:1], x) for x in (curve.recall, curve.precision))
        recall[:1] = 0
        (line,) = pr_axes.step(recall, precision, where="pre", label=name)
        f1_axes.plot(curve.scores, curve.f1, color=line.get_color(), label=f"{name}: {curve.best['threshold']:.2f}")
        f1_axes.plot(curve.best["threshold"], curve.best["F1"], "o", color=line.get_color(), markersize=5)
    pr_axes.set(xlabel="recall", ylabel="precision", title=f"precision and recall at IoU {IOU:g}")
    f1_axes.set(xlabel="threshold of the score", ylabel="F1", title=f"F1 at IoU {IOU:g}; the best threshold is named")
    for figure, axes, file in ((pr, pr_axes, pr_file), (f1, f1_axes, f1_file)):
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines and len(found) <= 20:  # more could not be told apart
            axes.legend(fontsize=8)
        save_figure(figure, file)


def _curve(scores, hits, objects) -> Curve:
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # of those with one score
    found, said = np.cumsum(hits)[last], np.flatnonzero(last) + 1
    return Curve(scores[last].astype(np.float32), found / said, found / max(objects, 1), objects)


def _above(found: Detections, thresholds) -> Detections:
    keep = found.scores >= np.asarray(thresholds, np.float32)[found.labels]
    rows = {key: getattr(found, key)[keep] for key in ("boxes", "scores", "labels")}
    return Detections(id=found.id, image_size=found.image_size, **rows)

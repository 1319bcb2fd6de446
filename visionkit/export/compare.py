"""What a model and its export say of the same image, measured against each other; one function for each kind."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visionkit import npboxes
from visionkit.types import Classification, Detections, SegmentationMap

SCORE = 0.3  # detections from here on must agree


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What may differ between a model and its export.

    Args:
        iou: a detection's partner overlaps by more.
        mask_iou: and its mask does.
        score: and its score differs by no more.
        probability: a classifier's probabilities differ by no more.
        pixels: at least this share of a class map's pixels is equal.
        agreeing: at least this share of the detections, or of the images of other tasks, keeps the above.
        metric: the metric on labelled data falls by no more.
    """

    iou: float = 0.98
    mask_iou: float = 0.9
    score: float = 0.02
    probability: float = 1e-3
    pixels: float = 0.999
    agreeing: float = 1.0
    metric: float = 0.002


# By the numbers that an export computes with. Eight bits, and less so bfloat16's 8 binary digits, change every score a
# little: there the metric decides.
TOLERANCES = {
    "float32": Tolerance(),
    "float16": Tolerance(probability=0.01, pixels=0.995, agreeing=0.98),
    "bfloat16": Tolerance(iou=0.9, mask_iou=0.8, score=0.1, probability=0.05, pixels=0.98, agreeing=0.95, metric=0.005),
    "int8": Tolerance(iou=0.7, mask_iou=0.6, score=0.25, probability=0.25, pixels=0.95, agreeing=0.75, metric=0.02),
}


def compare_detections(one: Detections, other: Detections, tolerance: Tolerance, room: int):
    """Every detection of at least `SCORE`, on either side, needs a partner on the other.

    Only where the other list is full (`room`) may one be missing whose score is about that of the list's last entry:
    it was cut off there.

    Returns:
        (measures: {"iou", "score_difference", "box_difference" in pixels and "mask_iou" where there are masks}, each a
        list with one number a pair; problems: one sentence for each detection without a partner).
    """
    measures, problems = {"iou": [], "box_difference": [], "score_difference": [], "mask_iou": []}, []
    masked = one.masks is not None and other.masks is not None
    for side, a, b in (("the model", one, other), ("the export", other, one)):
        low = b.scores.min() + tolerance.score if len(b.scores) >= room else 0.0
        for i in np.flatnonzero(a.scores >= SCORE):
            iou = npboxes.iou(a.boxes[i : i + 1], b.boxes)[0]
            score = np.abs(b.scores - a.scores[i])
            good = (b.labels == a.labels[i]) & (iou > tolerance.iou) & (score <= tolerance.score)
            partners = np.flatnonzero(good)
            masks = [_mask_iou(a.masks[i], b.masks[j]) if masked else 1.0 for j in partners]
            if not len(partners) or max(masks) < tolerance.mask_iou:
                if a.scores[i] > low:
                    box = [round(float(v), 1) for v in a.boxes[i]]
                    problems.append(f"only {side} finds class {a.labels[i]} at {box} with score {a.scores[i]:.3f}")
                continue
            best = partners[iou[partners].argmax()]
            measures["iou"].append(float(iou[best]))
            measures["score_difference"].append(float(score[best]))
            measures["box_difference"].append(float(np.abs(a.boxes[i] - b.boxes[best]).max()))
            if masked:
                measures["mask_iou"].append(max(masks))
    return measures, problems


def compare_classes(one: Classification, other: Classification, tolerance: Tolerance, room: int):
    """Probabilities within the tolerance and the same best class, unless the best two are that close together."""
    difference = float(np.abs(one.scores - other.scores).max())
    problems = []
    if not difference <= tolerance.probability:  # also where it is not a number
        problems.append(f"a probability differs by {difference:.4f}, more than {tolerance.probability}")
    best, found = int(one.scores.argmax()), int(other.scores.argmax())
    if one.scores[best] - one.scores[found] > 2 * tolerance.probability:
        problems.append(f"the best class is {best}, but {found} to the export")
    return {"probability_difference": [difference]}, problems


def compare_maps(one: SegmentationMap, other: SegmentationMap, tolerance: Tolerance, room: int):
    """The share of a class map's pixels that are equal."""
    share = float((one.segmentation == other.segmentation).mean())
    problems = [] if share >= tolerance.pixels else [f"{share:.4%} of the pixels agree, less than {tolerance.pixels}"]
    return {"equal_pixels": [share]}, problems


def compare_of(prediction) -> Callable:
    """The function above that compares predictions of this kind."""
    kinds = {"boxes": compare_detections, "scores": compare_classes, "segmentation": compare_maps}
    return next(function for name, function in kinds.items() if hasattr(prediction, name))


def _mask_iou(a, b) -> float:
    either = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / either) if either else 1.0

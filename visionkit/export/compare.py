"""Measures how the answers of a model and of its export differ for one image: a function for each kind of answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visionkit import npboxes
from visionkit.export.answers import Answer, Painting
from visionkit.types import Classification, Detections, SegmentationMap

SCORE = 0.3  # detections from here on must agree
Compared = tuple[dict[str, list[float]], list[str]]  # measures by name; and a sentence for each difference


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """What may differ between a model and its export.

    Args:
        iou: a detection and its partner overlap by more than this.
        mask_iou: their masks overlap by at least this.
        keypoint: nine in ten of their keypoints are no further apart than this, in shares of the box's diagonal.
        score: their scores differ by at most this.
        probability: a classifier's probabilities differ by at most this.
        pixels: at least this share of a class map's pixels is equal.
        levels: a painting differs by at most so many of 255 grey levels: float sums in another order, rounded.
        agreeing: at least this share of the detections, or of the images of other tasks, keeps the above.
        metric: the metric on labelled data falls by at most this.
    """

    iou: float = 0.98
    mask_iou: float = 0.9
    keypoint: float = 0.02
    score: float = 0.02
    probability: float = 1e-3
    pixels: float = 0.999
    levels: int = 2
    agreeing: float = 1.0
    metric: float = 0.002


# By the numbers that an export computes with. Eight bits change every score a little, and so do, less, the 8 binary
# digits of bfloat16: for these the metric decides.
TOLERANCES = {
    "float32": Tolerance(),
    "float16": Tolerance(probability=0.01, pixels=0.995, agreeing=0.98),
    "bfloat16": Tolerance(
        iou=0.9,
        mask_iou=0.8,
        keypoint=0.05,
        score=0.1,
        probability=0.05,
        pixels=0.98,
        agreeing=0.95,
        metric=0.005,
    ),
    "int8": Tolerance(
        iou=0.7,
        mask_iou=0.6,
        keypoint=0.1,
        score=0.25,
        probability=0.25,
        pixels=0.95,
        agreeing=0.75,
        metric=0.02,
    ),
}


def compare_detections(model: Detections, export: Detections, tolerance: Tolerance, room: int) -> Compared:
    """Looks for a partner of every detection of at least `SCORE`, from either side.

    A detection may lack a partner only where the other list is full (`room`) and the detection's score is about that of
    the list's last entry: then its partner was cut off.

    Returns:
        Measures "iou", "score_difference", "box_difference" in pixels and, where there are masks, "mask_iou", or where
        there are keypoints, "keypoint_difference", each a list of one number a pair; and one sentence for each
        detection without a partner.
    """
    names = ("iou", "box_difference", "score_difference", "mask_iou", "keypoint_difference")
    measures: dict[str, list[float]] = {name: [] for name in names}
    problems: list[str] = []
    for side, ours, theirs in (("the model", model, export), ("the export", export, model)):
        cut_off = theirs.scores.min() + tolerance.score if len(theirs.scores) >= room else 0.0
        for i in np.flatnonzero(ours.scores >= SCORE):
            measured = _measure_partner(ours, int(i), theirs, tolerance)
            if measured:
                for name, value in measured.items():
                    measures[name].append(value)
            elif ours.scores[i] > cut_off:
                box = [round(float(v), 1) for v in ours.boxes[i]]
                problems.append(f"only {side} finds class {ours.labels[i]} at {box} with score {ours.scores[i]:.3f}")
    return measures, problems


def _measure_partner(ours: Detections, i: int, theirs: Detections, tolerance: Tolerance) -> dict[str, float]:
    """How detection `i` and its partner differ; empty where it has none."""
    iou = npboxes.iou(ours.boxes[i : i + 1], theirs.boxes)[0]
    score = np.abs(theirs.scores - ours.scores[i])
    good = (theirs.labels == ours.labels[i]) & (iou > tolerance.iou) & (score <= tolerance.score)
    partners = np.flatnonzero(good)
    if not len(partners):
        return {}
    best = partners[iou[partners].argmax()]
    measured = {
        "iou": float(iou[best]),
        "score_difference": float(score[best]),
        "box_difference": float(np.abs(ours.boxes[i] - theirs.boxes[best]).max()),
    }
    if ours.masks is not None and theirs.masks is not None:
        measured["mask_iou"] = max(_mask_iou(ours.masks[i], theirs.masks[j]) for j in partners)
        if measured["mask_iou"] < tolerance.mask_iou:
            return {}
    if ours.keypoints is not None and theirs.keypoints is not None:
        x1, y1, x2, y2 = ours.boxes[i]
        apart = np.linalg.norm(ours.keypoints[i, :, :2] - theirs.keypoints[best, :, :2], axis=1)  # [P] pixels
        # Of two equally likely places rounding may choose either, so a keypoint may jump.
        measured["keypoint_difference"] = float(np.quantile(apart, 0.9) / max(np.hypot(x2 - x1, y2 - y1), 1.0))
        if measured["keypoint_difference"] > tolerance.keypoint:
            return {}
    return measured


def compare_classes(model: Classification, export: Classification, tolerance: Tolerance, room: int) -> Compared:
    """Probabilities within the tolerance and the same best class, unless the best two are that close together."""
    difference = float(np.abs(model.scores - export.scores).max())
    problems = []
    if not difference <= tolerance.probability:  # also where it is not a number
        problems.append(f"a probability differs by {difference:.4f}, more than {tolerance.probability}")
    best, other = int(model.scores.argmax()), int(export.scores.argmax())
    if model.scores[best] - model.scores[other] > 2 * tolerance.probability:
        problems.append(f"the best class is {best}, but {other} to the export")
    return {"probability_difference": [difference]}, problems


def compare_maps(model: SegmentationMap, export: SegmentationMap, tolerance: Tolerance, room: int) -> Compared:
    """The share of a class map's pixels that are equal."""
    share = float((model.segmentation == export.segmentation).mean())
    problems = [] if share >= tolerance.pixels else [f"{share:.4%} of the pixels agree, less than {tolerance.pixels}"]
    return {"equal_pixels": [share]}, problems


def compare_paintings(model: Painting, export: Painting, tolerance: Tolerance, room: int) -> Compared:
    """The largest difference of a pixel, in grey levels."""
    difference = int(np.abs(model.painting.astype(np.int16) - export.painting).max())
    problems = [f"a pixel differs by {difference} grey levels, more than {tolerance.levels}"]
    return {"level_difference": [difference]}, problems if difference > tolerance.levels else []


def compare_answers(model: Answer, export: Answer, tolerance: Tolerance, room: int) -> Compared:
    """Compares two answers of one kind by the function above for that kind.

    Args:
        model: the model's answer.
        export: the export's.
        tolerance: what may differ.
        room: the most detections that an image can have.
    """
    functions: dict[type, Callable[..., Compared]] = {
        Detections: compare_detections,
        Classification: compare_classes,
        SegmentationMap: compare_maps,
        Painting: compare_paintings,
    }
    return functions[type(model)](model, export, tolerance, room)


def _mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    either = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / either) if either else 1.0

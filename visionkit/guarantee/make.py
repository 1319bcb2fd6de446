"""Chooses the thresholds with which a promise about a detector can be kept, and measures their price."""

from collections.abc import Sequence

import numpy as np

from visionkit.guarantee.promise import Price, Promise, percent
from visionkit.metrics.coco_ap import Pairs
from visionkit.metrics.curves import WRONG, match
from visionkit.metrics.risk import (
    FalseAlarms,
    Found,
    alarm_threshold,
    box_margin,
    cap_of,
    counted_alarms,
    enlarge,
    find_false_alarms,
    found_objects,
    images_needed,
    least_promise,
    missed_share,
    score_threshold,
    split_images,
)
from visionkit.npboxes import area
from visionkit.types import DataError


def check_miss(miss: float) -> None:
    """Raises a DataError unless `miss` is a share that can be promised."""
    if not 0 < miss < 1:
        raise DataError(f"--miss: expected a share above 0 and below 1, found {miss:g}")


def check_false_alarms(false_alarms: float) -> None:
    """Raises a DataError unless it is a number of false detections that can be promised."""
    if not 0 < false_alarms < np.inf:
        raise DataError(f"--false-alarms: expected a number above 0, found {false_alarms:g}")


def check_images(images: int, false_alarms: float) -> None:
    """Raises a DataError if there are too few images to promise so many false detections, whatever the model."""
    cap = cap_of(false_alarms)
    if images < (needed := images_needed(false_alarms, cap)):
        raise DataError(
            f"{images} images are too few to promise {false_alarms:g} false detections an image, where one with more "
            f"than {cap:g} counts as one with {cap:g}: at least {needed} are needed"
        )


def make_promise(
    pairs: Pairs,
    class_names: Sequence[str],
    miss: float,
    per_class: bool = False,
    margin: bool = False,
    seed: int = 0,
) -> Promise:
    """Chooses the thresholds, and the margin, with which a promise can be kept.

    Args:
        pairs: the calibration images, which the model has not learned from, with detections down to a low score.
        class_names: names of the class ids 0..K-1.
        miss: see `Promise`; above 0, below 1.
        per_class: make a promise for each class.
        margin: also choose a margin. Half of the images, drawn at random, then decide about the thresholds and the
            other half about the margin, since a threshold that they had chosen would not be independent of them.
        seed: of the halves.

    Raises:
        DataError: too few images have objects, or the model misses too many at any threshold.
    """
    check_miss(miss)
    everything = found_objects(pairs)
    found, others = everything, None
    if margin:
        first, second = split_images(np.unique(everything.image), seed)
        found, others = (everything.part(np.isin(everything.image, half)) for half in (first, second))
    thresholds, unpromised = _thresholds(found, class_names, miss, per_class)
    width = None if others is None else _margin(others, thresholds, miss)
    return Promise(
        miss=miss,
        per_class=per_class,
        class_names=list(class_names),
        thresholds=thresholds.tolist(),
        unpromised=unpromised,
        margin=width,
        images=len(np.unique(found.image)),
        missed=float(missed_share(found, thresholds).mean()),
        price=_price(pairs, thresholds, width or 0.0),
    )


def make_alarm_promise(
    pairs: Pairs,
    class_names: Sequence[str],
    false_alarms: float,
    per_class: bool = False,
    lowest: float = 0.0,
) -> Promise:
    """Chooses the lowest thresholds with which no more than a number of false detections is to be expected.

    Args:
        pairs: the calibration images, with or without objects, which the model has not learned from.
        class_names: names of the class ids 0..K-1.
        false_alarms: see `Promise`; above 0.
        per_class: make a promise for each class.
        lowest: the score down to which `pairs` has detections: no threshold is lower.

    Raises:
        DataError: there are too few images, or no threshold below 1 will do.
    """
    check_false_alarms(false_alarms)
    check_images(len(pairs), false_alarms)
    alarms, found, cap = find_false_alarms(pairs), found_objects(pairs), cap_of(false_alarms)
    parts = [alarms.of_class(k) for k in range(len(class_names))] if per_class else [alarms]
    thresholds = np.full(len(class_names), [_alarm_threshold(part, false_alarms, lowest) for part in parts])
    return Promise(
        miss=None,
        false_alarms=false_alarms,
        cap=cap,
        per_class=per_class,
        class_names=list(class_names),
        thresholds=thresholds.tolist(),
        unpromised={},
        margin=None,
        images=alarms.images,
        missed=float(missed_share(found, thresholds).mean()) if len(found.image) else 0.0,
        alarms=float(counted_alarms(alarms, thresholds, cap).mean()),
        price=_price(pairs, thresholds, 0.0),
    )


def _alarm_threshold(alarms: FalseAlarms, false_alarms: float, lowest: float) -> float:
    score = alarm_threshold(alarms, false_alarms)
    assert score is not None  # there are enough images
    if score > 1:
        raise DataError(f"too many false detections have a score of 1 to promise {false_alarms:g} an image")
    return max(score, lowest)


def _thresholds(
    found: Found, class_names: Sequence[str], miss: float, per_class: bool
) -> tuple[np.ndarray, dict[str, str]]:
    """The threshold of each class, and the reasons of classes that have none."""
    unpromised: dict[str, str] = {}
    if not per_class:
        reason = _why_not(found, miss)
        if reason:
            raise DataError(reason)
        score = score_threshold(found, miss)
        assert score is not None
        absent = [name for k, name in enumerate(class_names) if not (found.label == k).any()]
        return np.full(len(class_names), score), dict.fromkeys(absent, "no calibration image has one")
    thresholds = np.zeros(len(class_names))
    for k, name in enumerate(class_names):
        part = found.part(found.label == k)
        if reason := _why_not(part, miss):
            unpromised[name] = reason
        else:
            thresholds[k] = score_threshold(part, miss)
    if len(unpromised) == len(class_names):
        raise DataError(f"nothing can be promised for any class; of {class_names[0]}: {unpromised[class_names[0]]}")
    return thresholds, unpromised


def _why_not(found: Found, miss: float) -> str:
    """Why a share of missed objects cannot be promised; "" if it can."""
    images, needed = len(np.unique(found.image)), images_needed(miss)
    if images < needed:
        return f"{images} images with objects are too few to promise {percent(miss)}: at least {needed} are needed"
    if score_threshold(found, miss) is not None:
        return ""
    return (
        f"even at the lowest threshold the model misses too many objects to promise {percent(miss)}; the least that "
        f"these {images} images allow is {least_promise(found):.1%}"
    )


def _margin(found: Found, thresholds: np.ndarray, miss: float) -> float:
    seen = found.part(found.score >= np.asarray(thresholds, np.float32)[found.label])
    width = box_margin(seen, miss)
    if width is None:
        images = len(np.unique(seen.image))
        raise DataError(
            f"--margin: {images} images with found objects are too few to promise {percent(miss)}: at least "
            f"{images_needed(miss)} are needed, in one half of the data"
        )
    return width


def _price(pairs: Pairs, thresholds: np.ndarray, margin: float) -> Price:
    limits = np.asarray(thresholds, np.float32)
    detections, wrong, before, after = 0, 0, 0.0, 0.0
    for sample, said in pairs:
        kept = said[said.scores >= limits[said.labels]]
        detections += len(kept)
        wrong += int((match(sample, kept) == WRONG).sum())
        before += float(area(kept.boxes).sum())
        after += float(area(enlarge(kept.boxes, margin, said.image_size)).sum())
    images = len(pairs)
    return Price(detections=detections / images, wrong=wrong / images, growth=after / before if before else 1.0)

"""What `visionkit guarantee` computes and stores in a run, and what `visionkit detect --guarantee` reads there."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.files import sha256_of, write_json
from visionkit.metrics.coco_ap import Pairs
from visionkit.metrics.curves import WRONG, match
from visionkit.metrics.risk import (
    Found,
    box_margin,
    enlarge,
    found_objects,
    images_needed,
    least_promise,
    missed_share,
    score_threshold,
    split_images,
)
from visionkit.npboxes import area
from visionkit.types import DataError

FILE = "guarantee.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Price:
    """What keeping a promise costs, measured on the calibration images.

    Args:
        detections: in an image, on average.
        wrong: how many of these hit neither an object nor an ignored one.
        growth: the mean factor by which the margin enlarges a box's area.
    """

    detections: float
    wrong: float
    growth: float


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A promise about a detector; `print` shows it in words.

    Args:
        miss: the share of an image's objects that are missed, at most and in expectation; with `per_class` that of
            each class, over the images that have the class.
        per_class: whether each class has a promise of its own.
        class_names: names of the class ids 0..K-1.
        thresholds: the score from which detections of each class count, `[K]`.
        unpromised: classes without a promise -> the reason; with `per_class` they have the lowest threshold.
        margin: for `enlarge`, or None. If there is one, a share `miss` of an image's found objects, at most and in
            expectation, sticks out of the enlarged boxes.
        images: how many calibration images with objects decided about the thresholds.
        missed: the mean share that is missed in these.
        source: the calibration data.
        price: of the promise.
        model: fingerprint of the model's file; "" if it is of no run.
        looks: features of the calibration images, name -> one value for each; see `guarantee.shift`.
    """

    miss: float
    per_class: bool
    class_names: list[str]
    thresholds: list[float]
    unpromised: dict[str, str]
    margin: float | None
    images: int
    missed: float
    source: str
    price: Price
    model: str
    looks: dict[str, list[float]]

    def save(self, run: Path) -> Path:
        """Writes guarantee.json into the run folder and returns its path.

        Raises:
            ValueError: the promise was made for a model without a run.
        """
        if not self.model:
            raise ValueError(f"this promise is of no run: `visionkit guarantee {run} DATA` stores one")
        file = run / FILE
        write_json(file, {"version": VERSION} | asdict(self))
        return file

    def __str__(self) -> str:
        return "\n".join(in_words(self))

    @property
    def fingerprint(self) -> str:
        """Tells this promise from others: 16 hexadecimal digits."""
        values = [self.thresholds, self.margin, self.model]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def read_promise(run: Path) -> Promise:
    """Reads the promise that is stored in a run folder.

    Raises:
        DataError: there is none, or the model is no longer the one that it was made for.
    """
    file = run / FILE
    if not file.is_file():
        raise DataError(f"{run}: has no {FILE}; visionkit guarantee {run} DATA --miss 0.1 makes one")
    try:
        fields: dict[str, Any] = json.loads(file.read_text())
        version = fields.pop("version")
        fields["price"] = Price(**fields["price"])
        promise = Promise(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: expected what visionkit guarantee writes; make it again") from error
    if version != VERSION:
        raise DataError(f"{file}: expected version {VERSION}, found {version}; make it again")
    if promise.model != fingerprint_of(run):
        raise DataError(f"{file}: was made for another model than {run} holds now; make it again")
    return promise


def fingerprint_of(run: Path) -> str:
    """The SHA-256 of a run's model.keras.

    Raises:
        DataError: `run` is not a run folder with a model.
    """
    file = run / "model.keras"
    if not file.is_file():
        raise DataError(f"{run}: expected the folder of a finished run, in which a guarantee is stored")
    return sha256_of(file)


def check_miss(miss: float) -> None:
    """Raises a DataError unless `miss` is a share that can be promised."""
    if not 0 < miss < 1:
        raise DataError(f"--miss: expected a share above 0 and below 1, found {miss:g}")


def make_promise(
    pairs: Pairs,
    class_names: Sequence[str],
    miss: float,
    per_class: bool = False,
    margin: bool = False,
    source: str = "",
    model: str = "",
    looks: dict[str, list[float]] | None = None,
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
        source, model, looks: see `Promise`.
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
        source=source,
        price=_price(pairs, thresholds, width or 0.0),
        model=model,
        looks=looks or {},
    )


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
        return f"{images} images with objects are too few to promise {miss:.0%}: at least {needed} are needed"
    if score_threshold(found, miss) is not None:
        return ""
    return (
        f"even at the lowest threshold the model misses too many objects to promise {miss:.0%}; the least that "
        f"these {images} images allow is {least_promise(found):.1%}"
    )


def _margin(found: Found, thresholds: np.ndarray, miss: float) -> float:
    seen = found.part(found.score >= np.asarray(thresholds, np.float32)[found.label])
    width = box_margin(seen, miss)
    if width is None:
        images = len(np.unique(seen.image))
        raise DataError(
            f"--margin: {images} images with found objects are too few to promise {miss:.0%}: at least "
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


def in_words(promise: Promise) -> list[str]:
    """What is promised, at what price and on which assumption."""
    whom = "of an image's objects of a class" if promise.per_class else "of an image's objects"
    lines = [
        f"Promised: on average at most {promise.miss:.0%} {whom} are missed (an object is found by a detection of its "
        f"class with an IoU of 0.5). On the {promise.images} calibration images it is {promise.missed:.1%}."
    ]
    if promise.per_class:
        lines.append("Thresholds: " + ", ".join(_threshold_of_each(promise)) + ".")
    else:
        lines.append(f"Threshold: {promise.thresholds[0]:.3f}.")
    for name, reason in promise.unpromised.items():
        lines.append(f"No promise for {name}: {reason}.")
    if promise.margin is not None:
        lines.append(
            f"Margin: each side of a box moves out by {promise.margin:.1%} of its width or height; on average at most "
            f"{promise.miss:.0%} of an image's found objects then stick out."
        )
    price = f"Price: {promise.price.detections:.1f} detections an image, {promise.price.wrong:.1f} of them wrong"
    lines.append(price + (f"; boxes {promise.price.growth:.2f} times as large." if promise.margin else "."))
    lines.append(
        "It holds for new images that are taken like the calibration images, by the same model, and as an average over "
        "images and calibrations: a single image may have more missed objects."
    )
    return lines


def _threshold_of_each(promise: Promise) -> list[str]:
    return [f"{name} {value:.3f}" for name, value in zip(promise.class_names, promise.thresholds, strict=True)]

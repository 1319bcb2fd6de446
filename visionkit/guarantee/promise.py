"""What is promised about a detector, and in which words."""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from visionkit.files import write_json

FILE = "guarantee.json"
VERSION = 1
ASSUMED = (
    "It holds for new images that are taken like the calibration images, by the same model, and as an average over "
    "images and calibrations: a single image may have more "
)


@dataclass(frozen=True, kw_only=True)
class Stored(ABC):
    """What both kinds of promises share. Where they come from is filled in by `guarantee`, the same for both kinds.

    Args:
        class_names: names of the class ids 0..K-1.
        images: how many calibration images decided.
        source: the calibration data; "" if nothing is said of it.
        model: fingerprint of the model's files; "" if it is of no run and no export.
        looks: features of the calibration images, name -> one value for each; see `guarantee.shift`.
    """

    KIND: ClassVar[str]

    class_names: list[str]
    images: int
    source: str = ""
    model: str = ""
    looks: dict[str, list[float]] = field(default_factory=dict)

    def save(self, model: Path) -> Path:
        """Writes guarantee.json into the folder of a run or of an export, and returns its path.

        Raises:
            ValueError: the promise was made for a model without such a folder.
        """
        if not self.model:
            raise ValueError(f"this promise is of no run: `visionkit guarantee {model} DATA` stores one")
        file = model / FILE
        write_json(file, {"version": VERSION, "kind": self.KIND} | asdict(self))
        return file

    def __str__(self) -> str:
        return "\n".join(self.in_words())

    @abstractmethod
    def in_words(self) -> list[str]:
        """What is promised, at what price and on which assumption, in sentences."""

    @abstractmethod
    def decides(self) -> list[Any]:
        """What the answers depend on."""

    @property
    def fingerprint(self) -> str:
        """Tells this promise from others: 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps([*self.decides(), self.model]).encode()).hexdigest()[:16]


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
class Promise(Stored):
    """A promise about a detector; `print` shows it in words. Either `miss` or `false_alarms` is None.

    Args:
        miss: the share of an image's objects that are missed, at most and in expectation; with `per_class` that of
            each class, over the images that have the class.
        false_alarms: the number of an image's detections that hit no object, at most and in expectation; with
            `per_class` that of each class.
        cap: of an image's false detections no more than this count; None for a promise about missed objects.
        per_class: whether each class has a promise of its own.
        thresholds: the score from which detections of each class count, `[K]`.
        unpromised: classes without a promise -> the reason; with `per_class` they have the lowest threshold.
        margin: for `enlarge`, or None. If there is one, a share `miss` of an image's found objects, at most and in
            expectation, sticks out of the enlarged boxes.
        missed: the mean share that is missed in the calibration images that have objects.
        alarms: the mean number of false detections that count in a calibration image; 0 without `false_alarms`.
        price: of the promise.
    """

    KIND = "objects"

    miss: float | None
    false_alarms: float | None = None
    cap: float | None = None
    per_class: bool
    thresholds: list[float]
    unpromised: dict[str, str]
    margin: float | None
    missed: float
    alarms: float = 0.0
    price: Price

    def decides(self) -> list[Any]:
        """The thresholds and the margin."""
        return [self.thresholds, self.margin]

    def in_words(self) -> list[str]:
        """See `Stored`."""
        lines = [_of_alarms(self) if self.miss is None else _of_misses(self)]
        if self.per_class:
            lines.append("Thresholds: " + ", ".join(_threshold_of_each(self)) + ".")
        else:
            lines.append(f"Threshold: {self.thresholds[0]:.3f}.")
        for name, reason in self.unpromised.items():
            lines.append(f"No promise for {name}: {reason}.")
        if self.margin is not None:
            lines.append(
                f"Margin: each side of a box moves out by {self.margin:.1%} of its width or height; on average at most "
                f"{percent(self.miss)} of an image's found objects then stick out."
            )
        kept = f"{self.price.detections:.1f} detections an image, {self.price.wrong:.1f} of them wrong"
        if self.miss is None:
            lines.append(f"Price: {self.missed:.1%} of an image's objects are missed; {kept}.")
            return [*lines, f"{ASSUMED}false detections."]
        larger = f"; boxes {self.price.growth:.2f} times as large" if self.margin else ""
        return [*lines, f"Price: {kept}{larger}.", f"{ASSUMED}missed objects."]


@dataclass(frozen=True, kw_only=True)
class PixelPromise(Stored):
    """A promise about one class of a segmenter; `print` shows it in words.

    Args:
        miss: the share of the class's pixels that are missed in an image that has some, at most and in expectation.
        of: the name of the class.
        threshold: pixels with at least this probability of the class are of the class; the others are of the most
            probable one of the other classes.
        missed: the mean share that is missed in the calibration images that have the class.
        marked: the share of the calibration images' pixels that are then of the class.
        right: the share of these that really are.
    """

    KIND = "pixels"

    miss: float
    of: str
    threshold: float
    missed: float
    marked: float
    right: float

    def decides(self) -> list[Any]:
        """The class and its threshold."""
        return [self.of, self.threshold]

    def in_words(self) -> list[str]:
        """See `Stored`."""
        return [
            f"Promised: on average at most {percent(self.miss)} of an image's pixels of {self.of} are missed. On the "
            f"{self.images} calibration images that have some it is {self.missed:.1%}.",
            f"Threshold: a pixel with a probability of {self.threshold:.3g} of {self.of} counts as {self.of}.",
            f"Price: {self.marked:.1%} of the pixels count as {self.of}, and {self.right:.1%} of these are.",
            f"{ASSUMED}missed pixels.",
        ]


def percent(share: float | None) -> str:
    """A share in words, 0.1 as 10% and 0.025 as 2.5%."""
    return "" if share is None else f"{100 * share:.3g}%"


def _of_misses(promise: Promise) -> str:
    whom = "of an image's objects of a class" if promise.per_class else "of an image's objects"
    measured = "" if promise.per_class else f" On the {promise.images} calibration images it is {promise.missed:.1%}."
    return (
        f"Promised: on average at most {percent(promise.miss)} {whom} are missed (an object is found by a detection of "
        f"its class with an IoU of 0.5).{measured}"
    )


def _of_alarms(promise: Promise) -> str:
    whom = " of a class" if promise.per_class else ""
    measured = "" if promise.per_class else f" On the {promise.images} calibration images it is {promise.alarms:.2f}."
    return (
        f"Promised: on average at most {promise.false_alarms:g} false detections{whom} an image (without an object of "
        f"their class with an IoU of 0.5; an image with more than {promise.cap:g} counts as one with "
        f"{promise.cap:g}).{measured}"
    )


def _threshold_of_each(promise: Promise) -> list[str]:
    return [f"{name} {value:.3f}" for name, value in zip(promise.class_names, promise.thresholds, strict=True)]

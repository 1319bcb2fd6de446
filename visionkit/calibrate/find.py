"""Finds the curve that makes scores mean what they say: `vk.calibrate`, and what `visionkit calibrate` calls."""

from dataclasses import asdict, dataclass
from typing import Any

from visionkit.calibrate.said import said_of
from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import as_predictor
from visionkit.metrics.calibration import NONE, Reliability, Said, choose, cross_fitted, errors, fit, folds_of
from visionkit.score_curve import ScoreCurve
from visionkit.types import DataError

SURE = 0.3  # detections with at least this score are looked at separately, as in Küppers et al. 2020, section 5
DETECTOR = ("detections", "D-ECE", "the order of detections, and so not AP")
# By task: what answers are called, what their calibration error is called, and what no curve changes.
WORDS = {
    "detect": DETECTOR,
    "instance": DETECTOR,
    "classify": ("images", "ECE", "the most probable class of an image"),
    "segment": ("pixels", "pixel ECE", "the most probable class of the network's pixels"),
}


@dataclass(frozen=True, kw_only=True)
class Error:
    """A calibration error, before and after, each with the ends of its 95 % interval.

    Args:
        before: (value, low, high) of the scores as they were.
        after: the same of each image by a curve that was fitted to other images.
        less: the same of the difference.
    """

    before: tuple[float, float, float]
    after: tuple[float, float, float]
    less: tuple[float, float, float]

    @classmethod
    def of(cls, before: Said, after: Said, least: float = 0.0) -> "Error | None":
        """Compares answers with scores of at least `least`; None if there are none, before or after."""
        tables = Reliability.of(before, least), Reliability.of(after, least)
        return cls(**errors(*tables)) if all(table.count.any() for table in tables) else None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was found; `print` shows it in words.

    Args:
        curve: put it into the attribute `calibration` of the model; None if the scores are better left as they are.
        task: of the model.
        class_names: of the model.
        images: how many calibration images there are.
        answers: detections, images or pixels in them; of pixels, those that were drawn.
        right: how many of these are right.
        log_loss: of each method the log loss on images that it was not fitted to; "none" is that of the scores.
        error: the expected calibration error.
        sure: that of the detections with a score of at least 0.3; None for other tasks, or if there are none.
        diagrams: "before" and "after": of each bin the mean score, the share that is right and the number of answers.
        source: the calibration data.
    """

    curve: ScoreCurve | None
    task: str
    class_names: list[str]
    images: int
    answers: int
    right: int
    log_loss: dict[str, float]
    error: Error
    sure: Error | None
    diagrams: dict[str, list[tuple[float, float, int]]]
    source: str

    @property
    def method(self) -> str:
        """The name of the method, or "none"."""
        return self.curve.method if self.curve else NONE

    def to_json(self) -> dict[str, Any]:
        """For `--json`, and for the run's calibration.json."""
        return asdict(self) | {"curve": self.curve and self.curve.to_json(), "method": self.method}

    def __str__(self) -> str:
        return "\n".join(in_words(self))


def calibrate(predictor: Any, dataset: Dataset) -> Calibration:
    """Finds the curve that makes a model's scores mean what they say.

    A temperature, Platt's sigmoid and isotonic regression are fitted to four fifths of the images and compared by their
    log loss on the others, and the best is fitted to all. There is one curve for all classes. It rises strictly: the
    order of detections and the most probable class stay as they are.

    Args:
        predictor: what `vk.evaluate` takes; of a segmenter a `Predictor` or a Task.
        dataset: labelled images that the model has not learned from, with all of its classes.

    Returns:
        The curve, for `model.calibration`, and what it changes. The errors "after" are those of images to which the
        curve in use was not fitted, nor chosen with them: all of it is done five times, without another fifth.

    Raises:
        DataError: the model is calibrated already, the data has other classes, or too few images, right answers or
            wrong ones.
    """
    predictor = as_predictor(predictor)
    if getattr(predictor, "calibration", None) is not None:
        raise DataError("the model is calibrated already: set its attribute calibration to None first")
    said = said_of(predictor, dataset)
    fold = folds_of(said)
    method, losses = choose(said, fold)
    after = said.with_scores(cross_fitted(said, fold))
    error = Error.of(said, after)
    assert error is not None  # there are answers
    return Calibration(
        curve=None if method == NONE else fit(said, method),
        task=predictor.task,
        class_names=list(predictor.class_names),
        images=said.images,
        answers=len(said.image),
        right=int(said.right.sum()),
        log_loss=losses,
        error=error,
        sure=None if said.exclusive else Error.of(said, after, SURE),
        diagrams={name: Reliability.of(one).diagram() for name, one in (("before", said), ("after", after))},
        source=dataset.source,
    )


def in_words(found: Calibration) -> list[str]:
    """What was compared, what was chosen, and what it changes."""
    what, name, same = WORDS[found.task]
    lines = [
        f"{found.answers:,} {what} of {found.images:,} images, of which {found.right / found.answers:.1%} are right."
    ]
    losses = ", ".join(f"{method} {loss:.4f}" for method, loss in found.log_loss.items())
    lines.append(f"Log loss on images left out: {losses}.")
    if found.sure:  # first, since people look at these detections, and most of the others are near 0
        sure = _in_numbers(found.sure)
        lines.append(f"{name} of {what} with a score of at least {SURE}, with 95 % intervals: {sure}.")
        lines.append(f"{name} of all {what}: {_in_numbers(found.error)}.")
    else:
        lines.append(f"{name}, with 95 % intervals: {_in_numbers(found.error)}.")
    if found.curve:
        lines.append(f"Chosen: {found.method}, one curve for all classes. It does not change {same}.")
    else:
        lines.append("Chosen: none. No method predicts other images better than the scores as they are.")
    return lines


def _in_numbers(error: Error) -> str:
    parts = []
    for words, (value, low, high) in (("before", error.before), ("after", error.after)):
        parts.append(f"{value:.3f} {words} ({low:.3f} to {high:.3f})")
    value, low, high = error.less
    return f"{', '.join(parts)}; less by {value:.3f} ({low:.3f} to {high:.3f})"

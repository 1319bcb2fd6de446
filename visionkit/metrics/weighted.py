"""Scores of data sets in which images count several times or not at all, without a second look at any image.

A metric reduces each image to a few counts (a table). A resample of the data set is then a row of weights, one for each
image, and the scores of a thousand resamples are sums and running sums.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Scores of R weighted data sets, in 0..1; NaN where a data set has nothing to measure against.

    Args:
        overall: name -> float64 `[R]`.
        per_class: name -> float64 `[R, K]`.
    """

    overall: dict[str, np.ndarray]
    per_class: dict[str, np.ndarray]


class Table(Protocol):
    """What a metric keeps of each of N images."""

    @property
    def images(self) -> int:
        """N."""
        ...

    def scores(self, weights: np.ndarray) -> Scores:
        """Returns the scores of R data sets.

        Args:
            weights: float64 `[R, N]`, how often each image counts.
        """
        ...

    @property
    def occurs(self) -> np.ndarray:
        """bool `[N, K]`: which images have which class, in truth."""
        ...

    def errors(self) -> np.ndarray:
        """How wrong the model is about each image, float64 `[N]`; for choosing images to look at."""
        ...

    def beside(self, other: Any) -> "Table":
        """Returns a table of 2 N images: these, and after them the same ones as another model sees them."""
        ...


@dataclass(frozen=True, eq=False)
class Answers:
    """A classifier's answers.

    Args:
        labels: int `[N]`, the true classes.
        predicted: int `[N]`, the classes with the highest score.
        in_top5: bool `[N]`.
        num_classes: K.
    """

    labels: np.ndarray
    predicted: np.ndarray
    in_top5: np.ndarray
    num_classes: int

    @property
    def images(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def occurs(self) -> np.ndarray:
        """See `Table`."""
        return self.labels[:, None] == np.arange(self.num_classes)

    def errors(self) -> np.ndarray:
        """1 for each image that is assigned to a wrong class."""
        return (self.labels != self.predicted).astype(float)

    def scores(self, weights: np.ndarray) -> Scores:
        """`top1` and `top5`; of each class `recall` and `precision`."""
        classes = np.arange(self.num_classes)
        right = self.labels == self.predicted
        is_class = self.occurs.astype(float)  # [N, K]
        said = (self.predicted[:, None] == classes).astype(float)
        total = weights.sum(axis=1)
        found = weights @ (is_class * right[:, None])  # [R, K]
        return Scores(
            {"top1": share(weights @ right, total), "top5": share(weights @ self.in_top5, total)},
            {"recall": share(found, weights @ is_class), "precision": share(found, weights @ said)},
        )

    def beside(self, other: "Answers") -> "Answers":
        """See `Table`."""
        return Answers(
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.predicted, other.predicted]),
            np.concatenate([self.in_top5, other.in_top5]),
            self.num_classes,
        )


@dataclass(frozen=True, eq=False)
class Areas:
    """A segmenter's pixels.

    Args:
        correct, actual, predicted: float64 `[N, K]`, pixels of each class in each image: those that are right, those
            of the truth, and those that were predicted.
        boundary: float64 `[N, K]`, the boundary F1; NaN where the class is on neither side.
    """

    correct: np.ndarray
    actual: np.ndarray
    predicted: np.ndarray
    boundary: np.ndarray

    @property
    def images(self) -> int:
        """N."""
        return len(self.correct)

    @property
    def occurs(self) -> np.ndarray:
        """See `Table`."""
        return self.actual > 0

    def errors(self) -> np.ndarray:
        """The share of wrong pixels of each image."""
        return 1 - self.correct.sum(axis=1) / np.maximum(self.actual.sum(axis=1), 1)

    def scores(self, weights: np.ndarray) -> Scores:
        """`mIoU`, `pixel_accuracy`, `mean_accuracy` and `boundary_f1`; of each class `IoU`, `accuracy` and the last."""
        correct, actual = weights @ self.correct, weights @ self.actual  # [R, K]
        union = actual + weights @ self.predicted - correct
        has_outline = ~np.isnan(self.boundary)
        per_class = {
            "IoU": share(correct, union),
            "accuracy": share(correct, actual),
            "boundary_f1": share(weights @ np.nan_to_num(self.boundary), weights @ has_outline),
        }
        overall = {
            "mIoU": mean_of_classes(per_class["IoU"]),
            "pixel_accuracy": share(correct.sum(axis=1), actual.sum(axis=1)),
            "mean_accuracy": mean_of_classes(per_class["accuracy"]),
            "boundary_f1": mean_of_classes(per_class["boundary_f1"]),
        }
        return Scores(overall, per_class)

    def beside(self, other: "Areas") -> "Areas":
        """See `Table`."""
        return Areas(
            np.concatenate([self.correct, other.correct]),
            np.concatenate([self.actual, other.actual]),
            np.concatenate([self.predicted, other.predicted]),
            np.concatenate([self.boundary, other.boundary]),
        )


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def mean_of_classes(values: np.ndarray) -> np.ndarray:
    """The mean over the defined classes of `[R, K]` -> `[R]`, NaN where none is."""
    return share(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1))

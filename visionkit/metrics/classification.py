"""Scores of a classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from visionkit.metrics.weighted import Answers
from visionkit.types import DataError


class ClassificationMetric:
    """Collects scores and true labels batch by batch; of each image only the true and the best class are kept.

    Args:
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)
        k = len(self.class_names)
        self.matrix = np.zeros((k, k), np.int64)  # [true class, predicted class] -> images
        self._answers: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # labels, predicted, in_top5 of a batch

    def update(self, labels: np.ndarray, scores: np.ndarray) -> None:
        """Adds a batch.

        Args:
            labels: int `[B]`, true class ids.
            scores: float `[B, K]`, logits or probabilities. Ties go to the lower class id.

        Raises:
            DataError: the shapes do not match, a class id is unknown, or a score is not finite.
        """
        labels, scores = np.asarray(labels), np.asarray(scores)
        k = len(self.class_names)
        if labels.ndim != 1 or scores.shape != (len(labels), k):
            raise DataError(f"expected labels [B] and scores [B, {k}], found {labels.shape} and {scores.shape}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < k:
            raise DataError(f"expected labels 0..{k - 1}, found {labels.min()}..{labels.max()}")
        if not np.isfinite(scores).all():
            raise DataError(f"expected finite scores, found {scores[~np.isfinite(scores)][0]}")
        ranking = np.argsort(-scores, axis=1, kind="stable")  # [B, K]
        in_top5 = (ranking[:, :5] == labels[:, None]).any(axis=1)  # [B]
        self._answers.append((labels, ranking[:, 0], in_top5))
        np.add.at(self.matrix, (labels, ranking[:, 0]), 1)

    def result(self) -> dict[str, Any]:
        """Returns the scores over all images so far.

        Returns:
            `top1` and `top5` in 0..1 (-1 before the first image), `images`, and `per_class`: name -> `{"precision",
            "recall", "images"}`. Precision is -1 for a class that was never predicted, recall is -1 for a class
            without images.
        """
        images = int(self.matrix.sum())
        correct = np.diag(self.matrix)
        actual = self.matrix.sum(axis=1)  # [K] images of each class
        predicted = self.matrix.sum(axis=0)  # [K] predictions of each class
        per_class = {
            name: {
                "precision": _share(correct[k], predicted[k]),
                "recall": _share(correct[k], actual[k]),
                "images": int(actual[k]),
            }
            for k, name in enumerate(self.class_names)
        }
        return {
            "top1": _share(int(correct.sum()), images),
            "top5": _share(sum(int(in_top5.sum()) for _, _, in_top5 in self._answers), images),
            "images": images,
            "per_class": per_class,
        }

    def tables(self) -> list[Answers]:
        """What is kept of the images, for `metrics.resampling`."""
        none = (np.empty(0, int), np.empty(0, int), np.empty(0, bool))
        columns = [np.concatenate(column) for column in zip(none, *self._answers, strict=True)]
        return [Answers(columns[0], columns[1], columns[2], len(self.class_names))]


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else -1.0

"""Scores of a classifier, and the picture of what it mixes up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.files import whole_file
from visionkit.types import DataError


class ClassificationMetric:
    """Collects scores and true labels batch by batch; keeps counts only.

    Args:
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)
        k = len(self.class_names)
        self.matrix = np.zeros((k, k), np.int64)  # [true class, predicted class] -> images
        self._in_top5 = 0

    def update(self, labels: np.ndarray, scores: np.ndarray) -> None:
        """Adds a batch.

        Args:
            labels: int `[B]`, true class ids.
            scores: float `[B, K]`, logits or probabilities. Of equal scores the lower class id comes first.

        Raises:
            DataError: shapes that do not fit, an unknown class id, a score that is not a number.
        """
        labels, scores, k = np.asarray(labels), np.asarray(scores), len(self.class_names)
        if labels.ndim != 1 or scores.shape != (len(labels), k):
            raise DataError(f"expected labels [B] and scores [B, {k}], found {labels.shape} and {scores.shape}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < k:
            raise DataError(f"expected labels 0..{k - 1}, found {labels.min()}..{labels.max()}")
        if not np.isfinite(scores).all():
            raise DataError(f"expected finite scores, found {scores[~np.isfinite(scores)][0]}")
        ranking = np.argsort(-scores, axis=1, kind="stable")  # [B, K]
        self._in_top5 += int((ranking[:, :5] == labels[:, None]).sum())
        np.add.at(self.matrix, (labels, ranking[:, 0]), 1)

    def result(self) -> dict:
        """The numbers of all images so far.

        Returns:
            `top1` and `top5` in 0..1 (-1 before the first image), `images`, and `per_class`: name -> `{"precision",
            "recall", "images"}`, -1 where nothing was predicted as the class, or nothing is of it.
        """
        images = int(self.matrix.sum())
        right, there, said = np.diag(self.matrix), self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        per_class = {
            name: {
                "precision": _share(right[k], said[k]),
                "recall": _share(right[k], there[k]),
                "images": int(there[k]),
            }
            for k, name in enumerate(self.class_names)
        }
        top = {"top1": _share(right.sum(), images), "top5": _share(self._in_top5, images)}
        return top | {"images": images, "per_class": per_class}


def confusion_picture(matrix: np.ndarray, class_names: Sequence[str], file: Path, title: str | None = None) -> None:
    """Draws a confusion matrix: rows are the truth, columns what was said, colours the share of the row.

    Args:
        matrix: int `[K, K]`; counts are written into the cells up to 25 classes, beyond they could not be read.
        class_names: K names.
        file: a .png, .svg or .pdf; it appears whole or not at all.
        title: by default the share of images that are right.
    """
    from matplotlib.figure import Figure  # a Figure of its own: no pyplot, no global state, no display needed

    matrix, k, file = np.asarray(matrix), len(class_names), Path(file)
    if matrix.shape != (k, k):
        raise ValueError(f"expected a matrix [{k}, {k}] for {k} class names, found {list(matrix.shape)}")
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # [K, K] in 0..1
    side = float(np.clip(1.5 + 0.48 * min(k, 20) + 0.14 * max(k - 20, 0), 4, 24))  # inches
    figure = Figure(figsize=(side + 1.2, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    small = float(np.clip(36 * side / k, 4, 10))  # points: half the height of a cell
    if 72 * side / k >= small:  # beyond some 400 classes names would lie upon one another
        axes.set_xticks(range(k), class_names, rotation=45, ha="right", rotation_mode="anchor", fontsize=small)
        axes.set_yticks(range(k), class_names, fontsize=small)
    axes.set(xlabel="predicted", ylabel="true")
    right = f"{_share(np.trace(matrix), matrix.sum()):.1%} of {matrix.sum()} images right"
    axes.set_title(title or right, fontsize=11)
    axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if k <= 25:
        for row, column in zip(*matrix.nonzero(), strict=True):
            colour = "white" if share[row, column] > 0.55 else "#1b2a3a"
            text = {"ha": "center", "va": "center", "color": colour, "fontsize": small}
            axes.text(column, row, compact(matrix[row, column]), **text)
    figure.colorbar(picture, label="share of the true class", shrink=0.8, aspect=30).outline.set_visible(False)
    save_figure(figure, file)


def compact(count: int) -> str:
    """A count in at most four letters, such as 9999, 12k or 4.5M: pixels are counted in millions."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 10_000 and count >= 0.9995 * size:
            return f"{count / size:.1f}{unit}" if count < 9.95 * size else f"{count / size:.0f}{unit}"
    return str(count)


def save_figure(figure, file: Path) -> None:
    """Writes a matplotlib Figure, whole or not at all; the suffix says how."""
    with whole_file(file) as path:
        figure.savefig(path)


def _share(part, whole) -> float:
    return float(part / whole) if whole else -1.0

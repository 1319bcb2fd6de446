"""Pictures of a model's scores: the confusion matrix, and a detector's curves."""

# matplotlib's own types leave the **kwargs of nearly every method unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visionkit.files import whole_file
from visionkit.metrics.curves import IOU, Curve

if TYPE_CHECKING:  # importing matplotlib takes a second; only those who draw should wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTS = 25  # classes up to which counts are written into the cells; with more they would be illegible


def confusion_picture(matrix: np.ndarray, class_names: Sequence[str], file: Path, title: str | None = None) -> None:
    """Draws a confusion matrix: rows are true classes, columns predictions, colours the share of the row.

    Args:
        matrix: int `[K, K]`; counts are written into the cells up to 25 classes.
        class_names: K names.
        file: a .png, .svg or .pdf; the picture is written completely or not at all.
        title: by default the share of images that are classified correctly.

    Raises:
        ValueError: the matrix is not `[K, K]`.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure  # used directly: no pyplot, so no global state and no display needed

    matrix, k = np.asarray(matrix), len(class_names)
    if matrix.shape != (k, k):
        raise ValueError(f"expected a matrix [{k}, {k}] for {k} class names, found {list(matrix.shape)}")
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # [K, K] in 0..1
    side = float(np.clip(1.5 + 0.48 * min(k, 20) + 0.14 * max(k - 20, 0), 4, 24))  # inches
    figure = Figure(figsize=(side + 1.2, side), dpi=110, layout="constrained")
    axes = figure.subplots()
    scale = ScalarMappable(Normalize(0, 1), "Blues")
    axes.imshow(scale.to_rgba(share, bytes=True))  # of shares, a thousand classes would take half a gigabyte
    font_size = float(np.clip(36 * side / k, 4, 10))  # points: half the height of a cell
    if 72 * side / k >= font_size:  # with more than about 400 classes names would overlap, and lines hide the cells
        axes.set_xticks(range(k), class_names, rotation=45, ha="right", rotation_mode="anchor", fontsize=font_size)
        axes.set_yticks(range(k), class_names, fontsize=font_size)
        axes.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1)
    axes.set(xlabel="predicted", ylabel="true")
    correct = float(np.trace(matrix) / matrix.sum()) if matrix.any() else -1.0
    axes.set_title(title or f"{correct:.1%} of {matrix.sum()} images right", fontsize=11)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if k <= MOST_COUNTS:
        _write_counts(axes, matrix, share, font_size)
    figure.colorbar(scale, ax=axes, label="share of the true class", shrink=0.8, aspect=30).outline.set_visible(False)
    save_figure(figure, Path(file))


def curves_pictures(class_curves: Sequence[Curve], class_names: Sequence[str], pr_file: Path, f1_file: Path) -> None:
    """Draws precision over recall, and F1 over the threshold with its best point: one line per class with objects."""
    from matplotlib.figure import Figure  # see `confusion_picture`

    pr, f1 = (Figure(figsize=(7, 5), dpi=110, layout="constrained") for _ in range(2))
    pr_axes, f1_axes = pr.subplots(), f1.subplots()
    for curve, name in zip(class_curves, class_names, strict=True):
        if not curve.objects:
            continue
        recall, precision = curve.steps()
        best = curve.best
        (line,) = pr_axes.step(recall, precision, where="pre", label=name)
        f1_axes.plot(curve.scores, curve.f1, color=line.get_color(), label=f"{name}: {best['threshold']:.2f}")
        f1_axes.plot(best["threshold"], best["F1"], "o", color=line.get_color(), markersize=5)
    pr_axes.set(xlabel="recall", ylabel="precision", title=f"precision and recall at IoU {IOU:g}")
    f1_axes.set(xlabel="threshold of the score", ylabel="F1", title=f"F1 at IoU {IOU:g}; the best threshold is named")
    for figure, axes, file in ((pr, pr_axes, pr_file), (f1, f1_axes, f1_file)):
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines and len(class_curves) <= 20:  # more could not be told apart
            axes.legend(fontsize=8)
        save_figure(figure, file)


def compact(count: int) -> str:
    """Formats a count in at most four characters, such as 9999, 12k or 4.5M; pixels are counted in millions."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 10_000 and count >= 0.9995 * size:
            return f"{count / size:.1f}{unit}" if count < 9.95 * size else f"{count / size:.0f}{unit}"
    return str(count)


def save_figure(figure: "Figure", file: Path) -> None:
    """Writes a matplotlib Figure completely or not at all; the suffix of the file determines the format."""
    with whole_file(file) as path:
        figure.savefig(path)


def _write_counts(axes: "Axes", matrix: np.ndarray, share: np.ndarray, font_size: float) -> None:
    for row, column in zip(*matrix.nonzero(), strict=True):
        colour = "white" if share[row, column] > 0.55 else "#1b2a3a"
        text = compact(int(matrix[row, column]))
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=font_size)

"""What the curves of a training say: a picture of them, and a line in words."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.metrics.pictures import save_figure

RISE = 0.01  # of a score over the last third of the epochs: less is standing still
FALL = 0.02  # of the loss over the last third, as a share of its whole way: less is standing still
DROP = 0.05  # below its best a score has to end, as a share of that best, to be called falling
GAP = 0.1  # of accuracy between what was learned from and what was not
LEARNED = 0.8  # of the first loss: one that ends above it has hardly fallen
POOR = 0.6  # a score below it leaves something to be learned


def read_history(run: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv, a dict an epoch; what was not measured in an epoch is not in its row."""
    with (run / "history.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def verdict(history: Sequence[dict[str, float]]) -> str:
    """One line on how a training went: its first words are one of these, the first that holds.

    - too short to say: fewer than 4 epochs.
    - overfitting: the last score is a share DROP below the best one, and the loss has fallen further since that one; or
      the score has stopped rising, and of the training images a share greater by GAP is told right (`accuracy`) than of
      the validation images (`val_top1`).
    - unstable: the last score is as far below the best one, and the loss has not fallen since.
    - still improving: over the last third of the epochs the score rose by more than RISE, or where there are fewer than
      3 scores the loss fell by more than FALL of its whole way, to LEARNED of where it began or less.
    - underfitting: the loss ended above LEARNED of where it began, and no score reached POOR.
    - healthy: none of these, so the score stays near its best.
    - settled: none of these, and there are fewer than 3 scores, so overfitting could not be seen.

    What changed over the last third is taken between means of up to three rows, so that one lucky epoch decides little.

    Args:
        history: rows of `read_history`: `epoch`, `loss`, perhaps `accuracy` of the training images, and in some rows
            one number whose name begins with `val_`, a score of which more is better.
    """
    if len(history) < 4:
        return f"too short to say: {len(history)} epochs; 4 tell something"
    losses, (name, scores) = np.array([row["loss"] for row in history]), _scores(history)
    start, end = losses[0], losses[-3:].mean()
    fell = f"the loss went from {start:.3g} to {losses[-1]:.3g}"
    poor = True
    if len(scores) >= 3:
        at, values = np.array(scores).T
        best, peak = values.max(), int(at[values.argmax()])
        since = losses[[row["epoch"] >= peak for row in history]]
        rises = _last_third(values) > RISE
        if values[-1] < best * (1 - DROP):
            if since[-3:].mean() >= since[0]:
                return (
                    f"unstable: {name} was best in epoch {peak} ({best:.3f}) and has fallen to {values[-1]:.3f}, and "
                    f"the loss has not fallen since; lower the learning rate"
                )
            return (
                f"overfitting: {name} was best in epoch {peak} ({best:.3f}) and has fallen to {values[-1]:.3f} while "
                f"the loss went on falling; stop earlier, augment more, or regularise"
            )
        gap = history[-1].get("accuracy", 0) - values[-1] if name == "val_top1" else 0
        if gap > GAP and not rises:
            return (
                f"overfitting: {history[-1]['accuracy']:.3f} of the training images are right, but {name} stays at "
                f"{values[-1]:.3f}; more data, more augmentation, or regularise"
            )
        if rises:
            return f"still improving: {name} is at {values[-1]:.3f} and rising; train for more epochs"
        poor = best < POOR
    elif end <= LEARNED * start and -_last_third(losses) > FALL * (start - losses.min()):
        return f"still improving: {fell} and is falling; train for more epochs"
    if end > LEARNED * start and poor:
        return f"underfitting: {fell}; try another learning rate (visionkit lr_find), more epochs or a larger network"
    if len(scores) >= 3:
        return f"healthy: {fell}, and {name} stays near its best of {best:.3f} (epoch {peak})"
    return f"settled: {fell} and has stopped; too little was scored while training to see overfitting"


def draw_curves(history: Sequence[dict[str, float]], file: Path) -> None:
    """Draws losses (left axis, logarithmic where all are positive) and scores (right axis) over the epochs.

    The verdict stands above; the best score is marked. The picture is written whole or not at all.
    """
    from matplotlib.figure import Figure  # see `confusion_picture`

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    keys = dict.fromkeys(key for row in history for key in row)
    measured = [key for key in keys if key not in ("epoch", "time")]
    shares = [key for key in measured if key.startswith("val_") or key == "accuracy"]
    losses = [key for key in measured if key not in shares]
    for key in losses:
        x, y = _line(history, key)
        axes.plot(x, y, label=key, linewidth=2.2 if key == "loss" else 1, marker="." if len(x) < 30 else None)
    drawn = [row[key] for row in history for key in losses if key in row]
    if drawn and min(drawn) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel="loss of the training images")
    if shares:
        right = axes.twinx()
        right.set(ylabel="score", ylim=(0, 1.02))
        for key in shares:
            x, y = _line(history, key)
            right.plot(x, y, "--" if key == "accuracy" else "-", color="black", label=key, marker=".")
        _, scores = _scores(history)
        if scores:
            right.plot(*max(scores, key=lambda pair: pair[1]), "o", color="black", markersize=9, fillstyle="none")
        right.legend(loc="center right", fontsize=8)
        right.spines[["top"]].set_visible(False)
    axes.legend(loc="center left", fontsize=8)
    axes.grid(color="#dddddd")
    axes.spines[["top"]].set_visible(False)
    axes.set_title(verdict(history), fontsize=9, wrap=True)
    save_figure(figure, file)


def _scores(history) -> tuple[str, list[tuple[float, float]]]:
    """The score's name and its (epoch, value), or ("", [])."""
    name = next((key for row in history for key in row if key.startswith("val_")), "")
    return name, [(row["epoch"], row[name]) for row in history if name in row]


def _last_third(values: np.ndarray) -> float:
    """By how much `values` changed over their last third."""
    third = max(1, len(values) // 3)
    size = min(3, third)  # rows that are averaged
    return float(values[-size:].mean() - values[-third - size : len(values) - third].mean())


def _line(history, key):
    rows = [row for row in history if key in row]
    return [row["epoch"] for row in rows], [row[key] for row in rows]

"""What the curves of a training show: a picture of them, and a verdict in one line."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.metrics.pictures import save_figure

RISE = 0.01  # of a score over the last third of the epochs; less counts as standing still
FALL = 0.02  # of the loss over the last third, as a share of its total fall; less counts as standing still
DROP = 0.05  # a score counts as falling if it ends this share or more below its best
GAP = 0.1  # between the accuracies on training and validation images
LEARNED = 0.8  # of the first loss; a loss that ends above this has hardly fallen
POOR = 0.6  # a score below this leaves something to be learned
ENOUGH_EPOCHS = 4
ENOUGH_SCORES = 3

History = Sequence[dict[str, float]]


def read_history(run: Path) -> list[dict[str, float]]:
    """Reads a run's history.csv: one dict per epoch, without what was not measured in that epoch."""
    with (run / "history.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def verdict(history: History) -> str:
    """Returns one line on how a training went. Its first words are one of these, the first that applies:

    - too short to say: fewer than 4 epochs.
    - overfitting: the last score is a share DROP below the best one, and the loss has fallen further since that one; or
      the score has stopped rising, and the share of training images classified correctly (`accuracy`) exceeds that of
      validation images (`val_top1`) by more than GAP.
    - unstable: the last score is that far below the best one, and the loss has not fallen since.
    - still improving: over the last third of the epochs the score rose by more than RISE. With fewer than 3 scores: the
      loss fell by more than FALL of its total fall, and ended at LEARNED of its first value or less.
    - underfitting: the loss ended above LEARNED of its first value, and no score reached POOR.
    - healthy: none of these, so the score stays near its best.
    - settled: none of these, but there are fewer than 3 scores, so overfitting could not be seen.

    Changes over the last third are differences between means of up to three rows, so that one lucky epoch matters
    little.

    Args:
        history: rows of `read_history`: `epoch`, `loss`, perhaps `accuracy` on the training images, and in some rows
            a number whose name begins with `val_`, a score of which more is better.
    """
    if len(history) < ENOUGH_EPOCHS:
        return f"too short to say: {len(history)} epochs; at least {ENOUGH_EPOCHS} are needed"
    _, scores = _scores(history)
    return _verdict_on_scores(history) if len(scores) >= ENOUGH_SCORES else _verdict_on_losses(history)


def _verdict_on_scores(history: History) -> str:
    losses, (name, points) = _losses(history), _scores(history)
    epochs, scores = np.array(points).T
    best, last = scores.max(), scores[-1]
    best_epoch = int(epochs[scores == best][-1])  # the one that is kept
    if last < best * (1 - DROP):
        since = losses[[row["epoch"] >= best_epoch for row in history]]
        fallen = f"{name} was best in epoch {best_epoch} ({best:.3f}) and has fallen to {last:.3f}"
        if since[-3:].mean() >= since[0]:
            return f"unstable: {fallen}, and the loss has not fallen since; lower the learning rate"
        return f"overfitting: {fallen} while the loss went on falling; stop earlier, augment more, or regularise"
    rises = _last_third(scores) > RISE
    accuracy = history[-1].get("accuracy", 0.0)
    if name == "val_top1" and accuracy - last > GAP and not rises:
        return (
            f"overfitting: {accuracy:.3f} of the training images are right, but {name} stays at {last:.3f}; more data, "
            "more augmentation, or regularise"
        )
    if rises:
        return f"still improving: {name} is at {last:.3f} and rising; train for more epochs"
    if _hardly_fallen(losses) and best < POOR:
        return _underfitting(losses)
    return f"healthy: {_fall(losses)}, and {name} stays near its best of {best:.3f} (epoch {best_epoch})"


def _verdict_on_losses(history: History) -> str:
    losses = _losses(history)
    if _hardly_fallen(losses):
        return _underfitting(losses)
    if -_last_third(losses) > FALL * (losses[0] - losses.min()):
        return f"still improving: {_fall(losses)} and is falling; train for more epochs"
    return f"settled: {_fall(losses)} and has stopped falling; too few validation scores to see overfitting"


def _underfitting(losses: np.ndarray) -> str:
    advice = "try another learning rate (visionkit lr_find), more epochs or a larger network"
    return f"underfitting: {_fall(losses)}; {advice}"


def _fall(losses: np.ndarray) -> str:
    return f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g}"


def _hardly_fallen(losses: np.ndarray) -> bool:
    return bool(losses[-3:].mean() > LEARNED * losses[0])


def _losses(history: History) -> np.ndarray:
    return np.array([row["loss"] for row in history])


def draw_curves(history: History, file: Path) -> None:
    """Draws losses (left axis, logarithmic if all are positive) and scores (right axis) over the epochs.

    The verdict is the title, the legend is below; the best score is marked. The picture is written completely or not
    at all.
    """
    from matplotlib.figure import Figure  # see `confusion_picture`

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    shares, losses = score_and_loss_names(history)
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
            epoch, score = max(scores, key=lambda pair: pair[1])
            right.plot(epoch, score, "o", color="black", markersize=9, fillstyle="none")
        right.spines[["top"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)  # below the axes, where it hides no line
    axes.grid(color="#dddddd")
    axes.spines[["top"]].set_visible(False)
    axes.set_title(verdict(history), fontsize=9, wrap=True)
    save_figure(figure, file)


def score_and_loss_names(history: History) -> tuple[list[str], list[str]]:
    """Returns the names of what was measured: those of scores in 0..1, and those of losses."""
    measured = dict.fromkeys(key for row in history for key in row if key not in ("epoch", "time"))
    scores = [key for key in measured if key.startswith("val_") or key == "accuracy"]
    return scores, [key for key in measured if key not in scores]


def _scores(history: History) -> tuple[str, list[tuple[float, float]]]:
    """The score's name and its (epoch, value), or ("", []) if there are none."""
    name = next((key for row in history for key in row if key.startswith("val_")), "")
    return name, [(row["epoch"], row[name]) for row in history if name in row]


def _last_third(values: np.ndarray) -> float:
    """By how much `values` changed over their last third."""
    third = max(1, len(values) // 3)
    size = min(3, third)  # rows that are averaged
    return float(values[-size:].mean() - values[-third - size : len(values) - third].mean())


def _line(history: History, key: str) -> tuple[list[float], list[float]]:
    rows = [row for row in history if key in row]
    return [row["epoch"] for row in rows], [row[key] for row in rows]

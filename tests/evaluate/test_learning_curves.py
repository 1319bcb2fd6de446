"""What the curves of a training are said to show, and their picture."""

import re

import numpy as np
import pytest

from visionkit import images
from visionkit.evaluate import learning_curves
from visionkit.evaluate.learning_curves import draw_curves, read_history, verdict


def rows(loss, scores=(), accuracy=(), every=1, name="val_top1"):
    """A history with these losses, and scores in every so many epochs."""
    history = [{"epoch": i + 1, "time": 0.0, "loss": value} for i, value in enumerate(loss)]
    for row, value in zip(history[every - 1 :: every], scores, strict=len(scores) > 0):
        row[name] = value
    for row, value in zip(history, accuracy, strict=len(accuracy) > 0):
        row["accuracy"] = value
    return history


EPOCHS = np.arange(12)
FALLING = 2.0 * 0.7**EPOCHS  # 2 ... 0.04
SATURATED = 0.9 - 0.6 * 0.4**EPOCHS
FLAT = np.full(12, 2.3) - 0.001 * EPOCHS


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (rows(FALLING[:3], SATURATED[:3]), "too short to say: 3 epochs"),
        (rows(FALLING, SATURATED), r"healthy: .* stays near its best of 0\.900 \(epoch 12\)"),
        (rows(FALLING, SATURATED - 0.03 * (EPOCHS == 11)), "healthy"),  # 3 % below the best is not yet a fall
        (
            rows(FALLING, np.r_[SATURATED[:7], 0.88, 0.86, 0.84, 0.82, 0.8]),
            r"overfitting: .* best in epoch 7 \(0\.898\)",
        ),
        (
            rows(np.r_[FALLING[:7], FALLING[2:7]], np.r_[SATURATED[:7], SATURATED[2::-1], 0.3, 0.3]),
            "unstable: .* epoch 7",
        ),
        (rows(FALLING, np.minimum(SATURATED, 0.8), accuracy=SATURATED + 0.05), "overfitting: 0.950 of the training"),
        (rows(FALLING, np.minimum(SATURATED, 0.8), accuracy=SATURATED - 0.05), "healthy"),
        # A wide gap while the score still rises: more epochs first.
        (rows(FALLING, 0.05 * EPOCHS, accuracy=SATURATED), "still improving: val_top1 is at 0.550 and rising"),
        (rows(FALLING, [0.2, 0.5, 0.6], every=4, name="val_mAP50"), "still improving: val_mAP50"),
        (rows(FALLING, [0.2, 0.6, 0.605], every=4, name="val_mAP50"), "healthy"),
        (rows(FLAT, np.full(12, 0.1)), r"underfitting: the loss went from 2\.3 to 2\.29"),
        (rows(FLAT, np.full(12, 0.95)), "healthy"),  # it could do it from the start
        (rows(FLAT), "underfitting"),  # it falls to the end, but hardly
        (rows(np.full(12, 2.3)), "underfitting"),
        (rows(2.0 * 0.3**EPOCHS), "settled: the loss went from 2 to .* too few validation scores"),
        (rows(np.linspace(2, 1, 12)), "still improving: the loss went from 2 to 1 and is falling"),
    ],
)
def test_the_rules(history, said):
    assert re.match(said, verdict(history)), verdict(history)


def test_the_picture_shows_losses_and_scores(tmp_path):
    for name, history in (
        ("plain", rows(FALLING)),
        ("scored", rows(FALLING, SATURATED, accuracy=SATURATED)),
        ("one", rows(FALLING[:1], SATURATED[:1])),
        ("below zero", rows(1 - EPOCHS, [0.2, 0.5, 0.6], every=4)),
    ):
        draw_curves(history, tmp_path / f"{name}.png")
        picture = images.read_image(tmp_path / f"{name}.png")
        assert picture.shape[:2] == (550, 880)
        assert picture[80:480, 100:780].std() > 5, name
    assert {file.name for file in tmp_path.iterdir()} == {"plain.png", "scored.png", "one.png", "below zero.png"}


def test_the_legend_names_every_line_and_hides_none(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(learning_curves, "save_figure", lambda figure, file: figures.append(figure))
    names = ("loss", "class_loss", "box_loss", "mask_loss", "rpn_loss", "accuracy", "val_mAP50")
    draw_curves([{"epoch": epoch} | dict.fromkeys(names, 0.5) for epoch in (1, 2)], tmp_path / "never.png")
    (figure,) = figures
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == set(names)
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert legend.get_window_extent().y1 <= axes.get_window_extent().y0


def test_a_history_is_read_with_its_gaps(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,time,loss,val_mIoU\n1,5.0,2.5,\n2,6.0,2.0,0.5\n")
    first, second = read_history(tmp_path)
    assert first == {"epoch": 1, "time": 5, "loss": 2.5}
    assert second["val_mIoU"] == 0.5

"""What a training shows: on a terminal, and in a log file."""

import io
import os
import re
import select
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from visionkit.train import progress as module
from visionkit.train.callbacks import Position
from visionkit.train.plan import Plan
from visionkit.train.progress import Progress


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


def trained(progress, clock, seconds, epochs, first=0.0, until=None):
    """Takes the steps of some epochs as `fit` and the other callbacks would; `until` is the step that is the last."""
    plan, position = progress.plan, progress.position
    for _ in range(epochs):
        progress.on_epoch_begin(position.epoch)
        position.step = 0
        for step in range(plan.steps):
            clock.now += seconds + first
            first = 0.0
            progress.feed.waited += 0.1 * seconds
            position.step += 1
            progress.on_train_batch_end(step, {"class_loss": 1.0, "loss": 2.5, "box_loss": 1.5})
            if (position.epoch, position.step) == until:
                return
        with progress.scoring():
            clock.now += 5.0
        progress.on_epoch_end(position.epoch, {"class_loss": 1.0, "loss": 2.5, "box_loss": 1.5, "val_mAP50": 0.25})
        position.epoch += 1
        position.step = 0


def in_training(phases, position=None):
    plan = Plan(phases=phases, steps=25, batch_size=4, val_images=10, every=1, shorter=True)
    progress = Progress(plan, position or Position())
    progress.feed = SimpleNamespace(waited=0.0)
    return progress


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_log_file_gets_a_line_a_minute_and_one_at_the_end_of_an_epoch(clock, capsys):
    progress = in_training([4])
    with progress.shown():
        trained(progress, clock, 9.0, 2, first=30.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "epoch 1/4: compiling the first step"
    epoch = [line for line in lines if re.match(r"epoch 1/4 step", line)]
    assert 3 <= len(epoch) <= 4  # 255 seconds
    assert epoch[1] == (
        "epoch 1/4 step 11/25 | 14 min left | loss 2.5 | 0.4 images/s | data 8% | class_loss 1 box_loss 1.5"
    )
    (end,) = [line for line in lines if line.startswith("epoch 2/4 | ")]
    assert end == (
        "epoch 2/4 | loss 2.5 class_loss 1 box_loss 1.5 | 0.4 images/s | 7 min 40 s left | val_mAP50 0.250 | "
        "waited up to 10% for data"
    )


def test_how_long_it_takes_is_said_after_a_few_steps(clock, capsys):
    progress = in_training([4])
    with progress.shown():
        trained(progress, clock, 9.0, 4, first=30.0)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("about")]
    minutes = re.fullmatch(r"about (\d+) min here \(9 s a step\)", line)
    truth = (clock.now - 100) / 60
    assert abs(int(minutes[1]) - truth) < 0.1 * truth  # 30 s of compiling, 100 steps, 4 scorings


def test_a_long_training_names_a_shorter_one(clock, capsys):
    progress = in_training([60])
    with progress.shown():
        trained(progress, clock, 9.0, 1)
    assert re.search(r"about 3 h \d+ min here; --epochs 20 takes 1 h \d+ min \(9 s a step\)", capsys.readouterr().err)


def test_a_later_phase_is_measured_when_it_begins(clock, capsys):
    progress = in_training([2, 2])
    with progress.shown():
        trained(progress, clock, 9.0, 2)
    assert re.search(
        r"about 6 min (49|50) s more here up to epoch 2 of 4; the phase after it trains", capsys.readouterr().err
    )
    progress.position.phase = 1
    with progress.shown():
        trained(progress, clock, 30.0, 2)
    said = capsys.readouterr().err
    assert "about 22 min more here (30 s a step)" in said
    assert "epoch 3/4: compiling the first step" in said


def test_a_resumed_training_says_what_is_left(clock, capsys):
    progress = in_training([4], Position(epoch=2))
    with progress.shown():
        trained(progress, clock, 9.0, 1)
    assert re.search(r"about 6 min (49|50) s more here \(9 s a step\)", capsys.readouterr().err)


def test_nothing_is_estimated_that_is_over_soon(clock, capsys):
    progress = in_training([2])
    with progress.shown():
        trained(progress, clock, 0.01, 2)
    assert "about" not in capsys.readouterr().err


@contextmanager
def terminal(monkeypatch, kind):
    """stderr on a pseudo-terminal of 100 columns; gives a function that returns what was written to it."""
    ours, theirs = os.openpty()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", kind)
    with os.fdopen(theirs, "w", buffering=1) as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)

        def written():
            data = b""
            while select.select([ours], [], [], 0.3)[0]:
                data += os.read(ours, 100_000)
            return data.decode()

        yield written
    os.close(ours)


def test_a_terminal_shows_one_line_and_keeps_stdout_as_it_is(clock, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # a pipe, say
    with terminal(monkeypatch, "xterm") as written:
        progress = in_training([4])
        with progress.shown():
            clock.now += 12
            assert str(progress._renderable()) == "epoch 1/4 compiling the first step, 12 s"
            trained(progress, clock, 9.0, 1, until=(0, 5))
            line = progress._renderable()
            print("a user's own line")
            head, _, tail = (str(next(iter(column.cells))) for column in line.columns)
            with progress.scoring():
                assert str(progress._renderable()) == "epoch 1/4 scoring 10 validation images, 0 s"
        assert sys.stdout.getvalue() == "a user's own line\n"
        text = written()
    assert head == "epoch 1/4 step 5/25"
    assert re.match(r"15 min left \| loss 2.5 \| 0.4 images/s \| data 10% \| class_loss", tail)
    assert "epoch 1/4 step 5/25" in text and "a user's own line" not in text
    assert text.rstrip("\r").endswith("\x1b[2K")  # the line is gone in the end


def test_a_dumb_terminal_gets_lines(clock, monkeypatch):
    with terminal(monkeypatch, "dumb") as written:
        with in_training([4]).shown():
            pass
        assert written() == "epoch 1/4: compiling the first step\r\n"

"""What a run prints and writes while it trains."""

import csv
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from visionkit.files import whole_text
from visionkit.train import checkpoint
from visionkit.train.feed import Timed
from visionkit.train.options import Options
from visionkit.train.save import save_model
from visionkit.train.state import averaged, state_of
from visionkit.types import DataError


@dataclass
class Position:
    """Where a run is: its phase, from 0, how many epochs are finished, and how many steps of the epoch after them."""

    phase: int = 0
    epoch: int = 0
    step: int = 0


class _Callback(keras.callbacks.Callback):
    model: keras.Model  # `fit` sets it; Keras' own annotation is Optional


class Guard(_Callback):
    """Counts the steps, and stops the run when the loss or a weight is no longer a number.

    Args:
        position: is advanced at every step.
        crash: `(reason)` writes down what there is to see; `DataError` is raised after it.
    """

    def __init__(self, position: Position, crash: Callable[[str], None]):
        super().__init__()
        self.position = position
        self.crash = crash

    def on_train_batch_end(self, batch: int, logs: dict):
        if not math.isfinite(logs["loss"]):
            self.fail(f"the loss became {float(logs['loss'])}")
        self.position.step += 1

    def fail(self, reason: str, after: int = 0) -> None:
        """Raises `DataError`; `after` is 1 when the step to blame has been counted already."""
        self.position.step -= after
        reason += f" at epoch {self.position.epoch + 1}, step {self.position.step + 1}"
        self.crash(reason)
        raise DataError(f"{reason}; lower the learning rate, or look at the batch in crash/ of the run")


class Checkpoints(_Callback):
    """Writes a checkpoint at the end of every epoch, and within an epoch as often as the options ask for it.

    Args:
        folder: where the files go.
        guard: comes before this callback. It is told of weights that are no longer numbers; those are not written.
        steps: of an epoch.
        collect: `() -> dict` of all that is kept besides the model's state and the position.
    """

    def __init__(self, folder: Path, guard: Guard, steps: int, options: Options, collect: Callable[[], dict]):
        super().__init__()
        self.folder = folder
        self.guard = guard
        self.steps = steps
        self.options = options
        self.collect = collect
        self._written = time.monotonic()
        self._steps_since = 0

    def on_train_batch_end(self, batch: int, logs: dict):
        self._steps_since += 1
        seconds_since = time.monotonic() - self._written
        due = self._steps_since >= (self.options.checkpoint_steps or math.inf)
        due = due or seconds_since > 60 * self.options.checkpoint_minutes
        if due and self.guard.position.step < self.steps:  # the checkpoint at an epoch's end waits for its scores
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict):
        self._write()

    def _write(self) -> None:
        position = self.guard.position
        arrays = state_of(self.model)
        if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
            self.guard.fail("a weight, or what the optimizer keeps of it, is no longer a number", after=1)
        if position.step == self.steps:
            position.epoch += 1
            position.step = 0
        state = vars(position) | {"stopped": bool(self.model.stop_training)} | self.collect()
        done = position.epoch * self.steps + position.step
        checkpoint.save(self.folder, done, arrays, state, self.options.keep_checkpoints)
        self._written = time.monotonic()
        self._steps_since = 0


class Progress(_Callback):
    """One line that is rewritten while an epoch runs and stays when it ends: losses, images/s, time left.

    At the end of an epoch it also says for which share of the time training waited for data. That is an upper bound:
    TensorFlow fetches a batch while it computes on the one before.

    Args:
        waited: the seconds of waiting so far; those of each epoch are added when it ends.
    """

    feed: Timed  # what is trained on, set before each `fit`

    def __init__(self, epochs: int, steps: int, batch_size: int, position: Position, waited: float = 0.0):
        super().__init__()
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.position = position
        self.waited = waited
        self._live = sys.stderr.isatty()
        self._start = time.monotonic()
        self._steps_seen = 0
        self._width = 0  # of the line that is on the terminal

    def on_epoch_begin(self, epoch: int, logs: dict):
        self._epoch = epoch
        self._epoch_start = time.monotonic()
        self._epoch_steps = 0
        self._shown = 0.0
        self._waited_before = self.feed.waited

    def on_train_batch_end(self, batch: int, logs: dict):
        self._steps_seen += 1
        self._epoch_steps += 1
        self._last_step_end = time.monotonic()
        if self._live and time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            self._write(self._line(logs), end="\r")

    def on_epoch_end(self, epoch: int, logs: dict):
        waited = self.feed.waited - self._waited_before
        self.waited += waited
        share = waited / max(self._last_step_end - self._epoch_start, 1e-9)
        self._write(f"{self._line(logs)} | waited up to {min(share, 1):.0%} for data", end="\n")

    def _line(self, logs: dict) -> str:
        losses = " ".join(f"{k} {v:.4g}" for k, v in logs.items() if not k.startswith("val_"))
        scores = " ".join(f"{k} {v:.3f}" for k, v in logs.items() if k.startswith("val_"))
        rate = self._epoch_steps * self.batch_size / max(time.monotonic() - self._epoch_start, 1e-9)
        steps_left = (self.epochs - self.position.epoch) * self.steps - self.position.step
        seconds_left = steps_left * (time.monotonic() - self._start) / max(self._steps_seen, 1)
        parts = [
            f"epoch {self._epoch + 1}/{self.epochs}",
            losses,
            f"{rate:.1f} images/s",
            f"{_duration(seconds_left)} left",
            scores,
        ]
        return " | ".join(part for part in parts if part)

    def _write(self, line: str, end: str) -> None:
        sys.stderr.write(line.ljust(self._width) + end)
        sys.stderr.flush()
        self._width = len(line) if end == "\r" else 0


class History(_Callback):
    """Writes one row an epoch to history.csv, and the same numbers to TensorBoard's event file, without TensorFlow."""

    def __init__(self, out: Path):
        super().__init__()
        self.file = out / "history.csv"
        self.folder = out / "events"
        self.rows: list[dict] = []

    def restore(self, rows: list[dict]) -> None:
        """Goes back to the rows of a checkpoint; the epochs after it are trained, and written, again."""
        self.rows = rows
        for old in self.folder.glob("events.*"):
            old.unlink()
        self._write_table()
        self.on_train_begin()
        for row in rows:
            self._write_event(row)
        self.on_train_end()

    def on_train_begin(self, logs: dict | None = None):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.events = EventFileWriter(str(self.folder))

    def on_epoch_end(self, epoch: int, logs: dict):
        self.rows.append({"epoch": epoch + 1, "time": round(time.time(), 1)} | {k: float(v) for k, v in logs.items()})
        self._write_table()
        self._write_event(self.rows[-1])

    def on_train_end(self, logs: dict | None = None):
        self.events.close()

    def _write_table(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))  # not every epoch is scored
        with whole_text(self.file) as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def _write_event(self, row: dict) -> None:
        # Protobuf makes these classes when their modules are imported.
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        values = [Summary.Value(tag=k, simple_value=v) for k, v in row.items() if k not in ("epoch", "time")]
        self.events.add_event(Event(step=row["epoch"], wall_time=row["time"], summary=Summary(value=values)))
        self.events.flush()


class Score(_Callback):
    """Scores the validation set every few epochs through the serving path and saves the model of the best epoch.

    When the optimizer keeps an average of the weights, the average is what is scored and saved.

    Args:
        score: `() -> {name: number}`.
        every: epochs between two scorings.
        epochs: of the training; the last one is always scored.
        monitor: the name of the number that decides; higher is better.
        file: where the best model goes.
        patience: training stops after this many epochs without a better score; None never stops it.
        since: the epoch from which on patience counts.
    """

    def __init__(
        self,
        score: Callable[[], dict],
        every: int,
        epochs: int,
        monitor: str,
        file: Path,
        patience: int | None = None,
        since: int = 0,
    ):
        super().__init__()
        self.score = score
        self.every = every
        self.epochs = epochs
        self.monitor = monitor
        self.file = file
        self.patience = patience
        self.since = since
        self.best: dict | None = None  # the scores of the best epoch, and `epoch`, its number
        self.last: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict):
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        with averaged(self.model):
            scores = self.score()
            self.last = scores[self.monitor]
            logs[f"val_{self.monitor}"] = self.last
            if self.best is None or scores[self.monitor] > self.best[self.monitor]:
                self.best = scores | {"epoch": epoch + 1}
                save_model(self.model, self.file)
        if self.patience and epoch + 1 - max(self.best["epoch"], self.since) >= self.patience:
            print(f"{self.monitor} has not risen since epoch {self.best['epoch']}: stopping", file=sys.stderr)
            self.model.stop_training = True


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"

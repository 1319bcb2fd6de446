"""What a run shows and writes while it trains."""

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
from visionkit.train.options import Options
from visionkit.train.save import save_model
from visionkit.train.state import averaged, state_of
from visionkit.types import DataError


@dataclass
class Position:
    """Where a run is: its phase, from 0, how many epochs are done, and how many steps of the epoch after them."""

    phase: int = 0
    epoch: int = 0
    step: int = 0


class Guard(keras.callbacks.Callback):
    """Counts the steps, and stops the run when the loss or a weight is no longer a number.

    Args:
        position: is moved on.
        crash: `(reason)` leaves behind what there is to see; `DataError` is raised after it.
    """

    def __init__(self, position: Position, crash: Callable[[str], None]):
        super().__init__()
        self.position, self.crash = position, crash

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.fail(f"the loss became {float(logs['loss'])}")
        self.position.step += 1

    def fail(self, reason: str, after: int = 0):
        """Raises; `after` is 1 where the step that has been counted last is to blame."""
        self.position.step -= after
        reason += f" at epoch {self.position.epoch + 1}, step {self.position.step + 1}"
        self.crash(reason)
        raise DataError(f"{reason}; lower the learning rate, or look at the batch in crash/ of the run")


class Checkpoints(keras.callbacks.Callback):
    """Writes a checkpoint at every epoch's end, and within an epoch where the options say so.

    Args:
        folder: for the files.
        guard: comes before this callback; is told of weights that are no longer numbers, which are not written.
        steps: of an epoch.
        collect: `() -> dict` of all that is to be kept besides the model's state and the position.
    """

    def __init__(self, folder: Path, guard: Guard, steps: int, options: Options, collect: Callable[[], dict]):
        super().__init__()
        self.folder, self.guard, self.steps, self.options, self.collect = folder, guard, steps, options, collect
        self.written, self.since = time.monotonic(), 0

    def on_train_batch_end(self, batch, logs=None):
        self.since += 1
        due = self.options.checkpoint_steps and self.since >= self.options.checkpoint_steps
        due = due or time.monotonic() - self.written > 60 * self.options.checkpoint_minutes
        if due and self.guard.position.step < self.steps:  # at the end of an epoch its scores belong to it
            self._write()

    def on_epoch_end(self, epoch, logs=None):
        self._write()

    def _write(self):
        position, arrays = self.guard.position, state_of(self.model)
        if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
            self.guard.fail("a weight, or what the optimizer keeps of it, is no longer a number", after=1)
        if position.step == self.steps:
            position.epoch, position.step = position.epoch + 1, 0
        state = vars(position) | {"stopped": bool(self.model.stop_training)} | self.collect()
        done = position.epoch * self.steps + position.step
        checkpoint.save(self.folder, done, arrays, state, self.options.keep_checkpoints)
        self.written, self.since = time.monotonic(), 0


class Progress(keras.callbacks.Callback):
    """One line that is rewritten while an epoch runs and stays when it ends: losses, images/s, time left.

    At an epoch's end it says up to which share of the time training waited for data: TensorFlow fetches a batch while
    it computes on the one before. `waited` counts the seconds of all epochs that have ended, from what is given on.
    """

    def __init__(self, epochs: int, steps: int, batch_size: int, position: Position, waited: float = 0.0):
        super().__init__()
        self.epochs, self.steps, self.batch_size, self.position = epochs, steps, batch_size, position
        self.feed, self.waited = None, waited  # a `Timed` one
        self.live = sys.stderr.isatty()
        self.start, self.seen, self.width = time.monotonic(), 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.epoch_start, self.epoch_seen, self.shown = epoch, time.monotonic(), 0, 0.0
        self.waited_before = self.feed.waited

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        self.epoch_seen += 1
        self.steps_end = time.monotonic()
        if self.live and time.monotonic() - self.shown > 0.5:
            self.shown = time.monotonic()
            self._write(self._line(logs), end="\r")

    def on_epoch_end(self, epoch, logs=None):
        waited = self.feed.waited - self.waited_before
        self.waited += waited
        share = waited / max(self.steps_end - self.epoch_start, 1e-9)
        self._write(f"{self._line(logs)} | waited up to {min(share, 1):.0%} for data", end="\n")

    def _line(self, logs):
        losses = " ".join(f"{k} {v:.4g}" for k, v in logs.items() if not k.startswith("val_"))
        scores = " ".join(f"{k} {v:.3f}" for k, v in logs.items() if k.startswith("val_"))
        rate = self.epoch_seen * self.batch_size / max(time.monotonic() - self.epoch_start, 1e-9)
        left = self.epochs * self.steps - self.position.epoch * self.steps - self.position.step
        left *= (time.monotonic() - self.start) / max(self.seen, 1)
        parts = [
            f"epoch {self.epoch + 1}/{self.epochs}",
            losses,
            f"{rate:.1f} images/s",
            f"{_duration(left)} left",
            scores,
        ]
        return " | ".join(part for part in parts if part)

    def _write(self, line, end):
        sys.stderr.write(line.ljust(self.width) + end)
        sys.stderr.flush()
        self.width = len(line) if end == "\r" else 0


class History(keras.callbacks.Callback):
    """Writes one row an epoch to history.csv, and the same numbers to TensorBoard's event file, without TensorFlow."""

    def __init__(self, out: Path):
        super().__init__()
        self.file, self.folder, self.rows = out / "history.csv", out / "events", []

    def restore(self, rows: list[dict]):
        """Goes back to the rows of a checkpoint: what was written after it will come again."""
        self.rows = rows
        for old in self.folder.glob("events.*"):
            old.unlink()
        self._write_table()
        self.on_train_begin()
        for row in rows:
            self._write_event(row)
        self.on_train_end()

    def on_train_begin(self, logs=None):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.events = EventFileWriter(str(self.folder))

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append({"epoch": epoch + 1, "time": round(time.time(), 1)} | {k: float(v) for k, v in logs.items()})
        self._write_table()
        self._write_event(self.rows[-1])

    def on_train_end(self, logs=None):
        self.events.close()

    def _write_table(self):
        columns = list(dict.fromkeys(key for row in self.rows for key in row))  # scores come every few epochs only

        with whole_text(self.file) as stream:
            writer = csv.DictWriter(stream, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def _write_event(self, row):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=k, simple_value=v) for k, v in row.items() if k not in ("epoch", "time")]
        self.events.add_event(Event(step=row["epoch"], wall_time=row["time"], summary=Summary(value=values)))
        self.events.flush()


class Score(keras.callbacks.Callback):
    """Scores the validation set every few epochs through the serving path and saves the model of the best epoch.

    Where the optimizer keeps an average of the weights, that is what is scored and saved.

    Args:
        score: `() -> {name: number}`.
        monitor: the name that decides; higher is better.
        file: where the best model goes.
        patience: training stops when for so many epochs none was better; None never stops it.
        since: epochs before patience begins to count.
    """

    def __init__(self, score, every: int, epochs: int, monitor: str, file: Path, patience=None, since: int = 0):
        super().__init__()
        self.score, self.every, self.epochs, self.monitor, self.file = score, every, epochs, monitor, file
        self.patience, self.since = patience, since
        self.best = self.last = None

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        with averaged(self.model):
            scores = self.score()
            logs[f"val_{self.monitor}"] = self.last = scores[self.monitor]
            if self.best is None or scores[self.monitor] > self.best[self.monitor]:
                self.best = scores | {"epoch": epoch + 1}
                save_model(self.model, self.file)
        if self.patience and epoch + 1 - max(self.best["epoch"], self.since) >= self.patience:
            print(f"{self.monitor} has not risen since epoch {self.best['epoch']}: stopping", file=sys.stderr)
            self.model.stop_training = True


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"

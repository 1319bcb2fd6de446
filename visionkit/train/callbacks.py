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
from visionkit.train.interrupt import Interrupted, Interruption
from visionkit.train.options import Options
from visionkit.train.resume import command_to_resume
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

    When the training is to end, a checkpoint is written after the step and `Interrupted` is raised; after the last step
    of an epoch that waits for the epoch's scores.

    Args:
        folder: where the files go, in the run's folder.
        guard: comes before this callback. It is told of weights that are no longer numbers; those are not written.
        steps: of an epoch.
        collect: `() -> dict` of all that is kept besides the model's state and the position.
        interruption: says whether the training is to end.
    """

    def __init__(
        self,
        folder: Path,
        guard: Guard,
        steps: int,
        options: Options,
        collect: Callable[[], dict],
        interruption: Interruption,
    ):
        super().__init__()
        self.folder = folder
        self.guard = guard
        self.steps = steps
        self.options = options
        self.collect = collect
        self.interruption = interruption
        self._written = time.monotonic()
        self._steps_since = 0

    def on_train_batch_end(self, batch: int, logs: dict):
        self._steps_since += 1
        seconds_since = time.monotonic() - self._written
        due = self._steps_since >= (self.options.checkpoint_steps or math.inf)
        due = due or seconds_since > 60 * self.options.checkpoint_minutes or self.interruption.asked is not None
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
        if self.interruption.asked is not None:
            where = f"after epoch {position.epoch}"
            if position.step:
                where = f"in epoch {position.epoch + 1} after {position.step} of {self.steps} steps"
            go_on = command_to_resume(self.folder.parent)
            raise Interrupted(
                f"interrupted {where}; a checkpoint was written, to go on: {go_on}", self.interruption.asked
            )


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

    Of epochs with the same score, which small validation sets give often, the last one counts: it has learned for
    longer, and at a lower rate. Patience still counts from the first of them.

    When the optimizer keeps an average of the weights, the average is what is scored and saved.

    Args:
        score: `() -> {name: number}`.
        every: epochs between two scorings.
        epochs: of the training; the last one is always scored.
        monitor: the name of the number that decides; higher is better.
        save: `()` saves the model; called when its score is the best so far.
        patience: training stops after this many epochs without a better score; None never stops it.
        since: the epoch from which on patience counts.
    """

    def __init__(
        self,
        score: Callable[[], dict],
        every: int,
        epochs: int,
        monitor: str,
        save: Callable[[], None],
        patience: int | None = None,
        since: int = 0,
    ):
        super().__init__()
        self.score = score
        self.every = every
        self.epochs = epochs
        self.monitor = monitor
        self.save = save
        self.patience = patience
        self.since = since
        self.best: dict | None = None  # the scores of the best epoch, and `epoch`, its number
        self.risen = 0  # the first epoch with that score
        self.last: float | None = None

    def on_epoch_end(self, epoch: int, logs: dict):
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        with averaged(self.model):
            scores = self.score()
            self.last = scores[self.monitor]
            logs[f"val_{self.monitor}"] = self.last
            if self.best is None or self.last > self.best[self.monitor]:
                self.risen = epoch + 1
            if self.best is None or self.last >= self.best[self.monitor]:
                self.best = scores | {"epoch": epoch + 1}
                self.save()
        if self.patience and epoch + 1 - max(self.risen, self.since) >= self.patience:
            print(f"{self.monitor} has not risen since epoch {self.risen}: stopping", file=sys.stderr)
            self.model.stop_training = True

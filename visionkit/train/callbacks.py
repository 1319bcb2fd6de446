"""What a run shows and writes while it trains."""

import csv
import math
import sys
import time
from pathlib import Path

import keras

from visionkit.train.save import save_model
from visionkit.types import DataError


class Progress(keras.callbacks.Callback):
    """One line that is rewritten while an epoch runs and stays when it ends: losses, images/s, time left.

    It also stops the run with a reason when the loss is no longer a number.
    """

    def __init__(self, epochs: int, steps: int, batch_size: int):
        super().__init__()
        self.epochs, self.steps, self.batch_size = epochs, steps, batch_size
        self.live = sys.stderr.isatty()
        self.start, self.seen, self.width = time.monotonic(), 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.epoch_start, self.epoch_seen, self.shown = epoch, time.monotonic(), 0, 0.0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        self.epoch_seen += 1
        if not math.isfinite(logs["loss"]):
            raise DataError(
                f"the loss became {logs['loss']} at epoch {self.epoch + 1}, step {batch + 1}; "
                f"lower the learning rate, or look at the boxes in first_batch.jpg of the run"
            )
        if self.live and time.monotonic() - self.shown > 0.5:
            self.shown = time.monotonic()
            self._write(self._line(logs), end="\r")

    def on_epoch_end(self, epoch, logs=None):
        self._write(self._line(logs), end="\n")

    def _line(self, logs):
        losses = " ".join(f"{k} {v:.4g}" for k, v in logs.items() if not k.startswith("val_"))
        scores = " ".join(f"{k} {v:.3f}" for k, v in logs.items() if k.startswith("val_"))
        rate = self.epoch_seen * self.batch_size / max(time.monotonic() - self.epoch_start, 1e-9)
        left = (self.epochs * self.steps - self.seen) * (time.monotonic() - self.start) / max(self.seen, 1)
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
    """Appends one row an epoch to history.csv, and the same numbers to TensorBoard's event file, without TensorFlow."""

    def __init__(self, out: Path):
        super().__init__()
        self.file, self.folder, self.rows = out / "history.csv", out / "events", []

    def on_train_begin(self, logs=None):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.events = EventFileWriter(str(self.folder))

    def on_epoch_end(self, epoch, logs=None):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        row = {"epoch": epoch + 1, "time": round(time.time(), 1)} | {k: float(v) for k, v in logs.items()}
        self.rows.append(row)
        columns = list(dict.fromkeys(key for row in self.rows for key in row))  # scores come every few epochs only
        with self.file.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        values = [Summary.Value(tag=k, simple_value=v) for k, v in row.items() if k not in ("epoch", "time")]
        self.events.add_event(Event(step=epoch + 1, wall_time=row["time"], summary=Summary(value=values)))
        self.events.flush()

    def on_train_end(self, logs=None):
        self.events.close()


class Score(keras.callbacks.Callback):
    """Scores the validation set every few epochs through the serving path and saves the model of the best epoch.

    Args:
        score: `() -> {name: number}`.
        monitor: the name that decides; higher is better.
        file: where the best model goes.
    """

    def __init__(self, score, every: int, epochs: int, monitor: str, file: Path):
        super().__init__()
        self.score, self.every, self.epochs, self.monitor, self.file = score, every, epochs, monitor, file
        self.best = self.last = None

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every and epoch + 1 != self.epochs:
            return
        scores = self.score()
        logs[f"val_{self.monitor}"] = self.last = scores[self.monitor]
        if self.best is None or scores[self.monitor] > self.best[self.monitor]:
            self.best = scores | {"epoch": epoch + 1}
            save_model(self.model, self.file)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours else f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"

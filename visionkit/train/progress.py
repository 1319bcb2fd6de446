"""What a training shows while it runs: a live line on a terminal, and in a log file a line a minute."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import keras
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from visionkit.train.callbacks import Position
from visionkit.train.feed import Timed
from visionkit.train.plan import Plan, duration

MINUTE = 60.0  # seconds between two lines in a log file
WARM_UP = 2  # steps of a `fit` that are not counted: they compile
MEASURED = 20, 15.0  # after so many steps, or seconds and at least 5 steps, it is said how long the training takes
SOON = 30.0  # seconds
BAR = 8, 30  # columns of the bar: at least, at most


class Progress(keras.callbacks.Callback):
    """Where the training is, how fast it is and how long it will take, on stderr.

    On a terminal one line is rewritten four times a second, by a thread; a step only notes its numbers. It stays when
    an epoch ends, and says then for which share of the time training waited for data. That is an upper bound:
    TensorFlow fetches a batch while it computes on the one before.

    Args:
        plan: the whole training.
        position: is advanced by somebody else.
        waited: the seconds of waiting for data so far; those of each epoch are added when it ends.
    """

    feed: Timed  # what is trained on, set before each `fit`

    def __init__(self, plan: Plan, position: Position, waited: float = 0.0):
        super().__init__()
        self.plan = plan
        self.position = position
        self.waited = waited
        self._begun = position.epoch + position.step / plan.steps
        self._start = time.monotonic()
        self._scoring: float | None = None  # seconds of the last scoring
        self._console = Console(stderr=True)
        self._live = sys.stderr.isatty() and not self._console.is_dumb_terminal
        self._doing = ""  # what is being done other than steps
        self._logs: dict = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the live line inside this context, which is one `fit`, if stderr is a terminal."""
        self._steps = 0  # of this `fit`
        self._counted = 0  # those whose time is in `_seconds`
        self._seconds = 0.0
        self._told = False
        if not self._live:
            self._say(f"{self._epoch()}: compiling the first step")
            yield
            return
        with self.doing("compiling the first step"):
            # Where stdout is a pipe, what is printed must not be led to the terminal.
            both = sys.stdout.isatty()
            with Live(console=self._console, get_renderable=self._renderable, transient=True, redirect_stdout=both):
                self._console.show_cursor(True)  # a process that is killed would leave it hidden
                yield

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Shows `what` in place of the steps."""
        self._doing, self._doing_since = what, time.monotonic()
        try:
            yield
        finally:
            self._doing = ""

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Shows that the validation images are scored, and measures how long that takes."""
        start = time.monotonic()
        with self.doing(f"scoring {self.plan.val_images} validation images"):
            yield
        self._scoring = time.monotonic() - start

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_start = self._last = self._shown = time.monotonic()
        self._epoch_steps = 0
        self._waited_before = self.feed.waited

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self._doing = ""
        self._logs = logs
        now = time.monotonic()
        if self._steps >= WARM_UP:
            self._counted += 1
            self._seconds += now - self._last
        self._steps += 1
        self._epoch_steps += 1
        self._last = now
        if not self._told and self._counted >= 5 and (self._counted >= MEASURED[0] or self._seconds > MEASURED[1]):
            self._tell()
        if not self._live and now - self._shown > MINUTE:
            self._shown = now
            self._say(self._head() + " | " + self._tail(logs))

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        waited = self.feed.waited - self._waited_before
        self.waited += waited
        share = waited / max(self._last - self._epoch_start, 1e-9)
        scores = " ".join(f"{name} {value:.3f}" for name, value in logs.items() if name.startswith("val_"))
        losses = " ".join(self._losses(logs))
        parts = [f"epoch {epoch + 1}/{self.plan.epochs}", losses, self._rate(), self._left(), scores]
        self._say(" | ".join([*filter(None, parts), f"waited up to {min(share, 1):.0%} for data"]))

    def pace(self, steps: int) -> tuple[float, float | None] | None:
        """(seconds of a step, seconds of the last scoring if there was one); None before so many steps of a `fit`."""
        return None if self._counted < steps else (self._seconds / self._counted, self._scoring)

    def _tell(self) -> None:
        """Says once a `fit` how long it all takes, by the steps so far; unless it is over soon."""
        self._told = True
        if self._seconds_left() < SOON:
            return
        step = self._seconds / self._counted
        if self._last_phase():
            total = time.monotonic() - self._start + self._seconds_left()
            whole = self._begun == 0 and len(self.plan.phases) == 1
            text = self.plan.in_words(total) if whole else f"about {duration(self._seconds_left())} more here"
        else:
            text = (
                f"about {duration(self._seconds_left())} more here up to epoch {self.plan.end(self.position.phase)} of "
                f"{self.plan.epochs}; the phase after it trains another part and is measured when it begins"
            )
        self._say(f"{text} ({step:.2g} s a step)")

    def _last_phase(self) -> bool:
        return self.position.phase == len(self.plan.phases) - 1

    def _seconds_left(self) -> float:
        """Of the present phase."""
        done = self.position.epoch + self.position.step / self.plan.steps
        step = self._seconds / max(self._counted, 1)
        return self.plan.seconds(done, self.plan.end(self.position.phase), step, self._scoring)

    # The parts of the line.

    def _epoch(self) -> str:
        return f"epoch {min(self.position.epoch + 1, self.plan.epochs)}/{self.plan.epochs}"

    def _head(self) -> str:
        return f"{self._epoch()} step {self.position.step}/{self.plan.steps}"

    def _tail(self, logs: dict) -> str:
        waited = (self.feed.waited - self._waited_before) / max(time.monotonic() - self._epoch_start, 1e-9)
        loss, *others = self._losses(logs)  # what may be cut off in a narrow terminal comes last
        parts = [self._left(), loss, self._rate(), f"data {min(waited, 1):.0%}", " ".join(others)]
        return " | ".join(filter(None, parts))

    def _losses(self, logs: dict) -> list[str]:
        """The loss, and what else is measured on the training images."""
        names = sorted((name for name in logs if not name.startswith("val_")), key=lambda name: name != "loss")
        return [f"{name} {logs[name]:.4g}" for name in names]

    def _rate(self) -> str:
        seconds = max(self._last - self._epoch_start, 1e-9)
        if self._counted:  # without the steps that compile
            return f"{self.plan.batch_size * self._counted / max(self._seconds, 1e-9):.1f} images/s"
        return f"{self.plan.batch_size * self._epoch_steps / seconds:.1f} images/s"

    def _left(self) -> str:
        if not self._counted or not self._seconds_left():
            return ""
        phase = "" if self._last_phase() else f" of phase {self.position.phase + 1}/{len(self.plan.phases)}"
        return f"{duration(self._seconds_left())} left{phase}"

    def _renderable(self) -> Table | Text:
        """The live line, called by rich's thread."""
        if self._doing:
            seconds = duration(time.monotonic() - self._doing_since)
            return Text(f"{self._epoch()} {self._doing}, {seconds}", "cyan", no_wrap=True)
        head, tail = self._head(), self._tail(self._logs)
        room = self._console.width - len(head) - len(tail) - 3
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column()
        line.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(self.plan.steps, self.position.step, width=min(max(room, BAR[0]), BAR[1]))
        line.add_row(Text(head), bar, Text(tail))
        return line

    def _say(self, line: str) -> None:
        """Prints a line that stays."""
        if self._live:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

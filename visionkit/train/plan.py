"""How much work a training is, and how long that takes at a measured pace."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SCORED = 0.5  # of the time for learning from an image is what scoring one takes, until it has been measured
LONG = 30 * 60  # seconds; for longer trainings, fewer epochs are suggested


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The work of a training.

    Args:
        phases: the epochs of each phase.
        steps: of an epoch.
        batch_size: images a step.
        val_images: that are scored on; 0 scores nothing.
        every: epochs between two scorings; the last epoch is always scored.
        shorter: whether the number of epochs is a knob of the recipe, so that fewer can be suggested.
    """

    phases: Sequence[int]
    steps: int
    batch_size: int
    val_images: int = 0
    every: int = 1
    shorter: bool = False

    @property
    def epochs(self) -> int:
        """Of all phases."""
        return sum(self.phases)

    def end(self, phase: int) -> int:
        """The number of epochs that are done when `phase`, from 0, is over."""
        return sum(self.phases[: phase + 1])

    def scorings(self, begin: int, end: int) -> int:
        """How often is scored in the epochs after the first `begin`, up to epoch `end`."""
        if not self.val_images:
            return 0
        count = end // self.every - begin // self.every
        return count + (begin < self.epochs == end and bool(end % self.every))

    def seconds(self, begin: float, end: int, step: float, scoring: float | None = None) -> float:
        """How long it takes from `begin` to `end`, in epochs that are done.

        Args:
            step: seconds of a step.
            scoring: seconds of a scoring; None guesses by the time of a step.
        """
        if scoring is None:
            scoring = SCORED * step * self.val_images / self.batch_size
        return (end - begin) * self.steps * step + self.scorings(math.floor(begin), end) * scoring

    def in_words(self, total: float) -> str:
        """How long all epochs take, and where that is long, how long a third of them would."""
        text = f"about {duration(total)} here"
        fewer = round(self.epochs / 3)
        if self.shorter and total > LONG and fewer:
            text += f"; --epochs {fewer} takes {duration(total * fewer / self.epochs)}"
        return text


def duration(seconds: float) -> str:
    """A time as people say it: 4 h 20 min, 12 min, 3 min 20 s, 8 s."""
    if seconds < 60:
        return f"{round(seconds)} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"

"""A training that has to end in time: what `--minutes` planned, and what happens where steps are slower than that."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from visionkit.train.progress import Progress

FILE = "budget.json"  # in the run's folder: what was measured and chosen
LATE = 1.1  # times the time that is left: a training that needs more is shortened
SURE = 10  # steps by which it is known how fast it is


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The time that a training has.

    Args:
        ends: when its last epoch must be over, by `time.monotonic`.
        plan: what was measured and chosen, for budget.json.
    """

    ends: float
    plan: dict[str, Any]


class Deadline(keras.callbacks.Callback):
    """Leaves out epochs of the last phase where they would not end in time.

    It looks at the end of each epoch, so a training can be late by part of an epoch.

    Args:
        progress: has measured the steps and the scoring.
        ends: when the last epoch must be over, by `time.monotonic`; infinity leaves nothing out.
        shorten: leaves out so many epochs of the last phase.
    """

    model: keras.Model  # `fit` sets it; Keras' own annotation is Optional

    def __init__(self, progress: Progress, ends: float, shorten: Callable[[int], None]):
        super().__init__()
        self.progress = progress
        self.ends = ends
        self.shorten = shorten

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        plan = self.progress.plan
        left = plan.epochs - (epoch + 1)
        pace = self.progress.pace(SURE)
        if left and pace is not None and epoch + 1 > plan.epochs - plan.phases[-1]:
            fit = self._fitting(left, *pace)
            if fit < left:
                print(f"slower than planned: {left - fit} of the {left} epochs left are left out", file=sys.stderr)
                self.shorten(left - fit)
        # `fit` was told how many epochs there are before any was left out.
        if epoch + 1 >= self.progress.plan.epochs:
            self.model.stop_training = True

    def _fitting(self, left: int, step: float, scoring: float | None) -> int:
        """How many of the epochs that are left to train, at least one."""
        plan, seconds = self.progress.plan, self.ends - time.monotonic()
        if math.isinf(seconds) or plan.seconds(plan.epochs - left, plan.epochs, step, scoring) <= LATE * seconds:
            return left
        for count in range(left - 1, 1, -1):
            if plan.seconds(plan.epochs - count, plan.epochs, step, scoring) <= seconds:
                return count
        return 1

"""The learning rate of a recipe's optimizer: reading it, and schedules to replace it."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from visionkit.types import Tensor


def rate_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """A schedule `step -> rate`, or a variable that holds the rate."""
    return optimizer._learning_rate  # the property `learning_rate` gives only the value at the present step


def peak_rate(optimizer: keras.optimizers.Optimizer, steps: int) -> float:
    """The highest rate in the first `steps` steps, sampled at about 200 of them."""
    rate = rate_of(optimizer)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate)
    return max(float(rate(step)) for step in range(0, steps, max(1, steps // 200)))


class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """From `low` to `high` in `steps` steps, each by the same factor above the one before it."""

    def __init__(self, low: float, high: float, steps: int):
        self.low = low
        self.high = high
        self.steps = steps

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        factor: Tensor = ops.power(self.high / self.low, step / max(1, self.steps - 1))
        return self.low * factor

    def get_config(self) -> dict:
        return {"low": self.low, "high": self.high, "steps": self.steps}


class Hurried(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule `rate`, made for `planned` steps, compressed into `steps` steps."""

    def __init__(self, rate: Callable[[Tensor], Tensor], planned: int, steps: int):
        self.rate = rate
        self.planned = planned
        self.steps = steps

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        return self.rate(step * (self.planned / self.steps))

    def get_config(self) -> dict:
        return {"rate": self.rate, "planned": self.planned, "steps": self.steps}

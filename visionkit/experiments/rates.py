"""The learning rate of a recipe's optimizer: what it is, and putting another course of it in its place."""

import keras
from keras import ops


def rate_of(optimizer: keras.optimizers.Optimizer):
    """A schedule `step -> rate`, or a variable that holds the rate."""
    return optimizer._learning_rate  # `learning_rate` gives its value at the present step alone


def peak_rate(optimizer: keras.optimizers.Optimizer, steps: int) -> float:
    """The highest rate in so many steps, looked up at 200 of them."""
    rate = rate_of(optimizer)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(rate)
    return max(float(rate(step)) for step in range(0, steps, max(1, steps // 200)))


class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """From `low` to `high` in `steps` steps, each by the same factor above the one before."""

    def __init__(self, low: float, high: float, steps: int):
        self.low, self.high, self.steps = low, high, steps

    def __call__(self, step):
        share = ops.cast(step, "float32") / max(1, self.steps - 1)
        return self.low * ops.power(self.high / self.low, share)

    def get_config(self):
        return {"low": self.low, "high": self.high, "steps": self.steps}


class Hurried(keras.optimizers.schedules.LearningRateSchedule):
    """The course of `rate` in `steps` steps instead of `planned`."""

    def __init__(self, rate, planned: int, steps: int):
        self.rate, self.planned, self.steps = rate, planned, steps

    def __call__(self, step):
        return self.rate(ops.cast(step, "float32") * (self.planned / self.steps))

    def get_config(self):
        return {"rate": self.rate, "planned": self.planned, "steps": self.steps}

"""How weights are moved: the knobs of optimizers and schedules that recipes share. Imports no framework."""

from dataclasses import dataclass
from typing import Literal

from visionkit.types import DataError


@dataclass(frozen=True, kw_only=True)
class Learning:
    """A recipe that takes one of these as its knob `learning` makes its optimizers with `optimizer_for`.

    Args:
        optimizer: momentum and nesterov are SGD with `momentum`.
        schedule: of the learning rate, after the warm-up: half a cosine down to zero, a tenth of it from 2/3 and a
            hundredth from 8/9 of the steps on, or constant.
        warmup: the share of the steps in which the rate rises to its peak.
        momentum: of momentum, nesterov and rmsprop.
        weight_decay: the share of a weight, times the learning rate, that is taken off at each step; apart from the
            gradient (arXiv 1711.05101).
        l1, l2: what the absolute values and the squares of kernels add to the loss, times this.
        clip: the gradient of all weights together is made no longer than this; by default the recipe's.
        ema: the average of the weights, each step counting this share of the one after it, such as 0.999, is what is
            scored and saved; 0 for none. In a phase of fewer than ten thousand steps the share is smaller, so that the
            last tenth of them counts most and not the weights that it began with.
        accumulate: batches whose gradients are averaged into one step.
    """

    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = "adamw"
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    l1: float = 0.0
    l2: float = 0.0
    clip: float | None = None
    ema: float = 0.0
    accumulate: int = 1

    def optimizer_for(self, model, batches: int, lr: float):
        """A Keras optimizer of `model` for so many batches, of peak rate `lr`; also sets the kernels' L1 and L2."""
        import keras

        from visionkit.train.recipe import schedule

        if self.accumulate < 1:
            raise DataError(f"--accumulate: expected 1 or more, found {self.accumulate}")
        if not 0 <= self.ema < 1:
            raise DataError(f"--ema: expected 0 to below 1, such as 0.999, found {self.ema:g}")

        if self.l1 or self.l2:
            for variable in model.trainable_variables:
                if len(variable.shape) > 1:  # kernels; what is shorter is a bias or belongs to a norm
                    variable.regularizer = keras.regularizers.L1L2(self.l1, self.l2)
        most = 1 - 10 / max(11, batches / self.accumulate)  # of 1,000 steps 0.99
        rate = schedule(batches, lr, self.warmup, self.schedule)
        options = {
            "weight_decay": self.weight_decay or (0.0 if self.optimizer == "adamw" else None),
            "global_clipnorm": self.clip,
            "use_ema": self.ema > 0,
            "ema_momentum": min(self.ema, most) ** (1 / self.accumulate),  # Keras averages by batches
            "gradient_accumulation_steps": self.accumulate if self.accumulate > 1 else None,
        }
        make = {
            "sgd": keras.optimizers.SGD,
            "momentum": lambda *a, **o: keras.optimizers.SGD(*a, momentum=self.momentum, **o),
            "nesterov": lambda *a, **o: keras.optimizers.SGD(*a, momentum=self.momentum, nesterov=True, **o),
            "adagrad": keras.optimizers.Adagrad,
            "rmsprop": lambda *a, **o: keras.optimizers.RMSprop(*a, momentum=self.momentum, **o),
            "adam": keras.optimizers.Adam,
            "adamw": keras.optimizers.AdamW,
        }[self.optimizer]
        return make(rate, **options)

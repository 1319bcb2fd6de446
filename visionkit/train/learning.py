"""The knobs of optimizers and learning rate schedules that recipes share. Imports no framework at module level."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from visionkit.types import DataError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How the weights are updated: a recipe with a knob `learning` of this type makes its optimizers with it.

    Args:
        optimizer: momentum and nesterov are SGD with `momentum`.
        schedule: of the learning rate after the warm-up: half a cosine down to zero; steps, a tenth of the rate from
            2/3 of the training on and a hundredth from 8/9 on; or constant.
        warmup: the share of the training in which the rate rises to its peak.
        momentum: of momentum, nesterov and rmsprop.
        weight_decay: at each step a weight loses this share of itself, times the learning rate; decoupled from the
            gradient (arXiv 1711.05101).
        l1, l2: factors of the kernels' absolute values and squares, which are added to the loss.
        clip: the gradient of all weights together is scaled down to this length; by default the recipe's choice.
        ema: decay of an exponential moving average of the weights, such as 0.999; the average is what is scored and
            saved. 0 for none. In a phase of fewer than ten thousand steps the decay is smaller, so that the last tenth
            of the steps counts most and not the weights at the start.
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

    def optimizer_for(self, model: "keras.Model", batches: int, lr: float) -> "keras.optimizers.Optimizer":
        """A Keras optimizer for `model`. Also sets the L1 and L2 regularizers of the model's kernels.

        Args:
            batches: that the optimizer will be trained with; the schedule is stretched over them.
            lr: the peak learning rate.

        Raises:
            DataError: `accumulate` or `ema` is out of its range.
        """
        import keras

        from visionkit.train.recipe import schedule

        if self.accumulate < 1:
            raise DataError(f"--accumulate: expected 1 or more, found {self.accumulate}")
        if not 0 <= self.ema < 1:
            raise DataError(f"--ema: expected 0 to below 1, such as 0.999, found {self.ema:g}")

        if self.l1 or self.l2:
            for variable in model.trainable_variables:
                if len(variable.shape) > 1:  # a kernel; anything with fewer axes is a bias or belongs to a norm
                    variable.regularizer = keras.regularizers.L1L2(self.l1, self.l2)
        longest = 1 - 10 / max(11, batches / self.accumulate)  # the decay for 1,000 steps is at most 0.99
        options = {
            "learning_rate": schedule(batches, lr, self.warmup, self.schedule),
            "weight_decay": self.weight_decay or (0.0 if self.optimizer == "adamw" else None),
            "global_clipnorm": self.clip,
            "use_ema": self.ema > 0,
            "ema_momentum": min(self.ema, longest) ** (1 / self.accumulate),  # Keras averages after every batch
            "gradient_accumulation_steps": self.accumulate if self.accumulate > 1 else None,
        }
        match self.optimizer:
            case "sgd":
                return keras.optimizers.SGD(**options)
            case "momentum":
                return keras.optimizers.SGD(momentum=self.momentum, **options)
            case "nesterov":
                return keras.optimizers.SGD(momentum=self.momentum, nesterov=True, **options)
            case "adagrad":
                return keras.optimizers.Adagrad(**options)
            case "rmsprop":
                return keras.optimizers.RMSprop(momentum=self.momentum, **options)
            case "adam":
                return keras.optimizers.Adam(**options)
            case "adamw":
                return keras.optimizers.AdamW(**options)

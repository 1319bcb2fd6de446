"""A recipe: which model is trained on which data, and how.

Users write it as a Python function that returns a `Recipe`; the function's keyword arguments are its knobs.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import keras
from keras import ops

from visionkit.data.batches import batches
from visionkit.data.dataset import Dataset
from visionkit.models.task import Task
from visionkit.types import DataError, Tensor


@dataclass
class Phase:
    """A stretch of training with one optimizer, one set of trainable layers and one size of the images.

    Args:
        epochs: passes over the training data.
        optimizer: a Keras optimizer; its learning rate may be a schedule.
        prepare: called before the phase, to freeze and unfreeze layers.
        transform: replaces the recipe's; its size may differ from the recipe's if the model takes images of any size.
    """

    epochs: int
    optimizer: keras.optimizers.Optimizer
    prepare: Callable[[], None] = lambda: None
    transform: Callable | None = None


@dataclass(kw_only=True)
class Recipe:
    """Everything that a run needs.

    Args:
        model: the model to train, with its pretrained weights loaded.
        train: the data to learn from.
        transform: `(sample, seed) -> sample` of the network's size, for training; None if the images have that size.
        phases: most recipes have one; fine-tuning a classifier trains the head first.
        batch_size: images per step.
        val: the data that the model is scored on while it trains; the best epoch is kept. None keeps the last epoch.
        evaluate_every: epochs between two scorings of `val`; the last epoch is always scored.
        patience: training stops after this many epochs of the last phase without a better score; None never stops it.
        mix: blends the images and labels of a classification batch; see `data.mix`.
        max_objects: of an image with more objects, only this many are learned, the largest; None learns all. The masks
            of a batch take batch_size * max_objects * pixels bytes.
        seed: of the order of the images, the augmentation and the model's random draws.

    Raises:
        DataError: `patience` is given without `val`, or the batch or a phase is empty.
    """

    model: Task
    train: Dataset
    phases: Sequence[Phase]
    batch_size: int
    transform: Callable | None = None
    val: Dataset | None = None
    evaluate_every: int = 5
    patience: int | None = None
    mix: Callable | None = None
    max_objects: int | None = None
    seed: int = 0

    def __post_init__(self):
        if self.patience and self.val is None:
            raise DataError(
                f"--patience {self.patience}: no images are held back to be scored on (where there is a test split, "
                "val is learned from too); leave it out"
            )
        if self.batch_size < 1:
            raise DataError(f"batch_size: expected 1 or more, found {self.batch_size}")
        for phase in self.phases:
            if phase.epochs < 1:
                raise DataError(f"epochs: expected 1 or more in each phase, found {phase.epochs}")

    @property
    def epochs(self) -> int:
        """Passes over the training data in all phases."""
        return sum(phase.epochs for phase in self.phases)

    def transform_in(self, phase: Phase) -> Callable | None:
        """Returns the transform for the samples of `phase`."""
        return phase.transform or self.transform

    def feed(
        self,
        phase: Phase,
        epochs: int = 1,
        batch_size: int | None = None,
        start_step: int = 0,
        workers: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> grain.IterDataset:
        """The training data as the model takes them in `phase`: (images, targets), see `data.batches.batches`.

        Args:
            phase: of this recipe.
            epochs, start_step, workers, part: see there.
            batch_size: by default the recipe's.

        Returns:
            What `batches` returns.
        """
        return batches(
            self.train,
            self.transform_in(phase),
            batch_size or self.batch_size,
            task=self.model.task,
            seed=self.seed,
            epochs=epochs,
            mix=self.mix,
            max_objects=self.max_objects,
            channels=self.model.channels,
            start_step=start_step,
            workers=workers,
            part=part,
        )


def build_recipe(recipe_function: Callable[..., Recipe], knobs: dict, precision: str = "float32") -> Recipe:
    """What `recipe_function(**knobs)` returns, with the knobs' seed and in the precision of a run."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        keras.utils.set_random_seed(knobs.get("seed", 0))
        return recipe_function(**knobs)
    finally:
        keras.config.set_dtype_policy(policy)


def load_recipe(file: Path) -> Callable[..., Recipe]:
    """The function `recipe` of the Python file `file`. The file is executed: run only recipes that you trust."""
    if not file.is_file():
        raise DataError(f"{file}: there is no such recipe file; a recipe is a Python file with a function recipe(...)")
    spec = importlib.util.spec_from_file_location(f"visionkit_recipe_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise DataError(f"{file}: a recipe is a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "recipe"):
        raise DataError(f"{file}: expected a function recipe(...) -> Recipe, found none")
    return module.recipe


def schedule(
    steps: int, lr: float, warmup: float = 0.05, shape: str = "cosine"
) -> Any:  # a LearningRateSchedule; Keras' optimizers take it, but their annotations know only numbers
    """A learning rate that warms up linearly and then follows `shape`.

    Args:
        steps: of the whole training.
        lr: the peak rate.
        warmup: the share of `steps` in which the rate rises to `lr`.
        shape: "cosine", half a cosine down to zero (arXiv 1608.03983); "step", a tenth of `lr` from 2/3 of `steps` on
            and a hundredth from 8/9 on; or "constant".

    Returns:
        A schedule of Keras, for `learning_rate` of an optimizer.
    """
    warmup_steps = int(warmup * steps)
    if shape == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=lr / 100,
            decay_steps=max(1, steps - warmup_steps),
            warmup_target=lr,
            warmup_steps=warmup_steps,
        )
    drops = {"step": (steps * 2 // 3, steps * 8 // 9), "constant": ()}[shape]
    return _Steps(lr, warmup_steps, drops)


class _Steps(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from a hundredth of `lr` to `lr`, which falls to a tenth at each of the steps `drops`."""

    def __init__(self, lr: float, warmup_steps: int, drops: Sequence[int]):
        self.lr = lr
        self.warmup_steps = warmup_steps
        self.drops = tuple(drops)

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        warm: Tensor = ops.minimum(step / max(1, self.warmup_steps), 1.0)
        rate: Tensor = self.lr * (0.01 + 0.99 * warm)
        if not self.warmup_steps:
            rate = ops.full((), self.lr)
        for drop in self.drops:
            rate = ops.where(step >= drop, 0.1 * rate, rate)
        return rate

    def get_config(self) -> dict:
        return {"lr": self.lr, "warmup_steps": self.warmup_steps, "drops": self.drops}

"""How fast this machine trains and scores: real steps on the recipe's own data, apart from what is compiled first."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import evaluate
from visionkit.models.task import Task
from visionkit.predict.predictor import Predictor
from visionkit.train.devices import Devices
from visionkit.train.options import Options
from visionkit.train.plan import Plan
from visionkit.train.recipe import Phase, Recipe

RATE = 1e-3  # of Adam in trial steps
SCORED = 16  # images by which the time for scoring is measured


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a recipe takes on this machine, in seconds.

    Args:
        steps: of a step of the first phase and, if there are more, of one of the last.
        scoring: of one scoring of the validation images; None if there are none.
        compiling: of the first step of each phase, and of the first scoring.
    """

    steps: Sequence[float]
    scoring: float | None
    compiling: float

    def seconds(self, plan: Plan) -> float:
        """Of all epochs of `plan`, without the compiling."""
        each = [self.steps[0], *[self.steps[-1]] * (len(plan.phases) - 1)]
        ends = [plan.end(phase) for phase in range(len(plan.phases))]
        pairs = zip([0, *ends], ends, each, strict=False)
        return sum(plan.seconds(begin, end, step, self.scoring) for begin, end, step in pairs)


def begin_phase(recipe: Recipe, phase: Phase, options: Options) -> Iterator:
    """Prepares the recipe's model for trial steps of Adam in `phase`; returns its batches (images, targets)."""
    model = recipe.model
    Devices().prepare(model)  # as the run does
    phase.prepare()
    model.compile(optimizer=keras.optimizers.Adam(RATE), jit_compile=keras.backend.backend() == "jax")
    return iter(recipe.feed(phase, epochs=1000, workers=options.workers))


def take_step(model: Task, images: np.ndarray, y: dict[str, np.ndarray]) -> float:
    """Takes a step; the loss before it."""
    logs: Any = model.train_on_batch(images, y, return_dict=True)
    return float(logs["loss"])


def pace(model: Task, feed: Iterator) -> float:
    """The seconds of a step in which the data are read as well, as they will be in the training."""
    done = 0
    take_step(model, *next(feed))
    start = time.monotonic()
    while done < 3 or (done < 10 and time.monotonic() - start < 5):
        take_step(model, *next(feed))
        done += 1
    return (time.monotonic() - start) / done


def scoring_pace(model: Task, dataset: Dataset) -> tuple[float, float]:
    """Seconds to score an image of `dataset`, and those that a new model's first scoring takes besides."""
    predictor, some = Predictor(model), dataset.subset(range(min(SCORED, len(dataset))))
    start = time.monotonic()
    evaluate(predictor, some, intervals=False)
    compiled = time.monotonic()
    evaluate(predictor, some, intervals=False)
    seconds = time.monotonic() - compiled
    return seconds / len(some), max(0.0, compiled - start - seconds)

"""`--minutes`: measures a recipe on this machine and chooses its epochs and the size of its images, to end in time."""

import contextlib
import inspect
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras

from visionkit.checks.pace import Measured, begin_phase, pace, scoring_pace, take_step
from visionkit.data.recognise import open_dataset, splits
from visionkit.train import checkpoint
from visionkit.train.deadline import Budget
from visionkit.train.options import Options
from visionkit.train.plan import Plan, duration
from visionkit.train.recipe import Recipe, build_recipe
from visionkit.train.save import save_model
from visionkit.train.state import state_of
from visionkit.train.training import plan_of
from visionkit.types import DataError

MARGIN = 0.05  # of the time is kept back
UNMEASURED = 6.0  # seconds for what nothing measures: starting Python, drawing the first batch and the curves
SIZES = (5 / 6, 2 / 3)  # of the usual image size, where there is no time to see enough images in that
ENOUGH = 1 / 3  # of the images that a recipe sees without a budget
MOST = 3  # times as many as that are seen at most


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A recipe, and in seconds what all its parts take on this machine."""

    recipe: Recipe
    measured: Measured
    build: float  # the model, and reading the annotations
    save: float  # the model of an epoch that is better than those before it
    checkpoint: float  # which ends each epoch
    test: float  # scoring the test split at the end

    def plan(self, epochs: int) -> Plan:
        """The work with so many epochs in all; each phase has the share of them that it has in the recipe."""
        plan = plan_of(self.recipe)
        phases = [max(1, round(epochs * count / plan.epochs)) for count in plan.phases[:-1]]
        return replace(plan, phases=[*phases, max(1, epochs - sum(phases))])

    def training(self, epochs: int) -> float:
        """The seconds from the first step to the last scoring."""
        plan = self.plan(epochs)
        saved = plan.scorings(0, epochs) * self.save
        return self.measured.compiling + self.measured.seconds(plan) + saved + epochs * self.checkpoint

    @property
    def before(self) -> float:
        """The seconds from the end of the trials to the first step: all is built anew, the validation images read."""
        return self.build + (self.measured.scoring or 0.0) + UNMEASURED / 2

    @property
    def after(self) -> float:
        """The seconds after the last epoch."""
        return self.save + self.test + UNMEASURED / 2

    def longest(self, seconds: float) -> int:
        """How many epochs end within `seconds` from now; 0 if not even one does."""
        most = MOST * self.recipe.epochs
        spare = seconds - self.before - self.after
        return next((epochs for epochs in range(most, 0, -1) if self.training(epochs) <= spare), 0)


def knobs_within(
    recipe_function: Callable[..., Recipe],
    knobs: dict,
    minutes: float,
    begun: float,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> tuple[dict, Budget]:
    """The knobs with which a recipe of finetune ends in time, and the budget for `run`. Prints what was chosen.

    Where the time is too short to see enough images in their usual size, they are made smaller. The number of epochs is
    what fits then. Both are chosen by real steps; nothing of the trials is kept.

    Args:
        recipe_function: has the knobs `epochs` and `image_size`.
        knobs: the user's, without `epochs`; an `image_size` among them is kept.
        minutes: for everything from `begun` on.
        begun: when the command began, by `time.monotonic`.

    Raises:
        DataError: the time is too short for one epoch; says how long it would have to be.
    """
    print(f"--minutes {minutes:g}: measuring how long steps take here", file=sys.stderr, flush=True)
    end = begun + 60 * minutes
    spare = MARGIN * 60 * minutes
    trial = _try(recipe_function, knobs, options)
    usual = trial.recipe.epochs
    epochs = trial.longest(end - spare - time.monotonic())
    size = None
    if epochs < ENOUGH * usual and "image_size" not in knobs:
        size = _smaller(recipe_function, trial, end - spare - time.monotonic())
    if size is not None:
        knobs = knobs | {"image_size": size}
        trial = _try(recipe_function, knobs, options)
        epochs = trial.longest(end - spare - time.monotonic())
    if not epochs:
        least = time.monotonic() - begun + trial.before + trial.training(1) + trial.after
        raise DataError(
            f"--minutes {minutes:g}: too short for one epoch of {trial.plan(1).steps} steps; the least is about "
            f"{math.ceil(10 * least / (1 - MARGIN) / 60) / 10:g} here"
        )
    height, width = trial.recipe.model.image_size
    expected = time.monotonic() - begun + trial.before + trial.training(epochs) + trial.after
    paces = " and ".join(f"{step:.2g} s" for step in trial.measured.steps)
    print(
        f"--minutes {minutes:g}: a step takes {paces} here at {height}x{width}, so {epochs} epochs of "
        f"{trial.plan(epochs).steps} steps; the end is expected after {duration(expected)}"
    )
    chosen = {"epochs": epochs} | ({"image_size": knobs["image_size"]} if "image_size" in knobs else {})
    measured = asdict(trial.measured) | {"build": trial.build, "save": trial.save, "checkpoint": trial.checkpoint}
    plan = {"minutes": minutes, "chosen": chosen, "expected_seconds": expected, "measured": measured}
    budget = Budget(ends=end - spare - trial.after, plan=plan)
    del trial  # and with it the memory of its model, which the training needs
    keras.utils.clear_session()
    return knobs | chosen, budget


def _smaller(recipe_function: Callable[..., Recipe], trial: _Trial, seconds: float) -> int | None:
    """The largest of `SIZES` in which enough images are expected to be seen in that time, or the smallest.

    None if no epoch is expected to fit even in that one, after another trial.
    """
    usual = inspect.signature(recipe_function).parameters["image_size"].default
    sizes = [round(usual * share / 32) * 32 for share in SIZES]
    measured = trial.measured
    again = trial.build + measured.compiling + trial.save
    epochs = 0
    for size in sizes:
        steps = [step * (size / usual) ** 2 for step in measured.steps]  # what a step takes grows with the area
        guess = replace(trial, measured=replace(measured, steps=steps))
        epochs = guess.longest(seconds - again - 10 * max(steps))
        if epochs >= ENOUGH * trial.recipe.epochs:
            return size
    return sizes[-1] if epochs else None


def _try(recipe_function: Callable[..., Recipe], knobs: dict, options: Options) -> _Trial:
    """Builds a recipe quietly, since it will be built again, and takes some steps of its first and last phase."""
    keras.utils.clear_session()
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        recipe = build_recipe(recipe_function, knobs, options.precision)
    build = time.monotonic() - start
    model = recipe.model
    steps: list[float] = []
    compiling = 0.0
    for phase in dict.fromkeys((0, len(recipe.phases) - 1)):
        feed = begin_phase(recipe, recipe.phases[phase], options)
        start = time.monotonic()
        take_step(model, *next(feed))
        compiling += time.monotonic() - start
        steps.append(pace(model, feed))
    image, first = scoring_pace(model, recipe.val or recipe.train)
    scoring = None if recipe.val is None else image * len(recipe.val)
    with tempfile.TemporaryDirectory() as name:
        start = time.monotonic()
        checkpoint.save(Path(name), 0, state_of(model), {})
        written = time.monotonic()
        save_model(model, Path(name) / "model.keras")
        saved = time.monotonic()
    tests = _test_images(knobs, model.task)
    return _Trial(
        recipe=recipe,
        measured=Measured(steps=steps, scoring=scoring, compiling=compiling + first),
        build=build,
        save=saved - written,
        checkpoint=written - start,
        test=tests and tests * image + first + build,
    )


def _test_images(knobs: dict, task: str) -> int:
    """How many images finetune will score at the end."""
    if "test" not in splits(knobs["data"], task):
        return 0
    return len(open_dataset(knobs["data"], "test", task, knobs.get("classes"), knobs.get("void")))

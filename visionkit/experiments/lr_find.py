"""A range test of the learning rate: it rises from step to step until the loss explodes (Smith 2015, section 3.3).

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186. The paper raises the rate
linearly; here each step multiplies it, because rates differ by powers of ten.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from visionkit.data.batches import steps_per_epoch
from visionkit.experiments.rates import Ramp, peak_rate
from visionkit.metrics.pictures import save_figure
from visionkit.train.recipe import Phase, Recipe, build_recipe
from visionkit.types import DataError

SMOOTHING = 0.9  # of the loss: decay of its moving mean per step
EXPLODED = 4.0  # the test ends when the smoothed loss is this many times its lowest value
FELL = 0.95  # a curve that never falls below this share of its first loss suggests nothing


def lr_find(
    recipe_function: Callable[..., Recipe],
    knobs: dict,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    phase: int = 1,
) -> dict:
    """Trains what `recipe_function(**knobs)` describes for at most `steps` steps at rising rates. Nothing is written.

    Args:
        low, high: the first and the last rate.
        phase: of the recipe, from 1: the test is made with its optimizer, its trainable layers and its images.

    Returns:
        What `suggest` returns; the lists `rates`, `losses` and `smoothed`, with an entry per step; `peak`, the highest
        rate of the phase's own schedule; and `knob`, the value of the recipe's knob `lr` with which that peak becomes
        the suggestion, or None if there is no such knob or no suggestion.

    Raises:
        DataError: an argument is out of its range, or the recipe updates its weights without its optimizer.
    """
    if not 0 < low < high or steps < 20:
        raise DataError(f"expected 0 < --low < --high and at least 20 --steps, found {low}, {high}, {steps}")
    recipe = build_recipe(recipe_function, knobs)
    if not 1 <= phase <= len(recipe.phases):
        raise DataError(f"--phase {phase}: the recipe has {len(recipe.phases)} (1 is the first)")
    tested = recipe.phases[phase - 1]
    peak = peak_rate(tested.optimizer, tested.epochs * steps_per_epoch(recipe.train, recipe.batch_size))
    for earlier in recipe.phases[:phase]:
        earlier.prepare()
    losses, smoothed = _train_at_rising_rates(recipe, tested, Ramp(low, high, steps))
    rates = (low * (high / low) ** (np.arange(len(losses)) / (steps - 1))).tolist()
    suggested = suggest(rates, smoothed)
    knob = None
    if "lr" in knobs and suggested["suggestion"]:
        knob = float(f"{knobs['lr'] * suggested['suggestion'] / peak:.2g}")
    curve = {"rates": rates, "losses": losses, "smoothed": smoothed}
    return suggested | {"peak": peak, "knob": knob} | curve


def _train_at_rising_rates(recipe: Recipe, phase: Phase, ramp: Ramp) -> tuple[list[float], list[float]]:
    """(losses, smoothed losses) of each step, until the loss explodes or `ramp` ends."""
    model = recipe.model
    phase.optimizer.learning_rate = ramp
    model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
    epochs = math.ceil(ramp.steps / steps_per_epoch(recipe.train, recipe.batch_size))
    feed = iter(recipe.feed(phase, epochs))
    losses: list[float] = []
    smoothed: list[float] = []
    while len(losses) < ramp.steps:
        logs: Any = model.train_on_batch(*next(feed), return_dict=True)
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            break
        losses.append(loss)
        smoothed = smooth(losses)
        if len(losses) > ramp.steps // 10 and smoothed[-1] > EXPLODED * min(smoothed):
            break
    if losses and not int(phase.optimizer.iterations):
        raise DataError("this recipe updates its weights without its optimizer, so a rate cannot be tried")
    return losses, smoothed


def smooth(losses: Sequence[float]) -> list[float]:
    """The exponential moving mean of `losses` with decay SMOOTHING, corrected for its bias at the beginning."""
    mean = 0.0
    values = []
    for step, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        values.append(mean / (1 - SMOOTHING**step))
    return values


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> dict:
    """What the curve of a range test suggests for the peak rate of a training.

    Returns:
        `steepest`, the rate at which the loss falls fastest over the logarithm of the rate; `decade_below_minimum`, a
        tenth of the rate at which the loss is lowest; `suggestion`, the lower of the two; `rule`, the name of that one.
        All are None if the loss did not fall.
    """
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    if lowest < 2 or smoothed[lowest] > FELL * smoothed[0]:
        return dict.fromkeys(("suggestion", "rule", "steepest", "decade_below_minimum"))
    slope = np.gradient(smoothed[: lowest + 1], np.log10(rates[: lowest + 1]))
    both = {
        "steepest": float(f"{rates[int(slope.argmin())]:.2g}"),
        "decade_below_minimum": float(f"{rates[lowest] / 10:.2g}"),
    }
    rule = min(both, key=both.__getitem__)
    return {"suggestion": both[rule], "rule": rule} | both


def draw_lr_curve(result: dict, file: Path) -> None:
    """Draws the losses in the result of `lr_find` over the rate, and marks what both rules suggest.

    Args:
        file: the picture, .png or .jpg.
    """
    from matplotlib.figure import Figure  # see `confusion_picture`

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(result["rates"], result["losses"], color="#bbbbbb", linewidth=1, label="loss of a step")
    axes.plot(result["rates"], result["smoothed"], linewidth=2.2, label="smoothed")
    for name, style in (("steepest", "--"), ("decade_below_minimum", ":")):
        if result[name]:
            axes.axvline(
                result[name], color="black", linestyle=style, label=f"{name.replace('_', ' ')}: {result[name]:g}"
            )
    axes.axvline(result["peak"], color="#cc7722", linewidth=1, label=f"the recipe's own peak: {result['peak']:.2g}")
    low, high = min(result["smoothed"]), result["smoothed"][0]
    axes.set_ylim(low - 0.1 * (high - low + 1e-9), high + 0.5 * (high - low + 1e-9))  # not up to the explosion
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=f"suggestion: {result['suggestion']}")
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8)
    save_figure(figure, file)

"""A range test of the learning rate: it rises from step to step until the loss explodes (Smith 2015, section 3.3).

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186. The paper raises the rate in a
straight line; here each step multiplies it, as rates differ by powers of ten.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from visionkit.data.batches import batches, steps_per_epoch
from visionkit.experiments.rates import Ramp, peak_rate
from visionkit.metrics.pictures import save_figure
from visionkit.train.recipe import Recipe, planned
from visionkit.types import DataError

SMOOTHING = 0.9  # of the loss: what the mean keeps of itself at a step
EXPLODED = 4.0  # times the lowest smoothed loss ends the test
FELL = 0.95  # of the first loss: a curve that never comes below it says nothing


def lr_find(
    recipe: Callable[..., Recipe],
    knobs: dict,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    phase: int = 1,
) -> dict:
    """Trains what `recipe(**knobs)` describes for at most `steps` steps at rising rates. Nothing is written or kept.

    Args:
        low, high: the first and the last rate.
        phase: of the recipe, from 1; its optimizer, its layers and its images are what is tried.

    Returns:
        What `suggest` says; `rates`, `losses` and `smoothed`, a list each, a step an entry; `peak`, the phase's own
        highest rate; and `knob`, the value of the recipe's knob `lr` that makes its peak the suggestion, or None where
        there is no such knob or suggestion.

    Raises:
        DataError: an argument is out of its range, or the recipe moves its weights without its optimizer.
    """
    if not 0 < low < high or steps < 20:
        raise DataError(f"expected 0 < --low < --high and at least 20 --steps, found {low}, {high}, {steps}")
    plan = planned(recipe, knobs)
    if not 1 <= phase <= len(plan.phases):
        raise DataError(f"--phase {phase}: the recipe has {len(plan.phases)} (1 is the first)")
    for stage in plan.phases[:phase]:
        stage.prepare()
    model, each = plan.model, steps_per_epoch(plan.train, plan.batch_size)
    optimizer, peak = stage.optimizer, peak_rate(stage.optimizer, stage.epochs * each)
    optimizer.learning_rate = Ramp(low, high, steps)
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() == "jax")
    settings = {"task": model.task, "seed": plan.seed, "mix": plan.mix, "channels": model.channels}
    settings |= {"epochs": math.ceil(steps / each), "max_objects": plan.max_objects}
    feed = iter(batches(plan.train, plan.transform_in(stage), plan.batch_size, **settings))
    losses, smoothed = [], []
    while len(losses) < steps:
        loss = float(model.train_on_batch(*next(feed), return_dict=True)["loss"])
        if not math.isfinite(loss):
            break
        losses.append(loss)
        smoothed = smooth(losses)
        if len(losses) > steps // 10 and smoothed[-1] > EXPLODED * min(smoothed):
            break
    if losses and not int(optimizer.iterations):
        raise DataError("this recipe moves its weights without its optimizer, so no rate of that one can be tried")
    rates = (low * (high / low) ** (np.arange(len(losses)) / (steps - 1))).tolist()
    said = suggest(rates, smoothed)
    knob = None
    if "lr" in knobs and said["suggestion"]:
        knob = float(f"{knobs['lr'] * said['suggestion'] / peak:.2g}")
    curve = {"rates": rates, "losses": losses, "smoothed": list(smoothed)}
    return said | {"peak": peak, "knob": knob} | curve


def smooth(losses: Sequence[float]) -> list[float]:
    """The moving mean of `losses`, which forgets the past by SMOOTHING a step; without a bias at the beginning."""
    mean, values = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        values.append(mean / (1 - SMOOTHING**step))
    return values


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> dict:
    """What the curve of a range test suggests for the highest rate of a training.

    Returns:
        `steepest`, the rate at which the loss falls fastest by the rate's logarithm; `decade_below_minimum`, a tenth of
        the rate at which it is lowest; `suggestion`, the lower of the two; `rule`, which one that is. All None where
        the loss did not fall.
    """
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    if lowest < 2 or smoothed[lowest] > FELL * smoothed[0]:
        return dict.fromkeys(("suggestion", "rule", "steepest", "decade_below_minimum"))
    slope = np.gradient(smoothed[: lowest + 1], np.log10(rates[: lowest + 1]))
    both = {"steepest": rates[int(slope.argmin())], "decade_below_minimum": rates[lowest] / 10}
    both = {name: float(f"{rate:.2g}") for name, rate in both.items()}
    rule = min(both, key=both.get)
    return {"suggestion": both[rule], "rule": rule} | both


def draw_lr_curve(found: dict, file: Path) -> None:
    """Draws the losses of `lr_find` over the rate, with both marks."""
    from matplotlib.figure import Figure  # see `confusion_picture`

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(found["rates"], found["losses"], color="#bbbbbb", linewidth=1, label="loss of a step")
    axes.plot(found["rates"], found["smoothed"], linewidth=2.2, label="smoothed")
    for name, style in (("steepest", "--"), ("decade_below_minimum", ":")):
        if found[name]:
            axes.axvline(
                found[name], color="black", linestyle=style, label=f"{name.replace('_', ' ')}: {found[name]:g}"
            )
    axes.axvline(found["peak"], color="#cc7722", linewidth=1, label=f"the recipe's own peak: {found['peak']:.2g}")
    low, high = min(found["smoothed"]), found["smoothed"][0]
    axes.set_ylim(low - 0.1 * (high - low + 1e-9), high + 0.5 * (high - low + 1e-9))  # not up to the explosion
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=f"suggestion: {found['suggestion']}")
    axes.grid(color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8)
    save_figure(figure, file)

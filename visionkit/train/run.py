"""Runs a recipe and leaves everything about the run in one folder."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from visionkit.data.batches import TASKS, batches, steps_per_epoch
from visionkit.environment import environment
from visionkit.images import to_channels
from visionkit.predict.draw import draw_samples_grid
from visionkit.predict.predictor import Predictor
from visionkit.train.callbacks import History, Progress, Score
from visionkit.train.evaluate import MONITOR, evaluate
from visionkit.train.recipe import Recipe
from visionkit.train.save import save_model
from visionkit.types import DataError, Sample, check_batch, check_sample


def run(recipe: Callable[..., Recipe], knobs: dict, out: Path, recipe_file: Path | None = None) -> dict:
    """Trains what `recipe(**knobs)` describes.

    Writes into `out`: knobs.json, a copy of the recipe's file, first_batch.jpg (the first training batch WITH its
    boxes, labels or maps: look at it), history.csv, TensorBoard events, checkpoints/, model.keras and results.json.

    Args:
        recipe: a function whose keyword arguments are `knobs`; the knob `seed` also seeds the weights' initialisers.
        out: the run folder; it must be new or empty.

    Returns:
        What results.json holds.

    Raises:
        DataError: `out` is in use, or the loss stopped being a number.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: the run folder must be new or empty; name another with --out, or remove this one")
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    if recipe_file:
        shutil.copy(recipe_file, out / "recipe.py")
    write_json(out / "knobs.json", knobs)
    keras.utils.set_random_seed(knobs.get("seed", 0))
    plan = recipe(**knobs)

    start = time.monotonic()
    steps = steps_per_epoch(plan.train, plan.batch_size)
    task, monitor = plan.model.task, MONITOR.get(plan.model.task)

    def feed(epoch: int):
        """The batches from `epoch` on, counted from 0."""
        return batches(
            plan.train,
            plan.transform,
            plan.batch_size,
            task=task,
            seed=plan.seed,
            epochs=plan.epochs,
            mix=plan.mix,
            channels=plan.model.channels,
            start_step=epoch * steps,
        )

    _check_and_draw_first_batch(feed(0), plan, out / "first_batch.jpg")
    best_file = out / "checkpoints" / "best.keras"
    callbacks = [History(out), Progress(plan.epochs, steps, plan.batch_size)]
    score = None
    if plan.val is not None:
        predictor = Predictor(plan.model)
        score = Score(lambda: evaluate(predictor, plan.val), plan.evaluate_every, plan.epochs, monitor, best_file)
        callbacks.insert(0, score)  # its numbers go into the other callbacks' logs
    done = 0
    for phase in plan.phases:
        phase.prepare()
        plan.model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
        fitting = {"initial_epoch": done, "epochs": done + phase.epochs, "steps_per_epoch": steps}
        plan.model.fit(feed(done), **fitting, callbacks=callbacks, shuffle=False, verbose=0)
        done += phase.epochs

    if score is None:
        scores = {"epoch": plan.epochs}
        save_model(plan.model, out / "model.keras")
    else:
        scores = score.best | {f"last_{monitor}": score.last}
        best_file.rename(out / "model.keras")
    results = numbers(scores) | {
        "train_images": len(plan.train),
        "val_images": len(plan.val or ()),
        "seconds": round(time.monotonic() - start, 1),
        "knobs": knobs,
        "class_names": plan.model.class_names,
        "per_class": scores.get("per_class", {}),
        "environment": environment(),
    }
    write_json(out / "results.json", results)
    return results


def _check_and_draw_first_batch(feed, plan: Recipe, file: Path):
    images, targets = next(iter(feed))
    if "boxes" in targets:
        check_batch(images, targets, plan.model.num_classes)
        draw_samples_grid((images, targets["boxes"], targets["labels"]), plan.train.class_names, file)
        return
    if not targets:  # photos to be painted
        draw_samples_grid(
            [Sample(id=str(i), image=image, image_size=images.shape[1:3]) for i, image in enumerate(images)], [], file
        )
        return
    field = TASKS[plan.model.task][0]
    if targets[field].dtype == np.int32:  # a mixed batch has shares of labels, which have no picture
        values = targets[field].tolist() if field == "label" else targets[field]
        rows = zip(to_channels(images, 3), values, strict=True)
        sizes = {"image_size": images.shape[1:3]}
        samples = [Sample(id=str(i), image=image, **sizes, **{field: value}) for i, (image, value) in enumerate(rows)]
        for sample in samples:
            check_sample(sample, plan.model.num_classes)
        draw_samples_grid(samples, plan.train.class_names, file)


def numbers(scores: dict) -> dict:
    """The part of `scores` that is one number each, -1 (nothing to measure by) left out."""
    return {key: value for key, value in scores.items() if isinstance(value, int | float) and value != -1}


def write_json(file: Path, value):
    """Writes JSON for people to read, complete or not at all."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(value, indent=2, default=str) + "\n")
    partial.replace(file)

"""Runs a recipe and leaves everything about the run in one folder, from which it can be continued at any moment."""

import contextlib
import functools
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from visionkit.data.anchors import anchor_report
from visionkit.data.batches import TASKS, batches, steps_per_epoch
from visionkit.environment import environment, keeping_freed_memory
from visionkit.evaluate.learning_curves import draw_curves, verdict
from visionkit.evaluate.scores import MONITOR, class_ids, evaluate, numbers, read_all
from visionkit.files import write_json
from visionkit.predict.draw import draw_samples_grid
from visionkit.predict.predictor import Predictor
from visionkit.resizing import to_channels
from visionkit.train import checkpoint
from visionkit.train.callbacks import Checkpoints, Guard, History, Position, Progress, Score
from visionkit.train.crash import write_crash
from visionkit.train.devices import devices_for
from visionkit.train.feed import Timed
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe, planned
from visionkit.train.resume import fingerprint, read_interrupted, recipe_of, write_started
from visionkit.train.save import save_model
from visionkit.train.state import keep_from_averaging, restore, take_average
from visionkit.types import DataError, Sample, check_batch, check_sample

MANY = 1000  # images that take a while to be read


def run(
    recipe: Callable[..., Recipe],
    knobs: dict,
    out: Path,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
    watch: Callable[[list[dict]], bool] | None = None,
) -> dict:
    """Trains what `recipe(**knobs)` describes.

    Writes into `out`: knobs.json, a copy of the recipe's file, resume.json, first_batch.jpg (the first training batch
    WITH its boxes, labels or maps: look at it), history.csv, TensorBoard events, checkpoints/, model.keras (the best so
    far, or the last where nothing is scored) and at the end curves.png and results.json. If the loss stops being a
    number: crash/.

    Args:
        recipe: a function whose keyword arguments are `knobs`; the knob `seed` also seeds the weights' initialisers.
        out: the run folder; it must be new or empty.
        options: see `Options`.
        watch: is given the rows of the history at each epoch's end; the training ends where it returns True.

    Returns:
        What results.json holds.

    Raises:
        DataError: `out` is in use or cannot be written, the devices are not there, or the loss stopped being a number.
    """
    if options.keep_checkpoints < 1:
        raise DataError(f"--keep-checkpoints: expected 1 or more, found {options.keep_checkpoints}")
    devices = devices_for(options.devices)
    with devices.folder(out) as out:
        return _begin(recipe, knobs, out, recipe_file, options, watch, devices)


def _begin(recipe, knobs, out, recipe_file, options, watch, devices) -> dict:
    with _writing(out):  # a file without a name: what is found wrong before the first step leaves nothing behind
        tempfile.TemporaryFile(dir=next(folder for folder in (out, *out.parents) if folder.exists())).close()
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: the run folder must be new or empty; name another with --out, or remove this one")
    plan = _plan(recipe, knobs, options, devices)
    if plan.val is not None:  # what is wrong with it would else end the training when it is first scored, after hours
        class_ids(plan.model, plan.val)
        if len(plan.val) > MANY:
            print(f"looking at {len(plan.val):,} validation images first")
        read_all(plan.val)
    with _writing(out):
        (out / "checkpoints").mkdir(parents=True, exist_ok=True)
        if recipe_file:
            shutil.copy(recipe_file, out / "recipe.py")
    write_json(out / "knobs.json", knobs)
    write_started(out, recipe, keras.backend.backend(), options)
    return _train(plan, knobs, out, options, None, watch, devices)


@contextlib.contextmanager
def _writing(out):
    try:
        yield
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); name another folder with --out") from error


def resume(out: Path, watch: Callable[[list[dict]], bool] | None = None) -> dict:
    """Continues a run that was interrupted, from its newest checkpoint that is whole, to the same end to the bit.

    Args:
        watch: that which `run` had.

    Raises:
        DataError: there is no such run, it has finished, or its recipe, data or backend are not what they were.
    """
    started = read_interrupted(out)
    if started.backend != keras.backend.backend():
        raise DataError(f"{out}: was trained on {started.backend}; set KERAS_BACKEND={started.backend}")
    recipe, knobs = recipe_of(out, started)
    devices = devices_for(started.options.devices)
    found = checkpoint.newest(out / "checkpoints")
    if found is None:
        print(f"{out}: no checkpoint was written yet, so it begins anew")
    else:
        print(f"{out}: going on in epoch {found[1]['epoch'] + 1} after {found[1]['step']} steps of it")
    with devices.folder(out) as folder:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)  # it is new where another process writes to `out`
        plan = _plan(recipe, knobs, started.options, devices)
        return _train(plan, knobs, folder, started.options, found, watch, devices)


def _plan(recipe, knobs, options, devices) -> Recipe:
    with devices.building():
        plan = planned(recipe, knobs, options.precision)
    if plan.batch_size % devices.count:
        raise DataError(f"{devices.count} devices cannot share batches of {plan.batch_size} images evenly")
    devices.prepare(plan.model)
    if plan.val is not None and plan.model.task in ("detect", "instance"):
        objects = sum(len(r.boxes) if r.ignore is None else int((~r.ignore).sum()) for r in plan.val.records)
        if not objects:
            print(f"{plan.val.source}: its {len(plan.val)} images hold no object to score by; the last epoch is kept")
            plan = replace(plan, val=None)
    return plan


def _train(plan, knobs, out, options, found, watch, devices) -> dict:
    if devices.several_processes:  # all must write their checkpoints at once, and their clocks differ
        options = replace(options, checkpoint_minutes=math.inf)
    arrays, state = found or ({}, {"phase": 0, "epoch": 0, "step": 0, "stopped": False, "seconds": 0})
    data = [fingerprint(dataset) for dataset in (plan.train, plan.val) if dataset is not None]
    if state.get("data", data) != data:
        raise DataError(f"{plan.train.source}: not the data that {out} began with; put them back or start a new run")

    start = time.monotonic() - state["seconds"]
    position = Position(state["phase"], state["epoch"], state["step"])
    steps, model = steps_per_epoch(plan.train, plan.batch_size), plan.model
    task, monitor = model.task, MONITOR.get(model.task)

    def feed(epoch: int, step: int = 0, workers: int = 0):
        """The batches from `step` of `epoch` on, counted from 0."""
        return batches(
            plan.train,
            plan.transform_in(plan.phases[position.phase]),
            plan.batch_size,
            task=task,
            seed=plan.seed,
            epochs=plan.epochs,
            mix=plan.mix,
            max_objects=plan.max_objects,
            channels=model.channels,
            start_step=epoch * steps + step,
            workers=workers,
        )

    def crash(reason: str):
        draw = functools.partial(_check_and_draw_first_batch, feed(position.epoch, position.step), plan)
        write_crash(out / "crash", plan, position.epoch, position.step, reason, knobs, draw)

    def collect() -> dict:
        scores = {"best": score.best, "last": score.last} if score else {}
        seconds = {"seconds": round(time.monotonic() - start, 1), "waited": round(progress.waited, 1)}
        return scores | {"rows": history.rows, "data": data} | seconds

    score, guard, history = None, Guard(position, crash), History(out)
    progress = Progress(plan.epochs, steps, plan.batch_size, position, state.get("waited", 0.0))
    callbacks = [guard, history, progress, Checkpoints(out / "checkpoints", guard, steps, options, collect)]
    if plan.val is not None:
        predictor = Predictor(model)

        def score_alone() -> dict:
            with devices.alone():
                return evaluate(predictor, plan.val)

        score = Score(
            score_alone,
            plan.evaluate_every,
            plan.epochs,
            monitor,
            out / "model.keras",
            plan.patience,
            plan.epochs - plan.phases[-1].epochs,
        )
        score.best, score.last = state.get("best"), state.get("last")
        callbacks.insert(1, score)  # its numbers go into the other callbacks' logs
    if watch:

        def look(epoch, logs):  # before a checkpoint is written that says whether the run has stopped
            model.stop_training = model.stop_training or watch(history.rows)

        callbacks.insert(
            -1, keras.callbacks.LambdaCallback(on_epoch_end=look)
        )  # before it is written into a checkpoint
    if found:
        history.restore(state["rows"])
    else:
        if hasattr(model, "anchors"):
            print(anchor_report(plan.train, model.anchors, model.image_size, model.resize))
        _check_and_draw_first_batch(feed(0), plan, out / "first_batch.jpg")

    def fit(epochs: int, steps: int, metrics: dict):
        """Trains until `epochs` epochs are done, `steps` steps each; the losses' means go on from `metrics`."""
        progress.feed = Timed(feed(position.epoch, position.step, options.workers))
        go_on = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: restore(model, metrics, ["metric"]))
        fitting = {"initial_epoch": position.epoch, "epochs": epochs, "steps_per_epoch": steps}
        fitting |= {"callbacks": callbacks + [go_on] * bool(metrics), "shuffle": False, "verbose": 0}
        shared = devices.share(progress.feed, next(iter(feed(position.epoch, position.step))))
        try:
            with devices.fitting(), keeping_freed_memory():
                model.fit(shared, **fitting)
        except Exception as error:
            if progress.feed.error is None or progress.feed.error is error:
                raise
            raise progress.feed.error from error  # which TensorFlow tells without the first line

    stopped, first, done = state["stopped"], position.phase, 0
    for number, phase in enumerate(plan.phases):
        phase.prepare()
        done += phase.epochs
        if number < first:
            continue
        position.phase = number
        with devices.building():
            model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
            model.optimizer.build(model.trainable_variables)
        devices.add_up(model.optimizer)
        keep_from_averaging(model.optimizer)
        if found and number == first:
            restore(model, arrays)
            if position.step:
                fit(position.epoch + 1, steps - position.step, arrays)
                stopped = model.stop_training
        if position.epoch < done and not stopped:
            fit(done, steps, {})
            stopped = model.stop_training
        if stopped:
            break
    take_average(model)  # of the last phase: an average of the ones before it would be a step back

    if score is None:
        scores = {"epoch": plan.epochs}
        save_model(model, out / "model.keras")
    else:
        scores = score.best | {f"last_{monitor}": score.last}
    results = numbers(scores) | {
        "train_images": len(plan.train),
        "val_images": len(plan.val or ()),
        "seconds": round(time.monotonic() - start, 1),
        "waited": round(progress.waited, 1),
        "knobs": knobs,
        "verdict": verdict(history.rows),
        "class_names": model.class_names,
        "per_class": scores.get("per_class", {}),
        "environment": environment(),
    }
    draw_curves(history.rows, out / "curves.png")
    print(f"curves: {results['verdict']}")
    write_json(out / "results.json", results)
    checkpoint.remove_old(out / "checkpoints", keep=1)
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

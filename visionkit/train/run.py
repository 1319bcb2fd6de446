"""Runs a recipe and leaves everything about the run in one folder, from which it can be continued at any moment."""

import inspect
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import keras

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import class_ids, read_all
from visionkit.files import LOCK, check_local, locked, write_json
from visionkit.train import checkpoint, deadline
from visionkit.train.cluster import check_batch_size
from visionkit.train.deadline import Budget
from visionkit.train.devices import Devices, devices_for
from visionkit.train.loggers import package
from visionkit.train.options import Options
from visionkit.train.precision import settled
from visionkit.train.recipe import Recipe, build_recipe, load_recipe
from visionkit.train.resume import (
    command_to_resume,
    has_command,
    read_interrupted,
    recipe_name,
    recipe_of,
    write_started,
)
from visionkit.train.training import Training, check_state
from visionkit.types import BOX_TASKS, DataError

NO_COMMAND = (
    "this run cannot be resumed with `visionkit train --resume`, which does not find a recipe that a script or a "
    "function defines: pass recipe_file=, or after an interruption call resume(out, recipe=(function, knobs))"
)
MANY = 1000  # images that take a while to be read


def run(
    recipe_function: Callable[..., Recipe] | str | Path,
    knobs: dict,
    out: str | Path,
    recipe_file: str | Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
    watch: Callable[[list[dict]], bool] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    budget: Budget | None = None,
    ended: Callable[[Recipe], None] | None = None,
) -> dict:
    """Trains what `recipe_function(**knobs)` describes; a recipe's file may be given in place of its function.

    Writes into `out`: knobs.json, a copy of the recipe's file, resume.json, first_batch.jpg (the first training batch
    WITH its boxes, labels or maps: look at it), history.csv, TensorBoard events, checkpoints/, model.keras (the best so
    far, or the last where nothing is scored) and at the end curves.png and results.json. If the loss stops being a
    number: crash/.

    Ctrl-C and SIGTERM end it after the step that it is in, with a checkpoint; a second one ends it at once.

    Args:
        recipe_function: its keyword arguments are `knobs`; the knob `seed` also seeds the weights' initialisers. To be
            resumed by `visionkit train --resume` it must be importable, or have a `recipe_file`. Or the path of that
            file, which is executed.
        out: the run folder; it must be new or empty.
        recipe_file: the file that `recipe_function` was loaded from, if it was.
        options: see `Options`.
        watch: is given the rows of the history at the end of each epoch; training stops when it returns True.
        callbacks: are called after visionkit's own, whose scores are in the logs, and before the checkpoint is written.
            Keras calls their `on_train_begin` once for each phase. What they keep is not in the checkpoints.
        budget: when the training must be over; epochs that would be late are left out. budget.json says what was
            planned.
        ended: is given the recipe once the training has ended.

    Returns:
        What results.json holds.

    Raises:
        DataError: `out` is in use, by another process too, or cannot be written, the devices are not there, the
            validation images cannot be scored on, the loss stopped being a number, or several devices are to choose a
            precision ("auto"); or `out` is the address of a store.
        Interrupted: the training was ended by Ctrl-C or SIGTERM; a `KeyboardInterrupt`.
        TypeError: `recipe_function` is a model, a Recipe or no function.
    """
    check_local(out)
    if isinstance(recipe_function, str | Path):
        recipe_file = recipe_function
        recipe_function = load_recipe(Path(recipe_file))
    if isinstance(recipe_function, keras.Model | Recipe) or not callable(recipe_function):
        found = type(recipe_function).__name__
        raise TypeError(f"expected a recipe, a function that returns a Recipe, or the path of its file; found {found}")
    out, recipe_file = Path(out), Path(recipe_file) if recipe_file else None
    if options.keep_checkpoints < 1:
        raise DataError(f"--keep-checkpoints: expected 1 or more, found {options.keep_checkpoints}")
    if options.log != "tensorboard":
        package(options.log)
    devices = devices_for(options.devices)
    with devices.folder(out) as folder:
        check_folder(folder)
        options = settled(options, recipe_function, knobs)
        recipe = _build(recipe_function, knobs, options, devices)
        if recipe.val is not None:
            _check_validation(recipe, recipe.val)
        with _naming_the_folder(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            check_folder(folder)  # another process may have been quicker
            with _naming_the_folder(folder):
                (folder / "checkpoints").mkdir()
                if recipe_file:
                    shutil.copy(recipe_file, folder / "recipe.py")
            write_json(folder / "knobs.json", knobs)
            write_started(folder, recipe_function, keras.backend.backend(), options)
            if not recipe_file and not has_command(recipe_name(recipe_function)):
                print(NO_COMMAND)
            ends = None
            if budget:
                write_json(folder / deadline.FILE, budget.plan)
                ends = budget.ends
            shorter = _has_epochs(recipe_function)
            results = Training(recipe, knobs, folder, options, devices, None, watch, callbacks, shorter, ends).run()
    if ended:
        ended(recipe)
    return results


def resume(
    out: str | Path,
    watch: Callable[[list[dict]], bool] | None = None,
    recipe: tuple[Callable[..., Recipe], dict] | None = None,
    trust: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    ended: Callable[[Recipe], None] | None = None,
) -> dict:
    """Continues an interrupted run from its newest undamaged checkpoint.

    It ends exactly, to the bit, as it would have without the interruption.

    Args:
        out: the run folder.
        watch, callbacks, ended: those that `train` was given.
        recipe: (recipe_function, knobs) that `train` was given; by default what the folder names.
        trust: execute the folder's recipe, whoever made the folder.

    Returns:
        What results.json holds.

    Raises:
        DataError: there is no such run, it has finished, another process continues it, its recipe must not be executed,
            or its recipe, data or backend are not what they were.
    """
    out = Path(out)
    started = read_interrupted(out)
    if started.backend != keras.backend.backend():
        raise DataError(f"{out}: was trained on {started.backend}; set KERAS_BACKEND={started.backend}")
    recipe_function, knobs = recipe or recipe_of(out, started, trust)
    devices = devices_for(started.options.devices)
    with devices.folder(out) as folder:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)  # it is new where another process writes to `out`
        with locked(folder):
            saved = checkpoint.newest(out / "checkpoints", check_state)
            if saved is None:
                print(f"{out}: no checkpoint was written yet, so it starts from the beginning")
            else:
                print(f"{out}: resuming in epoch {saved[1]['epoch'] + 1} after {saved[1]['step']} of its steps")
                if changed := _other_devices(saved[1], devices, command_to_resume(out)):
                    print(f"{out}: {changed}")
            built = _build(recipe_function, knobs, started.options, devices)
            shorter = _has_epochs(recipe_function)
            ends = math.inf if (folder / deadline.FILE).is_file() else None  # its plan is kept, whatever the time
            options = started.options
            results = Training(built, knobs, folder, options, devices, saved, watch, callbacks, shorter, ends).run()
    if ended:
        ended(built)
    return results


def _has_epochs(recipe_function: Callable[..., Recipe]) -> bool:
    """Whether the number of epochs is one of the recipe's knobs."""
    return "epochs" in inspect.signature(recipe_function).parameters


def check_folder(out: Path) -> None:
    """Raises where `out` is not new or empty, or cannot be written; leaves nothing behind."""
    with _naming_the_folder(out):
        tempfile.TemporaryFile(dir=next(folder for folder in (out, *out.parents) if folder.exists())).close()
    if out.exists() and any(file.name != LOCK for file in out.iterdir()):
        raise DataError(f"{out}: the run folder must be new or empty; name another with --out, or remove this one")


@contextmanager
def _naming_the_folder(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); name another folder with --out") from error


def _build(recipe_function: Callable[..., Recipe], knobs: dict, options: Options, devices: Devices) -> Recipe:
    knob = inspect.signature(recipe_function).parameters.get("batch_size")
    known = knobs.get("batch_size", knob and knob.default)
    if isinstance(known, int):
        check_batch_size(known, devices.count, "devices")  # before the data are read and the network is built
    with devices.building():
        recipe = build_recipe(recipe_function, knobs, options.precision)
    check_batch_size(recipe.batch_size, devices.count, "devices")
    devices.prepare(recipe.model)
    if recipe.val is not None and recipe.model.task in BOX_TASKS and not _holds_objects(recipe.val):
        print(f"{recipe.val.source}: its {len(recipe.val)} images hold no object to score by; the last epoch is kept")
        recipe = replace(recipe, val=None)
    return recipe


def _other_devices(state: dict, devices: Devices, command: str) -> str:
    """What it means that a run goes on with other devices or processes than its checkpoint; "" where it does not.

    Args:
        state: of the checkpoint; older ones do not say.
        devices: that go on.
        command: by which a single process goes on.
    """
    now = devices.cluster.count, devices.count
    before = state.get("processes", now[0]), state.get("devices", now[1])
    if before == now:
        return ""
    processes, count = (f"{was} (now {is_now})" for was, is_now in zip(before, now, strict=True))
    text = f"its checkpoint is of {processes} processes with {count} devices: sums are rounded otherwise from here on"
    backend = keras.backend.backend()
    if backend == "tensorflow":
        text += ", and dropout and the samples of two-stage detectors are drawn otherwise"
    if before[0] > max(1, now[0]) and command.startswith("visionkit "):
        launch = f"visionkit launch -n {before[0]} --backend {backend} --"
        text += f"; without that: {launch} {command.removeprefix('visionkit ')}"
    return text


def _holds_objects(dataset: Dataset) -> bool:
    """Whether any image has an object that counts in the scores."""
    for record in dataset.records:
        assert record.boxes is not None
        if len(record.boxes) and (record.ignore is None or not record.ignore.all()):
            return True
    return False


def _check_validation(recipe: Recipe, val: Dataset) -> None:
    """Reads all validation images: a broken one would otherwise end the training when it is first scored, hours in."""
    class_ids(recipe.model, val)
    if len(val) > MANY:
        print(f"reading all {len(val):,} validation images first")
    read_all(val)

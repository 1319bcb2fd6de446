"""The training itself, step by step: from the first batch, or from a checkpoint, to results.json."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grain
import keras
import numpy as np

from visionkit.data.anchors import anchor_report
from visionkit.data.batches import steps_per_epoch
from visionkit.environment import environment, keeping_freed_memory
from visionkit.evaluate.learning_curves import draw_curves, verdict
from visionkit.evaluate.scores import MONITOR, evaluate, numbers
from visionkit.files import write_json
from visionkit.predict.predictor import Predictor
from visionkit.train import checkpoint
from visionkit.train.callbacks import Checkpoints, Guard, History, Position, Score
from visionkit.train.crash import write_crash
from visionkit.train.deadline import Deadline
from visionkit.train.devices import Devices
from visionkit.train.feed import Timed
from visionkit.train.first_batch import check_and_draw
from visionkit.train.interrupt import Interrupted, Interruption
from visionkit.train.loggers import Logger, logger
from visionkit.train.options import Options
from visionkit.train.plan import Plan
from visionkit.train.progress import Progress
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.resume import command_to_resume, fingerprint
from visionkit.train.save import save_model
from visionkit.train.state import (
    compute_rate_once_a_step,
    keep_from_averaging,
    let_schedule_skip,
    restore,
    take_average,
)
from visionkit.types import DataError

BEGINNING = {"phase": 0, "epoch": 0, "step": 0, "stopped": False, "seconds": 0}  # the state before the first step


def check_state(state: dict) -> None:
    """Raises a `DataError` for the state of a checkpoint that no training has written."""
    for name, first in BEGINNING.items():
        value: Any = state.get(name)
        kinds = (int, float) if name == "seconds" else (type(first),)
        if type(value) not in kinds or not 0 <= value < math.inf:
            raise DataError(f"{name}: {value!r} is not the state of a training")
    left_out = state.get("left_out", 0)  # older checkpoints lack it
    if type(left_out) is not int or left_out < 0:
        raise DataError(f"left_out: {left_out!r} is not the state of a training")
    for name in ("devices", "processes"):
        count = state.get(name, 1)  # older checkpoints lack them
        if type(count) is not int or count < 1:
            raise DataError(f"{name}: {count!r} is not the state of a training")
    if not isinstance(state.get("data", []), list) or not isinstance(state.get("rows"), list):
        raise DataError("data, rows: expected the lists that a training writes")
    if not all(isinstance(row, dict) and "epoch" in row for row in state["rows"]):
        raise DataError("rows: expected those of a history")


def plan_of(recipe: Recipe, shorter: bool = False) -> Plan:
    """The work that `recipe` describes; see `Plan` for `shorter`."""
    return Plan(
        phases=[phase.epochs for phase in recipe.phases],
        steps=steps_per_epoch(recipe.train, recipe.batch_size),
        batch_size=recipe.batch_size,
        val_images=0 if recipe.val is None else len(recipe.val),
        every=recipe.evaluate_every,
        shorter=shorter,
    )


class Training:
    """One training of a recipe in its run folder. `run` carries it out, once.

    Args:
        recipe: was built for `devices`.
        knobs: that it was built with; they are noted in the results.
        out: the run folder; it has a folder checkpoints/.
        options: see `Options`.
        devices: share each batch.
        saved: (arrays, state) of the checkpoint to go on from; None begins with the first step.
        watch: is given the rows of the history at the end of each epoch; training stops when it returns True.
        callbacks: the user's own; see `run`.
        shorter: whether the number of epochs is a knob, so that fewer can be suggested.
        ends: when the last epoch must be over, by `time.monotonic`: epochs that would be late are left out. Infinity
            leaves nothing out, but goes on with a training that has; None for one that has no such end.

    Raises:
        DataError: the data are not those that the checkpoint was trained on.
    """

    def __init__(
        self,
        recipe: Recipe,
        knobs: dict,
        out: Path,
        options: Options,
        devices: Devices,
        saved: tuple[dict[str, np.ndarray], dict] | None = None,
        watch: Callable[[list[dict]], bool] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        shorter: bool = False,
        ends: float | None = None,
    ):
        if devices.several_processes:  # all must write their checkpoints at once, and their clocks differ
            options = replace(options, checkpoint_minutes=math.inf)
        self.recipe = recipe
        self.model = recipe.model
        self.knobs = knobs
        self.out = out
        self.options = options
        self.devices = devices
        self.saved = saved
        self.watch = watch
        self.shorter = shorter
        self.ends = ends
        self.left_out = 0  # epochs of the last phase

        state = saved[1] if saved else BEGINNING
        self.data = [fingerprint(dataset) for dataset in (recipe.train, recipe.val) if dataset is not None]
        if state.get("data", self.data) != self.data:
            raise DataError(
                f"{recipe.train.source}: not the data that {out} began with; put them back or start a new run"
            )
        self.start = time.monotonic() - state["seconds"]
        self.stopped = state["stopped"]
        self.position = Position(state["phase"], state["epoch"], state["step"])
        self.steps = steps_per_epoch(recipe.train, recipe.batch_size)
        self._leave_out(state.get("left_out", 0))
        self.history = History(out)
        self.progress = Progress(plan_of(recipe, shorter), self.position, state.get("waited", 0.0))
        self.score = None if recipe.val is None else self._make_score(state)
        self.interruption = Interruption()
        self.logger: Logger | None = None
        if options.log != "tensorboard" and devices.writes:
            self.logger = logger(options.log, out, knobs)
        self.callbacks = self._make_callbacks(callbacks)

    def run(self) -> dict:
        """Trains to the end and returns what results.json holds; `visionkit.train.run.run` lists what is written."""
        if self.saved:
            self.history.restore(self.saved[1]["rows"])
        else:
            self._show_what_is_learned()
        with self.logger or nullcontext():
            self._train()
        take_average(self.model)  # of the last phase: an average of the ones before it would be a step back
        results = self._results()
        draw_curves(self.history.rows, self.out / "curves.png")
        print(f"curves: {results['verdict']}")
        write_json(self.out / "results.json", results)
        checkpoint.remove_old(self.out / "checkpoints", self.position.epoch * self.steps + self.position.step, keep=1)
        return results

    def _leave_out(self, epochs: int) -> None:
        """Makes the last phase so many epochs shorter."""
        self.left_out += epochs
        self.recipe.phases[-1].epochs -= epochs

    def _shorten(self, epochs: int) -> None:
        """Leaves out epochs while the last phase is trained; its schedule goes on with the rates of the last ones."""
        self._leave_out(epochs)
        self.progress.plan = plan_of(self.recipe, self.shorter)
        if self.score:
            self.score.epochs = self.recipe.epochs
        self.ahead.assign(self.ahead + epochs * self.steps)

    def _make_score(self, state: dict) -> Score:
        score = Score(
            partial(self._evaluate, Predictor(self.model)),
            every=self.recipe.evaluate_every,
            epochs=self.recipe.epochs,
            monitor=MONITOR[self.model.task],
            save=self._save,
            patience=self.recipe.patience,
            since=self.recipe.epochs - self.recipe.phases[-1].epochs,
        )
        score.best = state.get("best")
        score.last = state.get("last")
        score.risen = state.get("risen", (score.best or {}).get("epoch", 0))  # older checkpoints lack it
        return score

    def _save(self) -> None:
        with self.devices.alone():
            save_model(self.model, self.out / "model.keras")

    def _evaluate(self, predictor: Predictor) -> dict:
        assert self.recipe.val is not None
        with self.devices.alone(), self.progress.scoring():
            return evaluate(predictor, self.recipe.val, intervals=False)

    def _make_callbacks(self, users: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
        """In the order in which they are called: each may use, and write down, what those before it have done."""
        guard = Guard(self.position, self._crash)
        callbacks: list[keras.callbacks.Callback] = [guard]
        if self.score:
            callbacks.append(self.score)  # its numbers go into the logs of the others
        callbacks += [self.history, self.progress, *([self.logger] if self.logger else []), *users]
        if self.watch:
            callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=partial(self._look, self.watch)))
        if self.ends is not None:
            callbacks.append(Deadline(self.progress, self.ends, self._shorten))
        files = self.out / "checkpoints"
        state = self._checkpoint_state
        callbacks.append(Checkpoints(files, guard, self.steps, self.options, state, self.interruption))
        return callbacks

    def _look(self, watch: Callable[[list[dict]], bool], epoch: int, logs: dict) -> None:
        """Asks `watch`, before the checkpoint is written that says whether the training has stopped."""
        self.model.stop_training = self.model.stop_training or watch(self.history.rows)

    def _crash(self, reason: str) -> None:
        def draw(file: Path) -> None:
            batch = next(iter(self._feed(epoch, step)))
            check_and_draw(batch, self.recipe, file, epoch, step)

        epoch, step = self.position.epoch, self.position.step
        folder = self.out / "crash"
        write_crash(folder, self.recipe, epoch, step, reason, self.knobs, draw)

    def _checkpoint_state(self) -> dict:
        """What a checkpoint holds besides the arrays and the position."""
        scores = {name: getattr(self.score, name) for name in ("best", "last", "risen")} if self.score else {}
        seconds = {"seconds": self._seconds(), "waited": round(self.progress.waited, 1), "left_out": self.left_out}
        sharing = {"devices": self.devices.count, "processes": self.devices.cluster.count}
        return scores | {"rows": self.history.rows, "data": self.data} | seconds | sharing

    def _seconds(self) -> float:
        """That the training has taken so far, with what it took before it was interrupted."""
        return round(time.monotonic() - self.start, 1)

    def _feed(self, epoch: int, step: int = 0, workers: int = 0, part: tuple[int, int] = (0, 1)) -> grain.IterDataset:
        """The batches from `step` of `epoch` on, both from 0, as the present phase wants them."""
        phase, begin = self.recipe.phases[self.position.phase], epoch * self.steps + step
        return self.recipe.feed(phase, self.recipe.epochs, start_step=begin, workers=workers, part=part)

    def _show_what_is_learned(self) -> None:
        model = self.model
        if hasattr(model, "anchors"):
            print(anchor_report(self.recipe.train, model.anchors, model.image_size, model.resize))
        check_and_draw(next(iter(self._feed(0))), self.recipe, self.out / "first_batch.jpg")

    def _train(self) -> None:
        """Goes through the phases, from the one that the position is in."""
        first = self.position.phase
        end = 0  # of the phase, in epochs
        for number, phase in enumerate(self.recipe.phases):
            phase.prepare()  # also when the phase is over: the later ones build on what it froze
            end += phase.epochs
            if number < first:
                continue
            self.position.phase = number
            self._compile(phase)
            if self.saved and number == first:
                self._go_on(self.saved[0])
            if self.position.epoch < end and not self.stopped:
                self._fit(end, self.steps)
            if self.stopped:
                return

    def _compile(self, phase: Phase) -> None:
        with self.devices.building():
            self.model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
            self.model.optimizer.build(self.model.trainable_variables)
            if self.ends is not None:
                self.ahead = let_schedule_skip(self.model.optimizer)
        self.devices.add_up(self.model.optimizer)
        keep_from_averaging(self.model.optimizer)
        compute_rate_once_a_step(self.model.optimizer)

    def _go_on(self, arrays: dict[str, np.ndarray]) -> None:
        """Puts the arrays of a checkpoint into the compiled model and finishes the epoch in which it was written."""
        restore(self.model, arrays)
        if self.position.step:
            self._fit(self.position.epoch + 1, self.steps - self.position.step, metrics=arrays)

    def _fit(self, epochs: int, steps: int, metrics: dict[str, np.ndarray] | None = None) -> None:
        """Trains until `epochs` epochs are done, `steps` steps in each.

        Args:
            metrics: the arrays of a checkpoint in mid-epoch: the means of the epoch's losses go on from there.
        """
        callbacks = list(self.callbacks)
        if metrics is not None:
            callbacks.append(
                keras.callbacks.LambdaCallback(
                    on_epoch_begin=lambda epoch, logs: restore(self.model, metrics, ["metric"])
                )
            )
        epoch, step = self.position.epoch, self.position.step
        part = self.devices.cluster.index, self.devices.cluster.count
        timed = Timed(self._feed(epoch, step, self.options.workers, part))
        self.progress.feed = timed
        shared = self.devices.share(timed, example=next(iter(self._feed(epoch, step, part=part))))
        try:
            with self.devices.fitting(), keeping_freed_memory(), self._interruptible(), self.progress.shown():
                self.model.fit(
                    shared,
                    initial_epoch=epoch,
                    epochs=epochs,
                    steps_per_epoch=steps,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
        except KeyboardInterrupt as error:
            if not self.devices.several_processes:
                raise
            raise self._interrupted(signal.SIGINT) from error
        except Exception as error:
            if self.interruption.asked is not None:  # the same signal may have ended what reads the data
                raise self._interrupted(self.interruption.asked) from error
            if timed.error is None or timed.error is error:
                raise
            raise timed.error from error  # TensorFlow's own message lacks the first line of it
        self.stopped = self.model.stop_training

    def _interrupted(self, number: int) -> Interrupted:
        where = "the last checkpoint"
        if self.devices.several_processes:
            where += ", with as many processes"
        return Interrupted(f"interrupted; to go on from {where}: {command_to_resume(self.out)}", number)

    def _interruptible(self) -> AbstractContextManager:
        """A context in which a signal ends the training with a checkpoint.

        Of several processes, all would have to end after the same step: they end at once instead, and go on from the
        last checkpoint.
        """
        return nullcontext() if self.devices.several_processes else self.interruption.noticed()

    def _results(self) -> dict:
        """What results.json holds. Also saves the model where no epoch was chosen by a score."""
        if self.score is None:
            scores = {"epoch": self.recipe.epochs}
            self._save()
        else:
            assert self.score.best is not None  # the last epoch is always scored
            scores = self.score.best | {f"last_{self.score.monitor}": self.score.last}
        return numbers(scores) | {
            "train_images": len(self.recipe.train),
            "val_images": 0 if self.recipe.val is None else len(self.recipe.val),
            "seconds": self._seconds(),
            "waited": round(self.progress.waited, 1),
            "task": self.model.task,
            "image_size": self.model.image_size,
            "parameters": self.model.count_params(),
            "knobs": self.knobs,
            "verdict": verdict(self.history.rows),
            "class_names": self.model.class_names,
            "per_class": scores.get("per_class", {}),
            "environment": environment(),
        }

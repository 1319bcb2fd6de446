"""The state of a training as arrays, and back; and the moving average of the weights (EMA)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from visionkit.types import DataError


def state_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Everything in a compiled and built model that training changes.

    Returns:
        Arrays by name. "model/...": weights and the state of every seed generator (dropout, sampling); "optimizer/...":
        its step count, momenta, averages, accumulated gradients and loss scale; "metric/...": the running means of the
        epoch's losses. They are numbered, because Keras' names depend on what else the process has built.
    """
    return {
        f"{group}/{i:05}": np.array(keras.ops.convert_to_numpy(variable))
        for group, variables in _groups(model).items()
        for i, variable in enumerate(variables)
    }


def restore(model: keras.Model, arrays: dict[str, np.ndarray], groups: Sequence[str] = ("model", "optimizer")) -> None:
    """Puts the arrays of `state_of` back into a model of the same recipe, compiled and built.

    Raises:
        DataError: they do not fit.
    """
    for group in groups:
        variables = _groups(model)[group]
        saved = [array for name, array in arrays.items() if name.startswith(f"{group}/")]
        if [tuple(v.shape) for v in variables] != [array.shape for array in saved]:
            raise DataError(
                f"the checkpoint does not fit the recipe ({group}: {len(saved)} arrays for {len(variables)} variables, "
                "or other shapes); has visionkit changed since?"
            )
        for variable, array in zip(variables, saved, strict=True):
            variable.assign(array)


def keep_from_averaging(optimizer: keras.optimizers.Optimizer) -> None:
    """Stops Keras from replacing the weights by their average at the end of `fit`; only `take_average` does that here.

    Otherwise a run that is resumed in mid-epoch, which takes one more `fit`, would end with other weights.
    """
    optimizer.finalize_variable_values = lambda var_list: None


def let_schedule_skip(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Adds to the state of a built optimizer by how many batches its schedule is ahead of it, 0 at first; returns that.

    Raising the optimizer's own count of the steps instead would spoil Adam's correction of its young averages.
    """
    inner = _inner(optimizer)
    ahead = inner.add_variable((), dtype=inner._iterations.dtype, name="ahead")
    schedule, usual = inner._learning_rate, inner._get_current_learning_rate

    def rate() -> Any:
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return schedule(inner._iterations + ahead)
        return usual()

    inner._get_current_learning_rate = rate
    return ahead


def compute_rate_once_a_step(optimizer: keras.optimizers.Optimizer) -> None:
    """Has the schedule asked for the learning rate once in each step.

    Keras' weight decay on TensorFlow asks it once for every weight. Tracing the training step of a small SSD with 169
    of them took a third of its time for that: 25 seconds of CPU time instead of 16.
    """
    inner = _inner(optimizer)
    apply, current_rate = inner.apply, inner._get_current_learning_rate

    def apply_at_one_rate(*args: Any, **options: Any) -> None:
        rate = current_rate()
        inner._get_current_learning_rate = lambda: rate
        try:
            apply(*args, **options)
        finally:
            inner._get_current_learning_rate = current_rate

    inner.apply = apply_at_one_rate


def take_average(model: keras.Model) -> None:
    """Replaces the weights by their average, for good, when the optimizer keeps one."""
    optimizer = _inner(model.optimizer)
    if not optimizer.use_ema:
        return
    type(optimizer).finalize_variable_values(optimizer, model.trainable_variables)
    for variable in model.trainable_variables:
        # On JAX the variable and the average now share an array; prediction donates its arguments and would delete it.
        variable.assign(np.array(keras.ops.convert_to_numpy(variable)))


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Inside this context the model has the average of its weights, when the optimizer keeps one."""
    if not _inner(model.optimizer).use_ema:
        yield
        return
    variables = model.trainable_variables
    before = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    take_average(model)
    try:
        yield
    finally:
        for variable, array in zip(variables, before, strict=True):
            variable.assign(array)


def _groups(model: keras.Model) -> dict[str, list[keras.Variable]]:
    return {"model": model.variables, "optimizer": model.optimizer.variables, "metric": model.metrics_variables}


def _inner(optimizer: keras.optimizers.Optimizer) -> Any:
    return getattr(optimizer, "inner_optimizer", optimizer)  # only a LossScaleOptimizer has one

"""What a training consists of at one moment, as arrays, and back; and the average of the weights (EMA)."""

from contextlib import contextmanager

import keras
import numpy as np

from visionkit.types import DataError


def state_of(model: keras.Model) -> dict[str, np.ndarray]:
    """All that a compiled and built model changes while it trains.

    "model/...": weights and the state of every seed generator (dropout, sampling); "optimizer/...": its step count,
    momenta, averages, accumulated gradients and loss scale; "metric/...": the running means of the epoch's losses. They
    are numbered, as Keras' names depend on what else the process has built.
    """
    return {
        f"{group}/{i:05}": np.array(keras.ops.convert_to_numpy(variable))
        for group, variables in _groups(model).items()
        for i, variable in enumerate(variables)
    }


def restore(model: keras.Model, arrays: dict[str, np.ndarray], groups=("model", "optimizer")) -> None:
    """Puts what `state_of` gave back into a model of the same recipe, compiled and built.

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
    """At the end of `fit`, Keras puts the average of the weights in their place; here only `take_average` does.

    A run that is resumed in mid-epoch takes one `fit` more than one that was not.
    """
    optimizer.finalize_variable_values = lambda variables: None


def take_average(model: keras.Model) -> None:
    """Puts the average of the weights in their place for good, where the optimizer keeps one."""
    optimizer = _inner(model.optimizer)
    if not optimizer.use_ema:
        return
    type(optimizer).finalize_variable_values(optimizer, model.trainable_variables)
    for variable in model.trainable_variables:
        # On JAX variable and average are now one array, and prediction, which gives its arguments away, deletes both.
        variable.assign(np.array(keras.ops.convert_to_numpy(variable)))


@contextmanager
def averaged(model: keras.Model):
    """Inside it the model has the average of its weights, where the optimizer keeps one; afterwards what it had."""
    if not _inner(model.optimizer).use_ema:
        yield
        return
    variables = model.trainable_variables
    raw = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    take_average(model)
    try:
        yield
    finally:
        for variable, array in zip(variables, raw, strict=True):
            variable.assign(array)


def _groups(model):
    return {"model": model.variables, "optimizer": model.optimizer.variables, "metric": model.metrics_variables}


def _inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)  # a LossScaleOptimizer has one

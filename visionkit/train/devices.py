"""Several devices that share a batch, with the result of one device except for the order of additions.

On JAX one program sees the whole batch (`keras.distribution.DataParallel`), so nothing differs. On TensorFlow each
device has a copy of the model and some rows of the batch (MirroredStrategy, or MultiWorkerMirroredStrategy when
TF_CONFIG names several processes), and Keras 3 leaves three things to us:

- a loss divides by what it counts in its own rows: `Task.over_devices` lets it count those of all devices;
- Keras clips and checks gradients before it adds them up over the devices: here they are added up first;
- batch norm takes the mean and variance of its own rows: here of all rows (`synchronized`).

Random draws inside the model (dropout, the samples of two-stage detectors) are the same on each TensorFlow device, for
its own rows; so they are not the draws that one device makes.
"""

import functools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import keras

from visionkit.models.task import Task
from visionkit.types import DataError, Tensor


class Devices:
    """A single device, and the interface of the other classes in this file.

    `count` is how many devices share a batch. With `several_processes`, each process runs the same program, and one of
    them `writes` the run.
    """

    count = 1
    several_processes = False
    writes = True

    def building(self) -> AbstractContextManager:
        """A context for making the model and its optimizer."""
        return nullcontext()

    def fitting(self) -> AbstractContextManager:
        """A context for `fit`."""
        return nullcontext()

    def alone(self) -> AbstractContextManager:
        """A context within `fit` for work that one device does by itself, such as predicting."""
        return nullcontext()

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Yields the folder to which this process writes its run: only one process writes to `out`."""
        yield out

    def prepare(self, model: Task) -> None:
        """Called once for a model that has been built, before it is compiled."""

    def add_up(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Called for each optimizer, to let it see the gradients of the whole batch."""

    def share(self, batches: Iterable, example: Any) -> Any:
        """What `fit` takes in place of `batches`; `example` is a batch with their shapes and dtypes."""
        if keras.backend.backend() != "tensorflow":
            return batches
        import tensorflow as tf

        # Keras would not tell TensorFlow the shapes; with them a step of the style network took 6 % less time.
        signature = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), example)
        return tf.data.Dataset.from_generator(lambda: batches, output_signature=signature).prefetch(1)


def devices_for(wanted: int | Literal["auto"]) -> Devices:
    """The devices of this machine, or of all processes in TF_CONFIG, ready to share batches.

    Args:
        wanted: how many; "auto" takes all GPUs, or all CPU devices when there is no GPU (there is one, except in
            tests). With TF_CONFIG, which needs "auto", this waits until all processes have started.

    Raises:
        DataError: there are fewer devices, the backend cannot share batches, or TF_CONFIG is not as expected.
    """
    backend = keras.backend.backend()
    processes, this = _processes()
    if len(processes) > 1 and (backend != "tensorflow" or wanted != "auto"):  # each would train alone, into one folder
        if backend == "tensorflow":
            raise DataError(f"--devices {wanted}: TF_CONFIG names {len(processes)} processes; use --devices auto")
        raise DataError(
            f"TF_CONFIG names {len(processes)} processes, which {backend} cannot train with; unset TF_CONFIG, or set "
            "KERAS_BACKEND=tensorflow"
        )
    if wanted == 1:
        return Devices()
    if backend not in ("tensorflow", "jax"):
        raise DataError(f"--devices {wanted}: training on several devices is for TensorFlow and JAX, not for {backend}")
    if len(processes) > 1:
        return _Replicas(None, first=this == processes[0])
    names = keras.distribution.list_devices()
    count = len(names) if wanted == "auto" else wanted
    if not 1 <= count <= len(names):
        raise DataError(f"--devices {wanted}: expected 1 to {len(names)} or auto; the devices are {', '.join(names)}")
    if count == 1:
        return Devices()
    return _Replicas(names[:count]) if backend == "tensorflow" else _Shards(names[:count])


def _processes() -> tuple[list[tuple[str, int]], tuple[str | None, int | None]]:
    """(processes, this): those in TF_CONFIG as (kind, index), with the one that writes first; and this process."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        cluster = config.get("cluster", {})
        task = config.get("task", {})
        processes = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, ())))]
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"TF_CONFIG: cannot be read ({error}); expected the JSON that docs/devices.md shows") from error
    return processes, (task.get("type"), task.get("index"))


class _Shards(Devices):
    """JAX: a batch is split over the devices, and one program computes with it as if it were whole."""

    def __init__(self, names: list[str]):
        self.count = len(names)
        self._distribution = keras.distribution.DataParallel(devices=names)

    def building(self) -> AbstractContextManager:
        return self._distribution.scope()

    def fitting(self) -> AbstractContextManager:
        return self._distribution.scope()

    @contextmanager
    def alone(self) -> Iterator[None]:
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self._distribution)


@functools.cache  # a second strategy would number its messages from 0 again, which the devices refuse
def _strategy(names: tuple[str, ...] | None) -> Any:
    import tensorflow as tf

    if names is None:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy([name.upper() for name in names])


class _Replicas(Devices):
    """TensorFlow: a copy of the model on each device.

    Args:
        names: of this machine's devices, such as "gpu:0"; None means those of the processes in TF_CONFIG.
        first: whether this process writes the run folder.
    """

    def __init__(self, names: list[str] | None, first: bool = True):
        import tensorflow as tf

        self._tf = tf
        self.writes = first
        self.several_processes = names is None
        self._strategy = _strategy(None if names is None else tuple(names))
        self.count = self._strategy.num_replicas_in_sync

    def building(self) -> AbstractContextManager:
        return self._strategy.scope()

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        if self.writes:
            yield out
            return
        # The others do everything that the first one does, so that no process waits for a step that another leaves out.
        with tempfile.TemporaryDirectory() as name:
            yield Path(name) / out.name

    def prepare(self, model: Task) -> None:
        self._least_rows = model.least_rows
        own_loss = model.compute_loss

        def compute_loss(*args, **kwargs):
            return own_loss(*args, **kwargs) / self.count  # Keras adds up the devices' losses and gradients

        model.compute_loss = compute_loss
        model.over_devices = self._mean
        # Keras would build the model again, on the devices' mean of a batch; booleans have no mean.
        model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None
        if self.several_processes:
            step = model.train_step
            # Keras takes the mean of what the processes report over an axis, and a scalar has none.
            model.train_step = lambda data: {name: keras.ops.reshape(v, (1,)) for name, v in step(data).items()}
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def add_up(self, optimizer: keras.optimizers.Optimizer) -> None:
        inner: Any = getattr(optimizer, "inner_optimizer", optimizer)  # only a LossScaleOptimizer has one
        if inner.gradient_accumulation_steps:
            raise DataError(
                "--accumulate and --devices cannot be combined on TensorFlow; leave one out, or set KERAS_BACKEND=jax"
            )
        apply = optimizer.apply

        def apply_sums(grads, trainable_variables=None):
            replica = self._tf.distribute.get_replica_context()
            present = [gradient for gradient in grads if gradient is not None]
            sums = iter(replica.all_reduce(self._tf.distribute.ReduceOp.SUM, present))
            return apply([None if gradient is None else next(sums) for gradient in grads], trainable_variables)

        optimizer.apply = apply_sums
        inner._all_reduce_sum_gradients = lambda pairs: pairs  # Keras would add up after clipping, too late

    def share(self, batches: Iterable, example: Any) -> Any:
        tf, count = self._tf, self.count
        size = len(tf.nest.flatten(example)[0]) // count
        if size < self._least_rows:
            raise DataError(
                f"each of {count} devices gets {size} images of a batch, but this model needs at least "
                f"{self._least_rows} to learn from; use --batch-size {count * self._least_rows}, or set "
                "KERAS_BACKEND=jax"
            )

        def rows(array, device):
            return array[device * size : (device + 1) * size]

        def shares(first, last):
            for batch in batches:
                for device in range(first, last):
                    yield tf.nest.map_structure(lambda array: rows(array, device), batch)  # noqa: B023, used at once

        def of_process(context):
            local = count // context.num_input_pipelines
            first = context.input_pipeline_id * local
            make = tf.data.Dataset.from_generator
            return make(lambda: shares(first, first + local), output_signature=signature).prefetch(local)

        def spec(array):
            return tf.TensorSpec((size, *array.shape[1:]), array.dtype)

        signature = tf.nest.map_structure(spec, example)
        return self._strategy.distribute_datasets_from_function(of_process)

    def _mean(self, value: Tensor) -> Tensor:
        replica = self._tf.distribute.get_replica_context()
        return replica.all_reduce(self._tf.distribute.ReduceOp.MEAN, value)

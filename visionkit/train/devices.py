"""A batch that several devices share, to the result that one device has, but for the order in which numbers are added.

On JAX one program sees the whole batch (`keras.distribution.DataParallel`), so nothing differs. On TensorFlow each
device has a copy of the model and rows of the batch (MirroredStrategy, or MultiWorkerMirroredStrategy where TF_CONFIG
names several processes), and Keras 3 leaves to us what one device does by itself:

- a loss divides by what it counts in its own rows: `Task.over_devices` lets it count those of all;
- gradients are clipped and checked before they are added up over the devices: here they are added up first;
- batch norm takes the mean and variance of its own rows: here of all (`synchronized`).

What is drawn inside the model (dropout, the samples of two-stage detectors) is drawn alike on each TensorFlow device
for its own rows, so it is not what one device draws.
"""

import functools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import keras

from visionkit.models.task import Task
from visionkit.types import DataError


class Devices:
    """One device, and what the others of this file do otherwise.

    `count` is how many share a batch. With `several_processes` each of them runs the same program.
    """

    count = 1
    several_processes = False

    def building(self):
        """A context for making the model and its optimizer."""
        return nullcontext()

    def fitting(self):
        """A context for `fit`."""
        return nullcontext()

    def alone(self):
        """A context within `fit` for what one device does by itself, such as predicting."""
        return nullcontext()

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Where this process writes its run folder: only one process writes to `out`."""
        yield out

    def prepare(self, model: Task) -> None:
        """Called once for a model that has been made, before it is compiled."""

    def add_up(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Called for each optimizer: lets it see the gradients of the whole batch."""

    def share(self, batches: Iterable, example):
        """What `fit` takes in place of `batches`, each of the shapes and dtypes of `example`."""
        if keras.backend.backend() != "tensorflow":
            return batches
        import tensorflow as tf

        # Keras would tell TensorFlow nothing of their shapes; with them a step of the style network took 6 % less time.
        signature = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), example)
        return tf.data.Dataset.from_generator(lambda: batches, output_signature=signature).prefetch(1)


def devices_for(wanted: int | Literal["auto"]) -> Devices:
    """The devices of this machine, or all of those of the processes in TF_CONFIG, ready to share batches.

    Args:
        wanted: how many; "auto" takes all GPUs there are, or all CPU devices where there is no GPU (one, but for
            tests). With TF_CONFIG, which needs "auto", this waits until all processes have come.

    Raises:
        DataError: there are not so many, or the backend cannot.
    """
    backend = keras.backend.backend()
    if wanted == 1:
        return Devices()
    if backend not in ("tensorflow", "jax"):
        raise DataError(f"--devices {wanted}: training on several devices is for TensorFlow and JAX, not for {backend}")
    processes, this = _processes()
    if backend == "tensorflow" and len(processes) > 1:
        if wanted != "auto":
            raise DataError(f"--devices {wanted}: TF_CONFIG names {len(processes)} processes; say --devices auto")
        return _Replicas(None, first=this == processes[0])
    found = keras.distribution.list_devices()
    count = len(found) if wanted == "auto" else wanted
    if not 1 <= count <= len(found):
        raise DataError(f"--devices {wanted}: expected 1 to {len(found)} or auto, for there are {', '.join(found)}")
    if count == 1:
        return Devices()
    return _Replicas(found[:count]) if backend == "tensorflow" else _Shards(found[:count])


def _processes():
    """([(kind, index), ...], (kind, index)): the processes in TF_CONFIG, the one that writes first; and this one."""
    said = json.loads(os.environ.get("TF_CONFIG") or "{}")
    cluster, task = said.get("cluster", {}), said.get("task", {})
    found = [(kind, index) for kind in ("chief", "worker") for index in range(len(cluster.get(kind, ())))]
    return found, (task.get("type"), task.get("index"))


class _Shards(Devices):
    """JAX: arrays of a batch are cut over the devices, and one program computes with them as if they were whole."""

    def __init__(self, names):
        self.count = len(names)
        self._distribution = keras.distribution.DataParallel(devices=names)

    def building(self):
        return self._distribution.scope()

    fitting = building

    @contextmanager
    def alone(self):
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self._distribution)


@functools.cache  # a second strategy would count its messages from 0 again, and devices that remember them refuse
def _strategy(names: tuple[str, ...] | None):
    import tensorflow as tf

    if names is None:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy([name.upper() for name in names])


class _Replicas(Devices):
    """TensorFlow: a copy of the model on each device.

    Args:
        names: of this machine's devices, such as "gpu:0"; None for those of the processes in TF_CONFIG.
        first: this process writes the run folder.
    """

    def __init__(self, names, first=True):
        import tensorflow as tf

        self._tf, self._first = tf, first
        self.several_processes = names is None
        self._strategy = _strategy(names and tuple(names))
        self.count = self._strategy.num_replicas_in_sync

    def building(self):
        return self._strategy.scope()

    @contextmanager
    def folder(self, out):
        if self._first:
            yield out
            return
        # The others do all that the first one does, so that none waits for what another leaves out.
        with tempfile.TemporaryDirectory() as name:
            yield Path(name) / out.name

    def prepare(self, model):
        self._least_rows, alone = model.least_rows, model.compute_loss

        def compute_loss(*args, **kwargs):
            return alone(*args, **kwargs) / self.count  # Keras adds the devices' losses and gradients up

        model.compute_loss = compute_loss
        model.over_devices = self._mean
        # Keras would build what is built already, on the devices' mean of a batch, which there is not of booleans.
        model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None
        if self.several_processes:
            step = model.train_step
            # Keras takes the mean of what the processes report over an axis, which a number has not.
            model.train_step = lambda data: {name: keras.ops.reshape(v, (1,)) for name, v in step(data).items()}
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def add_up(self, optimizer):
        inner = getattr(optimizer, "inner_optimizer", optimizer)  # a LossScaleOptimizer has one
        if inner.gradient_accumulation_steps:
            raise DataError(
                "--accumulate and --devices do not go together on TensorFlow; leave one out, or set KERAS_BACKEND=jax"
            )
        apply = optimizer.apply

        def apply_sums(grads, trainable_variables=None):
            replica, present = self._tf.distribute.get_replica_context(), [g for g in grads if g is not None]
            sums = iter(replica.all_reduce(self._tf.distribute.ReduceOp.SUM, present))
            return apply([None if g is None else next(sums) for g in grads], trainable_variables)

        optimizer.apply = apply_sums
        inner._all_reduce_sum_gradients = lambda pairs: pairs  # what Keras does after clipping, too late

    def share(self, batches, example):
        tf, count = self._tf, self.count
        if (size := len(tf.nest.flatten(example)[0]) // count) < self._least_rows:
            raise DataError(
                f"each of {count} devices gets {size} images of a batch, and this model learns from {self._least_rows} "
                f"at least; make it --batch-size {count * self._least_rows}, or set KERAS_BACKEND=jax"
            )

        def rows(array, device):
            size = len(array) // count
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
            return tf.TensorSpec((len(array) // count, *array.shape[1:]), array.dtype)

        signature = tf.nest.map_structure(spec, example)
        return self._strategy.distribute_datasets_from_function(of_process)

    def _mean(self, value):
        replica = self._tf.distribute.get_replica_context()
        return replica.all_reduce(self._tf.distribute.ReduceOp.MEAN, value)

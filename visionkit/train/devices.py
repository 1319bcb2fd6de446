"""Several devices that share a batch, with the result of one device except for the order of additions.

On JAX one program sees the whole batch (`keras.distribution.DataParallel`), so nothing differs; with several processes,
each runs that program and brings its own rows of the batch. On TensorFlow each device has a copy of the model and some
rows of the batch (MirroredStrategy, or MultiWorkerMirroredStrategy for several processes), and Keras 3 leaves three
things to us:

- a loss divides by what it counts in its own rows: `Task.over_devices` lets it count those of all devices;
- Keras clips and checks gradients before it adds them up over the devices: here they are added up first;
- batch norm takes the mean and variance of its own rows: here of all rows (`synchronized`).

Random draws inside the model (dropout, the samples of two-stage detectors) are the same on each TensorFlow device, for
its own rows; so they are not the draws that one device makes.
"""

import atexit
import functools
import os
import sys
import tempfile
import types
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from visionkit.models.task import Task
from visionkit.train.cluster import Cluster, cluster_of
from visionkit.types import DataError, Tensor


class Devices:
    """A single device, and the interface of the other classes in this file.

    `count` is how many devices, of all processes together, share a batch. Each of several processes runs the same
    program with its own rows of each batch, and the first of them writes the run.
    """

    count = 1
    cluster = Cluster()

    @property
    def several_processes(self) -> bool:
        """Whether other processes train with this one."""
        return self.cluster.count > 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the run."""
        return self.cluster.index == 0

    def building(self) -> AbstractContextManager:
        """A context for making the model and its optimizer."""
        return nullcontext()

    def fitting(self) -> AbstractContextManager:
        """A context for `fit`."""
        return nullcontext()

    def alone(self) -> AbstractContextManager:
        """A context within `fit` for work that one device does by itself, such as predicting, or saving the model."""
        return nullcontext()

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Yields the folder to which this process writes its run: only one process writes to `out`."""
        if self.writes:
            yield out
            return
        # The others do everything that the first one does, so that no process waits for a step that another leaves out.
        with tempfile.TemporaryDirectory() as name:
            yield Path(name) / out.name

    def prepare(self, model: Task) -> None:
        """Called once for a model that has been built, before it is compiled."""
        fuse_batch_norm(model)

    def add_up(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Called for each optimizer, to let it see the gradients of the whole batch."""

    def share(self, batches: Iterable, example: Any) -> Any:
        """What `fit` takes in place of `batches`, which hold the rows of this process; `example` is one of them."""
        if keras.backend.backend() != "tensorflow":
            return batches
        import tensorflow as tf

        # Keras would not tell TensorFlow the shapes; with them a step of the style network took 6 % less time.
        signature = tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), example)
        return tf.data.Dataset.from_generator(lambda: batches, output_signature=signature).prefetch(1)


def fuse_batch_norm(model: Task) -> None:
    """Makes batch norm a single operation of TensorFlow on CPUs, with the same result; elsewhere it does nothing.

    Keras composes it of a dozen operations, each of which reads whole feature maps: of a training step of SSD on
    EfficientNet-Lite0 they took over a third. Each layer gets another `call`; what is saved of it stays as it was.
    """
    if keras.backend.backend() != "tensorflow" or keras.distribution.list_devices("gpu"):
        return
    for layer in model._flatten_layers():
        if type(layer) is keras.layers.BatchNormalization and not (layer.renorm or layer.synchronized):
            layer.call = types.MethodType(_batch_norm, layer)


def _batch_norm(
    layer: Any,  # a BatchNormalization
    inputs: Tensor,
    training: bool | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """What `BatchNormalization.call` gives, by one operation where there is one for such inputs."""
    import tensorflow as tf

    fused = layer.compute_dtype in ("float32", "bfloat16") and len(inputs.shape) == 4 and layer.axis in (-1, 3)
    if mask is not None or not fused:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    learns = bool(training and layer.trainable)
    channels, nothing = inputs.shape[-1:], tf.zeros([0])
    x, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(inputs, layer.compute_dtype),
        scale=tf.cast(layer.gamma, "float32") if layer.scale else tf.ones(channels),
        offset=tf.cast(layer.beta, "float32") if layer.center else tf.zeros(channels),
        mean=nothing if learns else tf.cast(layer.moving_mean, "float32"),
        variance=nothing if learns else tf.cast(layer.moving_variance, "float32"),
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), "float32")
        variance = variance * (1 - 1 / count)  # TensorFlow divides by count - 1, and Keras by count
        for kept, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            kept.assign(kept * layer.momentum + tf.stop_gradient(new) * (1 - layer.momentum))
    return x


def devices_for(wanted: int | Literal["auto"]) -> Devices:
    """The devices of this machine, or of all processes that train together, ready to share batches.

    Args:
        wanted: how many; "auto" takes all GPUs, or all CPU devices when there is no GPU (there is one, except in
            tests). Several processes, which need "auto", take all of theirs, and this waits until all have started.

    Raises:
        DataError: there are fewer devices, the backend cannot share batches, or see `cluster_of`.
    """
    backend = keras.backend.backend()
    cluster = cluster_of(backend, wanted)
    if wanted == 1:
        return Devices()
    if backend not in ("tensorflow", "jax"):
        raise DataError(f"--devices {wanted}: training on several devices is for TensorFlow and JAX, not for {backend}")
    if cluster.count > 1:
        return _Replicas(None, cluster) if backend == "tensorflow" else _Processes(cluster)
    names = keras.distribution.list_devices()
    count = len(names) if wanted == "auto" else wanted
    if not 1 <= count <= len(names):
        raise DataError(f"--devices {wanted}: expected 1 to {len(names)} or auto; the devices are {', '.join(names)}")
    if count == 1:
        return Devices()
    return _Replicas(names[:count]) if backend == "tensorflow" else _Shards(names[:count])


class _Shards(Devices):
    """JAX: a batch is split over the devices, and one program computes with it as if it were whole."""

    def __init__(self, names: list[str]):
        self.count = len(names)
        # Each process already brings its own rows.
        self._distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)

    def building(self) -> AbstractContextManager:
        return self._distribution.scope()

    def fitting(self) -> AbstractContextManager:
        return self._distribution.scope()

    @contextmanager
    def alone(self) -> Iterator[None]:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)


class _Processes(_Shards):
    """JAX: the devices of several processes, each of which runs the same program.

    Args:
        cluster: the processes.
    """

    def __init__(self, cluster: Cluster):
        _join()
        super().__init__(keras.distribution.list_devices())
        self.cluster = cluster

    @contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        import jax

        try:
            with super().folder(out) as folder:
                yield folder
        except BaseException as error:
            # JAX would wait for the other processes when this one ends, and they for the step that it has not taken.
            atexit.register(_end, 130 if isinstance(error, KeyboardInterrupt) else 1)
            raise
        jax.distributed.shutdown()  # here all are at the same point; the first may have more to do after it

    def prepare(self, model: Task) -> None:
        self._model = model

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Also gives the model copies of its weights that belong to this process: no other has to compute with it."""
        variables: list[Any] = self._model.variables
        with super().alone():
            before = [(variable._value, variable._layout) for variable in variables]
            for variable in variables:
                variable._layout = None
                variable._value = keras.ops.convert_to_tensor(np.array(variable._value))
            try:
                yield
            finally:
                for variable, (value, layout) in zip(variables, before, strict=True):
                    variable._value, variable._layout = value, layout


@functools.cache
def _join() -> None:
    """Connects this process with the others; once, since JAX cannot do it again."""
    keras.utils.set_random_seed(0)  # else Keras draws one, and computes with all devices to agree on it; see `run`
    try:
        keras.distribution.initialize()  # reads the variables of `cluster_of`
    except RuntimeError as error:
        raise DataError(f"the processes could not be connected: {str(error).splitlines()[0]}") from error


def _end(code: int) -> None:
    """Ends this process without what else is registered to be done first."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@functools.cache  # a second strategy would number its messages from 0 again, which the devices refuse
def _strategy(names: tuple[str, ...] | None) -> Any:
    import tensorflow as tf

    if names is None:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy([name.upper() for name in names])


class _Replicas(Devices):
    """TensorFlow: a copy of the model on each device.

    Args:
        names: of this machine's devices, such as "gpu:0"; None means those of all processes.
        cluster: the processes.
    """

    def __init__(self, names: list[str] | None, cluster: Cluster = Cluster()):  # noqa: B008, it is frozen
        import tensorflow as tf

        self._tf = tf
        self.cluster = cluster
        self._strategy = _strategy(None if names is None else tuple(names))
        self.count = self._strategy.num_replicas_in_sync

    def building(self) -> AbstractContextManager:
        return self._strategy.scope()

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
        tf, local = self._tf, self.count // self.cluster.count
        size = len(tf.nest.flatten(example)[0]) // local
        if size < self._least_rows:
            raise DataError(
                f"each of {self.count} devices gets {size} images of a batch, but this model needs at least "
                f"{self._least_rows} to learn from; use --batch-size {self.count * self._least_rows}, or set "
                "KERAS_BACKEND=jax"
            )

        def rows(array, device):
            return array[device * size : (device + 1) * size]

        def shares():
            for batch in batches:
                for device in range(local):
                    yield tf.nest.map_structure(lambda array: rows(array, device), batch)  # noqa: B023, used at once

        def of_process(context):
            return tf.data.Dataset.from_generator(shares, output_signature=signature).prefetch(local)

        def spec(array):
            return tf.TensorSpec((size, *array.shape[1:]), array.dtype)

        signature = tf.nest.map_structure(spec, example)
        return self._strategy.distribute_datasets_from_function(of_process)

    def _mean(self, value: Tensor) -> Tensor:
        replica = self._tf.distribute.get_replica_context()
        return replica.all_reduce(self._tf.distribute.ReduceOp.MEAN, value)

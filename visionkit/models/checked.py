"""What `fit` and `evaluate` take, with every batch looked at on its way: nothing is read twice and no order changes."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import keras

from visionkit.models.target_check import TargetCheck


def checked(x: Any, y: Any, sample_weight: Any, check: TargetCheck) -> Any:
    """Returns what to give to Keras in place of `x`.

    Arrays are checked here and now, as one large batch. A `PyDataset`, a generator, a grain data set or a
    `tf.data.Dataset` is returned as one of the same kind whose batches go through `check` when they are read; Keras
    reads the first before it compiles anything, except from a `tf.data.Dataset`, of which this checks the structure.
    Other sources, such as a torch `DataLoader` or a distributed data set, are returned as they are.
    """
    if hasattr(x, "records") and hasattr(x, "class_names"):
        check.refuse("a data set has no batches: give fit vk.batches(dataset, transform, batch_size, ...)")
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedSequence(x, check)
    if isinstance(x, types.GeneratorType):
        return _each(x, check)
    if hasattr(x, "element_spec"):  # of TensorFlow; a distributed data set cannot be mapped
        return _mapped(x, check) if hasattr(x, "map") else x
    if any(cls.__module__.startswith("grain.") for cls in type(x).__mro__):  # a DataLoader cannot be mapped
        return x.map(check.__call__) if hasattr(x, "map") else x
    if hasattr(x, "__array__") or isinstance(x, list):
        check((x, y, sample_weight))
    return x


def _each(batches: Iterator[Any], check: TargetCheck) -> Iterator[Any]:
    for batch in batches:
        yield check(batch)


class _CheckedSequence(keras.utils.PyDataset):
    def __init__(self, source: keras.utils.PyDataset, check: TargetCheck):
        super().__init__(source.workers, source.use_multiprocessing, source.max_queue_size)
        self.source, self.check = source, check

    def __getitem__(self, index: int) -> Any:
        return self.check(self.source[index])

    @property
    def num_batches(self) -> int | None:
        return self.source.num_batches

    def on_epoch_begin(self) -> None:
        self.source.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.source.on_epoch_end()


def _mapped(dataset: Any, check: TargetCheck) -> Any:
    """A `tf.data.Dataset` whose elements are checked on the host as they are read."""
    tf: Any = sys.modules["tensorflow"]  # loaded, since the data set is made of it
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    check.check_structure(*(*parts[1:], None, None)[:2])
    if not all(isinstance(part, tf.TensorSpec) for part in tf.nest.flatten(spec)):
        return dataset  # ragged or sparse: Keras says what it thinks of it

    def look(*batch: Any) -> Any:
        seen = (batch[0][:2], *batch[1:])  # two images: copying all of them would take longer than all else

        def on_host(*arrays: Any) -> int:
            check(tf.nest.pack_sequence_as(seen, arrays))
            return 0

        with tf.control_dependencies([tf.numpy_function(on_host, tf.nest.flatten(seen), tf.int64)]):
            batch = tf.nest.map_structure(tf.identity, batch)
        return batch if isinstance(spec, tuple) else batch[0]

    return dataset.map(look)

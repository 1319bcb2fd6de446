"""Batches for `keras.Model.fit`: shuffled, transformed, padded to static shapes, equal for any number of workers."""

import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags

from visionkit.data.arrays import ArrayDataset
from visionkit.data.box_formats import check_made_boxes
from visionkit.data.dataset import Dataset
from visionkit.npboxes import area
from visionkit.resizing import to_channels
from visionkit.types import PADDING, DataError, Sample, check_sample, objects_of

# The fields that each task needs; the others are dropped before the transform, so that they cost nothing.
TASKS = {
    "detect": ("boxes", "labels", "ignore"),
    "instance": ("boxes", "labels", "ignore", "masks"),
    "keypoints": ("boxes", "labels", "ignore", "keypoints"),
    "classify": ("label",),
    "segment": ("segmentation",),
    "style": (),
}
Mix = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
Batch = tuple[np.ndarray, dict[str, np.ndarray]]
_log = logging.getLogger(__name__)


def batches(
    dataset: Dataset,
    transform: Callable[[Sample, int], Sample] | None,
    batch_size: int,
    *,
    task: str = "detect",
    seed: int = 0,
    epochs: int = 1,
    shuffle: bool = True,
    max_objects: int | None = None,
    drop_remainder: bool = True,
    workers: int = 0,
    mix: Mix | None = None,
    channels: int = 3,
    start_step: int = 0,
    part: tuple[int, int] = (0, 1),
) -> grain.IterDataset:
    """Turns the data set into `epochs` epochs of batches, one after the other.

    `model.fit(batches(..., epochs=n), epochs=n, steps_per_epoch=steps_per_epoch(...), shuffle=False)`; without
    `shuffle=False` Keras warns that it cannot shuffle this.

    The order of an epoch depends only on (seed, epoch), and the transform's seed for a sample only on (seed, epoch, its
    index). So batches are bit-equal for any `workers`, and from `start_step` on they are those of an uninterrupted run.

    Args:
        dataset: must not be empty. If it has fewer samples than a batch and `drop_remainder` is set, samples are
            repeated within the batch, with different seeds.
        transform: see `data.transforms`; must give every sample the same size. None takes the images as they are, and
            takes whole batches at once from a data set of `arrays`.
        batch_size: samples in a batch.
        task: "detect", "instance", "keypoints", "classify", "segment" or "style".
        epochs: how often each sample is used.
        shuffle: False keeps the data set's order.
        max_objects: limits M below, which otherwise is the largest number of objects in an image, rounded up to a
            multiple of 8, at least 8. Of an image with more objects the largest are kept; a warning is logged.
        drop_remainder: leave out the last samples of an epoch that do not fill a batch; False returns them as a smaller
            batch.
        workers: 0 reads with threads of this process; n > 0 with n processes, for which `dataset` and `transform` must
            be picklable and the script must run its main part under `if __name__ == "__main__":`.
        mix: for "classify": blends a batch, see `data.mix`; `label` is then float32 `[B, K]`, a share for each class.
        channels: C below, as the network needs it: 3 for RGB, 1 for grey.
        start_step: how many batches, counted over all epochs, to skip without reading them.
        part: (i, n) reads and returns only the i-th, from 0, of n equal parts of each batch, for one of n processes
            that share it. `mix` blends a batch as a whole, so all of it is read then.

    Returns:
        grain.IterDataset of `(images, y)`: images uint8 `[B, H, W, C]` and, by task,
        detect: `boxes` float32 `[B, M, 4]` in pixels of the images, `labels` int32 `[B, M]`, -1 where there is no
        object, `ignore` bool `[B, M]`; instance: `masks` uint8 `[B, M, H, W]` besides; keypoints: `keypoints` float32
        `[B, M, P, 3]` besides, see `Sample`; classify: `label` int32 `[B]`;
        segment: `segmentation` int32 `[B, H, W]`; style: nothing.

    Raises:
        DataError: the data set is empty; or, while reading, a sample violates a convention, lacks what the task needs
            or has a different size; names the sample. Whatever a reader or transform raises gets a note with its id.
        ValueError: an argument is out of range.
    """
    if task not in TASKS or batch_size < 1 or epochs < 1 or workers < 0:
        given = f"{task=}, {batch_size=}, {epochs=}, {workers=}"
        raise ValueError(
            f"expected a task of {', '.join(TASKS)}, batch_size and epochs >= 1, workers >= 0; found {given}"
        )
    order = _Order(len(dataset), batch_size, seed, shuffle, drop_remainder)
    if not 0 <= start_step <= order.steps * epochs:
        raise ValueError(f"start_step: expected 0..{order.steps * epochs} ({epochs} epochs), found {start_step}")
    if not 0 <= part[0] < part[1] or (part[1] > 1 and (batch_size % part[1] or not drop_remainder)):
        raise ValueError(f"part: expected (i, n) with n equal parts of {batch_size} samples, found {part}")
    rows = 0
    if "boxes" in TASKS[task]:
        rows = _max_objects(dataset, max_objects)
        check_made_boxes(dataset)
    source = _Batches(dataset, transform, order, epochs, task, rows, mix, channels, part)
    threads = 1 if workers else min(8, os.cpu_count() or 1)
    feed = grain.MapDataset.source(source)[start_step:]
    feed = feed.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1))
    if not workers:
        return feed
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's processes read absl flags, which only absl's own main would parse
    return feed.mp_prefetch(
        grain.MultiprocessingOptions(workers, per_worker_buffer_size=2), worker_init_fn=_init_worker
    )


def steps_per_epoch(dataset: Dataset, batch_size: int, drop_remainder: bool = True) -> int:
    """Returns how many batches an epoch has, at least 1, for the arguments of `batches`.

    Args:
        dataset: what is learned from.
        batch_size: samples in a batch.
        drop_remainder: whether the last samples, which do not fill a batch, are left out.
    """
    return _Order(len(dataset), batch_size, 0, False, drop_remainder).steps


def batch_ids(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    epoch: int,
    step: int,
    *,
    shuffle: bool = True,
    drop_remainder: bool = True,
) -> list[str]:
    """Returns the ids of the samples in batch `step` of `epoch` (both from 0) of `batches` with the same arguments."""
    order = _Order(len(dataset), batch_size, seed, shuffle, drop_remainder)
    if not 0 <= step < order.steps:
        raise ValueError(f"step: expected 0..{order.steps - 1}, found {step}")
    return [dataset.records[index].id for index in order.indices(epoch, step)]


def check_batch(images: np.ndarray, targets: Mapping[str, np.ndarray], num_classes: int | None = None) -> None:
    """Raises `DataError` unless a padded detection batch follows the conventions.

    Args:
        images: uint8 or float32 `[B, H, W, 3]`, values 0..255.
        targets: `boxes` float32 `[B, M, 4]`, `labels` int32 `[B, M]` with -1 for padding, `ignore` bool `[B, M]`.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"batch: expected images [B, H, W, 3], found {images.shape}")
    for i, (boxes, labels) in enumerate(zip(targets["boxes"], targets["labels"], strict=True)):
        if (labels < PADDING).any():
            raise DataError(f"batch row {i}: expected labels >= {PADDING}, found {labels.min()}")
        real = labels != PADDING
        row = Sample(id=f"batch row {i}", image_size=images.shape[1:3], boxes=boxes[real], labels=labels[real])
        check_sample(row, num_classes)


def _max_objects(dataset: Dataset, max_objects: int | None) -> int:
    """How many rows for objects a batch has: as many as the fullest image needs, up to `max_objects`."""
    counts = [0 if record.boxes is None else len(record.boxes) for record in dataset.records]
    most = max(8, math.ceil(max(counts) / 8) * 8)
    if max_objects is None:
        return most
    if max_objects < 1:
        raise ValueError(f"max_objects: expected 1 or more, found {max_objects}")
    if over := sum(count > max_objects for count in counts):
        where = dataset.records[int(np.argmax(counts))].id
        _log.warning(
            "%d of %d images have more than max_objects=%d objects (%r has %d): the largest of each are kept",
            over,
            len(counts),
            max_objects,
            where,
            max(counts),
        )
    return min(max_objects, most)


def _init_worker(index: int, count: int) -> None:
    cv2.setNumThreads(0)  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; what it means, the parent decides
    # Not os.getppid(): if the parent was killed while this worker started, that is already another process.
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_after, args=(parent.pid,), daemon=True).start()


def _exit_after(parent: int | None) -> None:
    """Ends this worker once its parent is gone; if the parent was killed, nobody else does."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _stacked(samples: list[Sample], field: str) -> np.ndarray:
    """One field of all samples, none of which is None, as one array."""
    return np.stack([getattr(sample, field) for sample in samples])


class _Order:
    """Decides which samples make up which batch."""

    def __init__(self, count: int, batch_size: int, seed: int, shuffle: bool, drop_remainder: bool):
        if not count:
            raise DataError("the data set is empty: expected at least one sample")
        if batch_size < 1:
            raise DataError(f"batch_size: expected 1 or more, found {batch_size}")
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.wraps = drop_remainder and count < batch_size
        self.steps = max(1, count // batch_size) if drop_remainder else math.ceil(count / batch_size)

    def indices(self, epoch: int, step: int) -> list[int]:
        order = _shuffled(self.count, self.seed, epoch) if self.shuffle else np.arange(self.count)
        if self.wraps:
            order = np.resize(order, self.batch_size)
        return order[step * self.batch_size : (step + 1) * self.batch_size].tolist()


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


class _Batches:
    """A random access source for grain whose items are whole batches, so that no order of reading can mix them up."""

    def __init__(
        self,
        dataset: Dataset,
        transform: Callable[[Sample, int], Sample] | None,
        order: _Order,
        epochs: int,
        task: str,
        max_objects: int,
        mix: Mix | None,
        channels: int,
        part: tuple[int, int] = (0, 1),
    ):
        size = order.batch_size // part[1]
        self.rows = slice(part[0] * size, (part[0] + 1) * size) if part[1] > 1 else slice(None)
        self.dataset = dataset
        self.transform = transform
        self.order = order
        self.epochs = epochs
        self.task = task
        self.max_objects = max_objects
        self.mix = mix
        self.channels = channels

    def __len__(self) -> int:
        return self.order.steps * self.epochs

    def __repr__(self) -> str:  # grain's messages contain it
        return f"{len(self)} batches of {self.dataset.source or 'samples'}"

    def __getitem__(self, index: int) -> Batch:
        epoch, step = divmod(int(index), self.order.steps)
        if not self.mix:
            return self._rows(epoch, step, self.rows)
        images, y = self._rows(epoch, step, slice(None))  # each row is blended with another
        return images[self.rows], {name: values[self.rows] for name, values in y.items()}

    def _rows(self, epoch: int, step: int, rows: slice) -> Batch:
        indices = self.order.indices(epoch, step)
        if self.task == "classify" and self.transform is None and isinstance(self.dataset, ArrayDataset):
            images, labels = self.dataset.images[indices[rows]], self.dataset.labels[indices[rows]]
            return self._labelled(to_channels(images, self.channels), labels, epoch, step)
        entropies = []
        used: Counter[int] = Counter()
        for i in indices:
            entropies.append([self.order.seed, epoch, i, used[i]])
            used[i] += 1  # a sample is used twice only if the data set is smaller than a batch
        samples = [self._sample(i, entropy) for i, entropy in zip(indices[rows], entropies[rows], strict=True)]
        return self._assembled(samples, epoch, step)

    def _assembled(self, samples: list[Sample], epoch: int, step: int) -> Batch:
        sizes = {sample.image_size: sample.id for sample in samples}
        if len(sizes) > 1:
            raise DataError(f"a transform must give every image the same size, found {sizes} (size: sample)")
        images = to_channels(_stacked(samples, "image"), self.channels)
        if self.task == "classify":
            return self._labelled(images, np.array([sample.label for sample in samples], np.int32), epoch, step)
        if self.task == "segment":
            return images, {"segmentation": _stacked(samples, "segmentation")}
        if self.task == "style":
            return images, {}
        return images, self._padded(samples)

    def _labelled(self, images: np.ndarray, labels: np.ndarray, epoch: int, step: int) -> Batch:
        if self.mix:
            rng = np.random.default_rng([self.order.seed, epoch, step])
            images, labels = self.mix(images, np.eye(len(self.dataset.class_names), dtype=np.float32)[labels], rng)
        return images, {"label": labels}

    def _sample(self, index: int, entropy: list[int]) -> Sample:
        """Reads, checks and transforms one sample; the entropy seeds the transform."""
        fields = TASKS[self.task]
        try:
            sample = self.dataset[index]
            dropped: set[str] = {"areas", *(field for task in TASKS.values() for field in task)} - set(fields)
            without: dict[str, Any] = dict.fromkeys(dropped)
            sample = replace(sample, **without)
            check_sample(sample, len(self.dataset.class_names))
            for field in {"image", *fields} - {"ignore"}:
                if getattr(sample, field) is None:
                    raise DataError(f"sample {sample.id!r}: task {self.task!r} needs {field}, found None")
            if self.transform is None:
                return sample
            return self.transform(sample, int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        except Exception as error:
            error.add_note(f"while preparing sample {self.dataset.records[index].id!r} (index {index})")
            raise

    def _padded(self, samples: list[Sample]) -> dict[str, np.ndarray]:
        """The objects of the samples, padded to `max_objects` rows each."""
        b, m, (h, w) = len(samples), self.max_objects, samples[0].image_size
        y = {
            "boxes": np.zeros((b, m, 4), np.float32),
            "labels": np.full((b, m), PADDING, np.int32),
            "ignore": np.zeros((b, m), bool),
        }
        if self.task == "instance":
            y["masks"] = np.zeros((b, m, h, w), np.uint8)
        if samples[0].keypoints is not None:
            y["keypoints"] = np.zeros((b, m, *samples[0].keypoints.shape[1:]), np.float32)
        for i, sample in enumerate(samples):
            boxes = objects_of(sample).boxes
            keep = np.arange(len(boxes))
            if len(keep) > m:
                keep = np.sort(np.argsort(-area(boxes), kind="stable")[:m])
            for name, rows in y.items():
                values = getattr(sample, name)
                if values is not None:
                    rows[i, : len(keep)] = values[keep]
        return y

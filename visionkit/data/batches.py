"""Batches for `keras.Model.fit`: shuffled, transformed, padded to static shapes, the same whatever reads them."""

import logging
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import cv2
import grain
import numpy as np
from absl import flags

from visionkit.data.arrays import ArrayDataset
from visionkit.data.dataset import Dataset
from visionkit.resizing import to_channels
from visionkit.types import PADDING, DataError, Sample, check_sample

# What each task feeds on; the rest of a sample is dropped before the transform, so that it costs nothing.
TASKS = {
    "detect": ("boxes", "labels", "ignore"),
    "instance": ("boxes", "labels", "ignore", "masks"),
    "classify": ("label",),
    "segment": ("segmentation",),
    "style": (),
}
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
    mix: Callable | None = None,
    channels: int = 3,
    start_step: int = 0,
) -> grain.IterDataset:
    """The data set as `epochs` epochs of batches, one after the other.

    `model.fit(batches(..., epochs=n), epochs=n, steps_per_epoch=steps_per_epoch(...), shuffle=False)`; Keras warns of
    a shuffle that it does not do without the last.

    The order of an epoch follows from (seed, epoch), the transform's seed of a sample from (seed, epoch, its index). So
    batches are bit-equal for any `workers`, and those from `start_step` on are the ones an uninterrupted run would see.

    Args:
        dataset: must not be empty. If it has fewer samples than a batch and `drop_remainder`, a batch holds some twice,
            with different seeds.
        transform: see `data.transforms`; must give every sample the same size. None takes the images as they are, and
            whole batches at once out of a data set of `arrays`.
        batch_size: samples in a batch.
        task: "detect", "instance", "classify", "segment" or "style".
        epochs: how many times each sample comes.
        shuffle: False keeps the data set's order.
        max_objects: M below is the most that a sample of the data set has, rounded up to a multiple of 8, at least 8;
            but no more than this. Of an image with more the largest are kept; how many images that concerns is logged.
        drop_remainder: leave out the last samples of an epoch's order that do not fill a batch; False gives them as a
            smaller batch.
        workers: 0 reads with threads of this process; n > 0 with n processes, for which `dataset` and `transform` must
            be picklable and the script's main part be under `if __name__ == "__main__":`.
        mix: for "classify": blends a batch, see `data.mix`; `label` is then float32 `[B, K]`, a share a class.
        channels: C below, that of the network: 3 for RGB, 1 for grey.
        start_step: how many batches, counted over all epochs, to skip without reading them.

    Returns:
        grain.IterDataset of `(images, y)`: images uint8 `[B, H, W, C]` and, by task,
        detect: `boxes` float32 `[B, M, 4]` in pixels of the images, `labels` int32 `[B, M]`, -1 where there is no
        object, `ignore` bool `[B, M]`; instance: `masks` uint8 `[B, M, H, W]` besides; classify: `label` int32 `[B]`;
        segment: `segmentation` int32 `[B, H, W]`; style: nothing, the images are all it takes.

    Raises:
        DataError: the data set is empty; or while reading, naming the sample: it breaks a convention, lacks what the
            task needs or has another size. Whatever a reader or transform raises carries a note with the sample's id.
        ValueError: an argument is out of its range.
    """
    if task not in TASKS or batch_size < 1 or epochs < 1 or workers < 0:
        given = f"{task=}, {batch_size=}, {epochs=}, {workers=}"
        raise ValueError(
            f"expected a task of {', '.join(TASKS)}, batch_size and epochs >= 1, workers >= 0; found {given}"
        )
    plan = _Plan(len(dataset), batch_size, seed, shuffle, drop_remainder)
    if not 0 <= start_step <= plan.steps * epochs:
        raise ValueError(f"start_step: expected 0..{plan.steps * epochs} ({epochs} epochs), found {start_step}")
    if "boxes" in TASKS[task]:
        max_objects = _max_objects(dataset, max_objects)
    source = _Batches(dataset, transform, plan, epochs, task, max_objects, mix, channels)
    threads = 1 if workers else min(8, os.cpu_count() or 1)
    feed = grain.MapDataset.source(source)[start_step:]
    feed = feed.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1))
    if not workers:
        return feed
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's processes read absl flags, which only absl's own main parses
    return feed.mp_prefetch(
        grain.MultiprocessingOptions(workers, per_worker_buffer_size=2), worker_init_fn=_init_worker
    )


def steps_per_epoch(dataset: Dataset, batch_size: int, drop_remainder: bool = True) -> int:
    """How many batches an epoch has, at least 1."""
    return _Plan(len(dataset), batch_size, 0, False, drop_remainder).steps


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
    """The ids of the samples in batch `step` of `epoch`, both from 0, of `batches` with the same arguments."""
    plan = _Plan(len(dataset), batch_size, seed, shuffle, drop_remainder)
    if not 0 <= step < plan.steps:
        raise ValueError(f"step: expected 0..{plan.steps - 1}, found {step}")
    return [dataset.records[index].id for index in plan.indices(epoch, step)]


def _max_objects(dataset, max_objects):
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
            *(over, len(counts), max_objects, where, max(counts)),
        )
    return min(max_objects, most)


def _init_worker(index, count):
    cv2.setNumThreads(0)  # the processes are the parallelism
    # Not os.getppid(): where the parent was killed while this worker started, that is another process already.
    parent = multiprocessing.parent_process().pid
    threading.Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent):
    """Ends this worker when its parent is gone: nobody else does where that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


class _Plan:
    """Which samples make which batch."""

    def __init__(self, count, batch_size, seed, shuffle, drop_remainder):
        if not count:
            raise DataError("the data set is empty: expected at least one sample")
        if batch_size < 1:
            raise DataError(f"batch_size: expected 1 or more, found {batch_size}")
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.wraps = drop_remainder and count < batch_size
        self.steps = max(1, count // batch_size) if drop_remainder else math.ceil(count / batch_size)

    def indices(self, epoch, step):
        order = _order(self.count, self.seed, epoch) if self.shuffle else np.arange(self.count)
        if self.wraps:
            order = np.resize(order, self.batch_size)
        return order[step * self.batch_size : (step + 1) * self.batch_size].tolist()


@lru_cache(maxsize=4)
def _order(count, seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(count)


class _Batches:
    """grain's random access source whose items are whole batches, so that no reader's order can mix them."""

    def __init__(self, dataset, transform, plan, epochs, task, max_objects, mix, channels):
        self.dataset, self.transform, self.plan, self.epochs = dataset, transform, plan, epochs
        self.task, self.max_objects, self.mix, self.channels = task, max_objects, mix, channels

    def __len__(self):
        return self.plan.steps * self.epochs

    def __repr__(self):  # grain writes its source into messages
        return f"{len(self)} batches of {self.dataset.source or 'samples'}"

    def __getitem__(self, position):
        epoch, step = divmod(int(position), self.plan.steps)
        indices = self.plan.indices(epoch, step)
        if self.task == "classify" and self.transform is None and isinstance(self.dataset, ArrayDataset):
            images, labels = self.dataset.images[indices], self.dataset.labels[indices]
            return self._labelled(to_channels(images, self.channels), labels, epoch, step)
        samples, seen = [], {}
        for index in indices:
            lap = seen[index] = seen.get(index, -1) + 1  # above 0 only where a small data set wraps around
            samples.append(self._sample(index, [self.plan.seed, epoch, index, lap]))
        sizes = {sample.image_size: sample.id for sample in samples}
        if len(sizes) > 1:
            raise DataError(f"a transform must give every image the same size, found {sizes} (size: sample)")
        images = to_channels(np.stack([sample.image for sample in samples]), self.channels)
        if self.task == "classify":
            return self._labelled(images, np.array([sample.label for sample in samples], np.int32), epoch, step)
        if self.task == "segment":
            return images, {"segmentation": np.stack([sample.segmentation for sample in samples])}
        if self.task == "style":
            return images, {}
        return images, self._padded(samples)

    def _labelled(self, images, labels, epoch, step):
        if self.mix:
            rng = np.random.default_rng([self.plan.seed, epoch, step])
            images, labels = self.mix(images, np.eye(len(self.dataset.class_names), dtype=np.float32)[labels], rng)
        return images, {"label": labels}

    def _sample(self, index, entropy):
        fields = TASKS[self.task]
        try:
            sample = self.dataset[index]
            dropped = {f for task in TASKS.values() for f in task} - set(fields)
            sample = replace(sample, **dict.fromkeys(dropped))
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

    def _padded(self, samples):
        b, m, (h, w) = len(samples), self.max_objects, samples[0].image_size
        boxes, labels = np.zeros((b, m, 4), np.float32), np.full((b, m), PADDING, np.int32)
        y = {"boxes": boxes, "labels": labels, "ignore": np.zeros((b, m), bool)}
        if self.task == "instance":
            y["masks"] = np.zeros((b, m, h, w), np.uint8)
        for i, sample in enumerate(samples):
            keep = np.arange(len(sample.boxes))
            if len(keep) > m:
                areas = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(axis=1)
                keep = np.sort(np.argsort(-areas, kind="stable")[:m])
            for name, rows in y.items():
                values = getattr(sample, name)
                if values is not None:
                    rows[i, : len(keep)] = values[keep]
        return y

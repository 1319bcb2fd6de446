"""`--check`: a minute before the hours, on what goes wrong most: targets, learning, NaN, memory, speed of data."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from visionkit import npboxes
from visionkit.data.anchors import OVERLAP, best_overlap, network_boxes
from visionkit.data.batches import batches
from visionkit.environment import peak_memory
from visionkit.images import letterbox_factors
from visionkit.metrics.detection import DetectionMetric
from visionkit.train.recipe import Recipe
from visionkit.types import IGNORE, PADDING, Detections

RECORDS = 64  # whose truth goes through encoding and decoding
STEPS, SECONDS = 12, 20.0  # of learning one batch by heart: what is reached first, but 4 steps at least


@dataclass(frozen=True)
class Row:
    """One line of the table: what was checked, whether it is well, the figure, and what to do where it is not."""

    name: str
    ok: bool
    figure: str
    advice: str = ""

    def __str__(self):
        line = f"{'OK' if self.ok else 'LOOK':5} {self.name:12} {self.figure}"
        return line if self.ok or not self.advice else f"{line}: {self.advice}"


def preflight(recipe: Callable[..., Recipe], knobs: dict) -> list[Row]:
    """Builds what `recipe(**knobs)` describes and tries it; nothing is written, and the model is thrown away."""
    keras.utils.set_random_seed(knobs.get("seed", 0))
    plan = recipe(**knobs)
    rows = []
    if plan.model.task in ("detect", "instance"):
        rows.append(anchor_coverage(plan))
        rows += [oracle(plan)] if hasattr(plan.model, "targets") else []
    return rows + practice(plan)


def anchor_coverage(plan: Recipe) -> Row:
    """How many objects have an anchor that overlaps them enough to be learned from without being forced on one."""
    some = plan.train.subset(range(min(RECORDS, len(plan.train))))
    boxes, _ = network_boxes(some, plan.model.image_size, plan.model.resize)
    covered = best_overlap(boxes, plan.model.anchors) >= OVERLAP
    share = float(covered.mean()) if len(boxes) else 1.0
    text = f"{share:.0%} of {len(boxes)} objects overlap an anchor by {OVERLAP} or more"
    return Row("anchors", share >= 0.8, text, "a larger --image-size, or anchors of other sizes")


def oracle(plan: Recipe) -> Row:
    """The score of perfect outputs: truth -> the model's targets -> its decoding -> the metric."""
    records, model, ops = plan.train.records[:RECORDS], plan.model, keras.ops
    most = max(8, *(len(record.boxes) for record in records), 0)
    decode = model.serving().get_layer("decode")
    metric = DetectionMetric(plan.train.class_names)
    for record in records:
        n, factors = len(record.boxes), _factors(plan, record.image_size)
        y = {"boxes": np.zeros((1, most, 4), np.float32), "labels": np.full((1, most), PADDING, np.int32)}
        y["boxes"][0, :n], y["labels"][0, :n] = record.boxes * factors, record.labels
        y["ignore"] = np.zeros((1, most), bool)
        labels, deltas, _, _ = model.targets({key: ops.convert_to_tensor(value) for key, value in y.items()})
        logits = 20.0 * ops.one_hot(labels, model.num_classes + 1)
        found = {key: ops.convert_to_numpy(value)[0] for key, value in decode(logits, deltas).items()}
        real = found["labels"] != PADDING
        boxes = npboxes.clip(found["boxes"][real] / factors, record.image_size)
        found = {"boxes": boxes, "scores": found["scores"][real], "labels": found["labels"][real]}
        metric.update(record, Detections(id=record.id, image_size=record.image_size, **found))
    score = metric.result()["mAP50"]
    advice = "what the targets cannot say, training cannot learn: look for boxes that are tiny or all but the same"
    return Row(
        "oracle", score >= 0.95 or score == -1, f"mAP50 {score:.3f} of perfect outputs on {len(records)} images", advice
    )


def practice(plan: Recipe) -> list[Row]:
    """Steps on one batch: does the loss fall, is anything not a number, what do memory and time say."""
    model, task = plan.model, plan.model.task
    plan.phases[0].prepare()
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=keras.backend.backend() == "jax")
    settings = {"task": task, "seed": plan.seed, "epochs": 1000, "mix": plan.mix, "channels": model.channels}
    feed = iter(batches(plan.train, plan.transform, plan.batch_size, **settings))
    images, y = next(feed)
    before, losses, times = peak_memory(), [], []
    while len(losses) < STEPS and (len(losses) < 5 or sum(times) < SECONDS):
        start = time.monotonic()
        losses.append(float(model.train_on_batch(images, y, return_dict=True)["loss"]))
        times.append(time.monotonic() - start)
    taken, step = peak_memory() - before, float(np.median(times[1:]))  # the first one compiles
    fell = losses[-1] < losses[0]
    text = f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {len(losses)} steps on one batch"
    rows = [Row("learning", bool(fell), text, "look at the labels in first_batch.jpg of a run, and at what is frozen")]
    return [
        *rows,
        _not_a_number(model, images, y, losses),
        _memory(taken, len(images)),
        _speed(feed, step, len(images)),
    ]


def _not_a_number(model, images, y, losses) -> Row:
    """Also after a batch of black and white images with nothing to find in them."""
    empty = {key: np.zeros_like(value) for key, value in y.items()}
    for key, value in (("labels", PADDING), ("segmentation", IGNORE)):
        if key in empty:
            empty[key] += value
    blank = np.zeros_like(images)
    blank[::2] = 255
    loss = float(model.train_on_batch(blank, empty, return_dict=True)["loss"])
    finite = all(np.isfinite(keras.ops.convert_to_numpy(value)).all() for value in model.weights)
    ok = bool(np.isfinite([*losses, loss]).all() and finite)
    text = f"loss {loss:.4g} on blank images, weights {'finite' if finite else 'NOT finite'} after it"
    return Row("numbers", ok, text, "lower the learning rate, clip gradients, or leave mixed precision")


def _memory(taken: int, count: int) -> Row:
    if keras.distribution.list_devices("gpu"):
        return Row("memory", True, "not measured on a GPU")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    text = f"{taken / 2**30:.1f} GB more for steps of {count} images"
    if taken > 0:
        text += f"; {free / 2**30:.1f} GB are free now, so about {int(count * (1 + free / taken))} images would fit"
    return Row("memory", free > taken / 4, text, "little is left: a smaller --batch-size")


def _speed(feed, step: float, count: int) -> Row:
    next(feed)
    start, done = time.monotonic(), 0
    while done < 2 or (done < 10 and time.monotonic() - start < 5):
        next(feed)
        done += 1
    wait = (time.monotonic() - start) / done
    text = f"data {count / wait:.1f} images/s, training {count / step:.1f}"
    return Row("speed", wait < step, text, "training will wait for data: smaller files on disk, or more CPU cores")


def _factors(plan: Recipe, image_size) -> np.ndarray:
    """float32 `[4]`: original pixels times these are the network's, as prediction has it."""
    h, w = plan.model.image_size
    stretch = (h / image_size[0], w / image_size[1])
    fy, fx = letterbox_factors(image_size, (h, w))[1] if plan.model.resize == "letterbox" else stretch
    return np.float32([fx, fy, fx, fy])

"""`--check`: a minute before the hours, on what goes wrong most: targets, learning, NaN, memory, speed of data."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from visionkit.data.anchors import OVERLAP, best_overlap, network_boxes
from visionkit.data.batches import batches
from visionkit.data.render import Transform
from visionkit.environment import free_memory, peak_memory
from visionkit.evaluate.scores import class_ids, evaluate
from visionkit.models.faster_rcnn import FasterRCNN
from visionkit.models.fcn import FCN
from visionkit.models.ssd import SSD
from visionkit.predict.predictor import Predictor
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe, build_recipe
from visionkit.types import IGNORE, PADDING

RECORDS = 64  # whose truth goes through encoding and decoding
SURE = 20.0  # a logit: its sigmoid or softmax is 1 but for 2e-9
_TINY = "what the targets cannot say, training cannot learn: look for boxes that are tiny or all but the same"
WANTED = {  # task -> the scores that perfect outputs must reach, and what to do where they do not
    "detect": ({"mAP50": 0.95}, _TINY),
    "instance": ({"mAP50": 0.95, "mask_mAP50": 0.9}, _TINY),
    "segment": ({"mIoU": 0.8}, "thin and small things are lost on the way to --image-size: a larger one keeps them"),
}
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


def preflight(recipe: Callable[..., Recipe], knobs: dict, options: Options = Options()) -> list[Row]:  # noqa: B008
    """Builds what `run(recipe, knobs, ...)` would and tries it; nothing is written, and the model is thrown away."""
    plan = build_recipe(recipe, knobs, options.precision)
    if plan.val is not None:
        class_ids(plan.model, plan.val)
    rows = []
    if plan.model.task in ("detect", "instance"):
        rows.append(anchor_coverage(plan))
    if isinstance(plan.model, tuple(ANSWERS)):
        rows.append(oracle(plan))
    return rows + practice(plan, options)


def anchor_coverage(plan: Recipe) -> Row:
    """How many objects have an anchor that overlaps them enough to be learned from without being forced on one."""
    some = plan.train.subset(range(min(RECORDS, len(plan.train))))
    boxes, _ = network_boxes(some, plan.model.image_size, plan.model.resize)
    covered = best_overlap(boxes, plan.model.anchors) >= OVERLAP
    share = float(covered.mean()) if len(boxes) else 1.0
    text = f"{share:.0%} of {len(boxes)} objects overlap an anchor by {OVERLAP} or more"
    return Row("anchors", share >= 0.8, text, "a larger --image-size, or anchors of other sizes")


def oracle(plan: Recipe) -> Row:
    """The score of perfect outputs: truth -> network size -> the model's targets -> its decoding -> the metric."""
    some, model = plan.train.subset(range(min(RECORDS, len(plan.train)))), plan.model
    scores = evaluate(Predictor(_Oracle(model, some)), some)
    wanted, advice = WANTED[model.task]
    found = {name: scores[name] for name in wanted if scores.get(name, -1) != -1}
    text = ", ".join(f"{name} {score:.3f}" for name, score in found.items()) or "nothing to score"
    text += f" of perfect outputs on {len(some)} images"
    return Row("oracle", all(score >= wanted[name] for name, score in found.items()), text, advice)


class _Oracle:
    """Stands in for a model before a Predictor: answers for the images of `dataset`, in their order, what perfect heads
    would, by the model's own targets and decoding.
    """

    def __init__(self, model, dataset):
        self.model = model
        for name in ("image_size", "resize", "channels", "class_names", "task"):
            setattr(self, name, getattr(model, name))
        fit = Transform(model.image_size, model.resize)
        self.truths = iter(batches(dataset, fit, 1, task=model.task, shuffle=False, channels=model.channels))
        self.answer = next(answer for kind, answer in ANSWERS.items() if isinstance(model, kind))
        self.layers = model.serving().get_layer

    def serving(self):
        return self

    def predict_on_batch(self, images) -> dict[str, np.ndarray]:
        rows = []
        for _ in images:
            y = {key: keras.ops.convert_to_tensor(value) for key, value in next(self.truths)[1].items()}
            rows.append(self.answer(self.model, self.layers, y))
        return {key: np.concatenate([keras.ops.convert_to_numpy(row[key]) for row in rows]) for key in rows[0]}


# What each kind of model says when it is right: (model, the layers of its serving by name, y of one image) -> outputs.


def _ssd(model, layer, y):
    labels, deltas, _, _ = model.targets(y)
    return layer("decode")(SURE * keras.ops.one_hot(labels, model.num_classes + 1), deltas)


def _rcnn(model, layer, y):
    ops = keras.ops
    _, positive, _, deltas = model.anchor_targets(y)
    regions, _ = layer("proposals")(SURE * (2 * ops.cast(positive, "float32") - 1), deltas)
    matched, labels, _, _, deltas = model.region_targets(regions, y)
    deltas = ops.repeat(deltas[:, :, None], model.num_classes, axis=2)  # [1, R, K, 4]
    found = layer("decode_regions")(SURE * ops.one_hot(labels, model.num_classes + 1), deltas, regions)
    if "masks" in y:
        matched = model.region_targets(found["boxes"], y)[0]
        found = found | {"masks": model.mask_targets(y["masks"], found["boxes"], matched)}
    return found


def _fcn(model, layer, y):
    logits = SURE * keras.ops.one_hot(y["segmentation"], model.num_classes)  # of 255, ignored: none
    return {"probabilities": layer("probabilities")(logits)}


ANSWERS = {SSD: _ssd, FasterRCNN: _rcnn, FCN: _fcn}  # and their subclasses, such as Mask R-CNN


def practice(plan: Recipe, options: Options = Options()) -> list[Row]:  # noqa: B008
    """Steps of Adam on one batch: does the loss fall, is anything not a number, what do memory and time say.

    The recipe's own optimizer is not tried: its rate commonly rises over more steps than these. Memory and time are
    those of the last phase, which commonly trains more of the network, or larger images, than the first.
    """
    before = peak_memory()
    feed, batch, losses, times = _learn(plan, plan.phases[0], options, STEPS)
    text = f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {len(losses)} steps of Adam on one batch"
    advice = "look at the labels in first_batch.jpg of a run, and at what is frozen"
    rows = [Row("learning", losses[-1] < losses[0], text, advice), _not_a_number(plan.model, *batch, losses)]
    if len(plan.phases) > 1:
        feed, batch, _, times = _learn(plan, plan.phases[-1], options, 3)
    step = float(np.median(times[1:]))  # the first one compiles
    return [*rows, _memory(peak_memory() - before, len(batch[0])), _speed(feed, step, len(batch[0]))]


def _learn(plan: Recipe, phase: Phase, options: Options, steps: int):
    """(the feed, its first batch, by steps on that the losses and seconds of each)."""
    model = plan.model
    phase.prepare()
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=keras.backend.backend() == "jax")
    settings = {"task": model.task, "seed": plan.seed, "epochs": 1000, "mix": plan.mix, "channels": model.channels}
    settings |= {"max_objects": plan.max_objects, "workers": options.workers}
    feed = iter(batches(plan.train, plan.transform_in(phase), plan.batch_size, **settings))
    images, y = next(feed)
    losses, times = [], []
    while len(losses) < steps and (len(losses) < 5 or sum(times) < SECONDS):
        start = time.monotonic()
        losses.append(float(model.train_on_batch(images, y, return_dict=True)["loss"]))
        times.append(time.monotonic() - start)
    return feed, (images, y), losses, times


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
    return Row("numbers", ok, text, "look at the labels, or leave mixed precision")


def _memory(taken: int, count: int) -> Row:
    if keras.distribution.list_devices("gpu"):
        return Row("memory", True, "not measured on a GPU")
    free = free_memory()
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

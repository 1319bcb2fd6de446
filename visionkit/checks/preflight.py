"""`--check`: a minute of trials before the hours of training, for what goes wrong most often.

That is targets, learning, NaN, memory, the speed of the data, and how long it will take.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from visionkit.checks.pace import RATE, Measured, begin_phase, pace, scoring_pace, take_step
from visionkit.data.anchors import OVERLAP, best_overlap, network_boxes
from visionkit.data.batches import batches
from visionkit.data.dataset import Dataset
from visionkit.data.render import Transform
from visionkit.environment import free_memory, peak_memory
from visionkit.evaluate.scores import class_ids, evaluate
from visionkit.models.faster_rcnn import FasterRCNN
from visionkit.models.fcos import FCOS, centerness
from visionkit.models.keypoint_rcnn import MAP_SIZE
from visionkit.models.nanodet import NanoDet
from visionkit.models.retinanet import RetinaNet
from visionkit.models.segmenter import Segmenter
from visionkit.models.ssd import SSD
from visionkit.models.task import Task
from visionkit.ops.boxes import encode
from visionkit.ops.distances import to_distances
from visionkit.predict.predictor import Predictor
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe, build_recipe
from visionkit.train.training import plan_of
from visionkit.types import IGNORE, PADDING, Tensor

RECORDS = 64  # images whose annotations are encoded and decoded again
SURE = 20.0  # a logit whose sigmoid or softmax differs from 1 by 2e-9
_TINY = "the targets cannot express these objects, so training cannot learn them: look for tiny or nearly equal boxes"
WANTED = {  # task -> the scores that perfect outputs must reach, and the advice if they do not
    "detect": ({"mAP50": 0.95}, _TINY),
    "instance": ({"mAP50": 0.95, "mask_mAP50": 0.9}, _TINY),
    "keypoints": ({"mAP50": 0.95, "keypoint_mAP50": 0.9}, _TINY),
    "segment": ({"mIoU": 0.8}, "thin and small things are lost at this --image-size: a larger one keeps them"),
}
STEPS = 12  # of learning one batch by heart, over which the rate rises to that of Adam, or fewer:
SECONDS = 20.0  # after them no further step is taken, once there are 5


@dataclass(frozen=True)
class Row:
    """One line of the table: what was checked, whether it passed, the figure, and what to do if it did not."""

    name: str
    ok: bool
    figure: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{'OK' if self.ok else 'LOOK':5} {self.name:12} {self.figure}"
        return line if self.ok or not self.advice else f"{line}: {self.advice}"


def preflight(
    recipe_function: Callable[..., Recipe],
    knobs: dict,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> list[Row]:
    """Builds what `run(recipe_function, knobs, ...)` would train, and tries it. Nothing is written.

    Raises:
        DataError: the validation images have classes that the model lacks.
    """
    recipe = build_recipe(recipe_function, knobs, options.precision)
    if recipe.val is not None:
        class_ids(recipe.model, recipe.val)
    rows = []
    if hasattr(recipe.model, "anchors"):
        rows.append(anchor_coverage(recipe))
    if isinstance(recipe.model, tuple(ANSWERS)):
        rows.append(oracle(recipe))
    return rows + practice(recipe, options, "epochs" in inspect.signature(recipe_function).parameters)


def anchor_coverage(recipe: Recipe) -> Row:
    """How many objects overlap an anchor enough to be learned by it without the forced match to their best one."""
    model: Any = recipe.model
    boxes, _ = network_boxes(_some(recipe.train), model.image_size, model.resize)
    covered = best_overlap(boxes, model.anchors) >= OVERLAP
    share = float(covered.mean()) if len(boxes) else 1.0
    text = f"{share:.0%} of {len(boxes)} objects overlap an anchor by {OVERLAP} or more"
    return Row("anchors", share >= 0.8, text, "a larger --image-size, or anchors of other sizes")


def oracle(recipe: Recipe) -> Row:
    """The score of perfect outputs: truth -> network size -> the model's targets -> its decoding -> the metric."""
    some = _some(recipe.train)
    scores = evaluate(Predictor(_Oracle(recipe.model, some)), some, intervals=False)
    wanted, advice = WANTED[recipe.model.task]
    reached = {name: scores[name] for name in wanted if scores.get(name, -1) != -1}
    text = ", ".join(f"{name} {score:.3f}" for name, score in reached.items()) or "nothing to score"
    text += f" of perfect outputs on {len(some)} images"
    return Row("oracle", all(score >= wanted[name] for name, score in reached.items()), text, advice)


def _some(dataset: Dataset) -> Dataset:
    return dataset.subset(range(min(RECORDS, len(dataset))))


class _Oracle:
    """Takes the place of a model in a Predictor, and answers as perfect heads would.

    It answers for the images of `dataset` in their order, by the model's own targets and decoding.
    """

    def __init__(self, model: Task, dataset: Dataset):
        self.model = model
        for name in ("image_size", "resize", "channels", "class_names", "task"):
            setattr(self, name, getattr(model, name))
        self.skeleton = getattr(model, "skeleton", None)
        fit = Transform(model.image_size, model.resize)
        self.truths = iter(batches(dataset, fit, 1, task=model.task, shuffle=False, channels=model.channels))
        self.answer = next(answer for kind, answer in ANSWERS.items() if isinstance(model, kind))
        self.layers = model.serving().get_layer

    def serving(self) -> "_Oracle":
        return self

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        rows = []
        for _ in images:
            y = {key: ops.convert_to_tensor(value) for key, value in next(self.truths)[1].items()}
            rows.append(self.answer(self.model, self.layers, y))
        return {key: np.concatenate([np.asarray(ops.convert_to_numpy(row[key])) for row in rows]) for key in rows[0]}


# Functions that give the perfect outputs of one kind of model for one image, through that model's own decoding. They
# take the model, a function from a layer's name to that layer of the serving graph, and the targets of the image.


def _ssd(model: SSD, layer: Callable, y: dict[str, Tensor]) -> dict[str, Tensor]:
    labels, deltas, _, _ = model.targets(y)
    return layer("decode")(SURE * _one_hot(labels, model.num_classes + 1), deltas)


def _nanodet(model: NanoDet, layer: Callable, y: dict[str, Tensor]) -> dict[str, Tensor]:
    labels, boxes, positive, _ = model.targets(y)
    is_class = _one_hot(labels, model.num_classes)  # all zero for background
    distances = to_distances(model.points, boxes) / model.strides[:, None]  # [1, A, 4]
    distances = ops.clip(ops.where(positive[..., None], distances, 0.0), 0.0, model.last_bin)
    bins = ops.arange(model.last_bin + 1, dtype="float32")
    shares = ops.maximum(1 - ops.abs(bins - distances[..., None]), 0.0)  # [1, A, 4, bins]: the two bins beside it
    logits = ops.log(ops.maximum(shares, 1e-9))
    rows = ops.reshape(logits, (1, len(model.points), -1))  # [1, A, 4 * bins]
    return layer("decode")(SURE * (2 * is_class - 1), rows)


def _retinanet(model: RetinaNet, layer: Callable, y: dict[str, Tensor]) -> dict[str, Tensor]:
    labels, boxes, _, _ = model.targets(y)
    deltas = encode(boxes, ops.convert_to_tensor(model.anchors), model.variances)
    return layer("decode")(SURE * (2 * _one_hot(labels, model.num_classes) - 1), deltas)


def _fcos(model: FCOS, layer: Callable, y: dict[str, Tensor]) -> dict[str, Tensor]:
    labels, boxes, _, _ = model.targets(y)
    points = ops.convert_to_tensor(model.points)
    near = ops.clip(centerness(points, boxes), 1e-6, 1 - 1e-6)  # [1, A]
    distances = to_distances(points, boxes) / model.strides[:, None]  # [1, A, 4]
    logits = SURE * (2 * _one_hot(labels, model.num_classes) - 1)
    return layer("decode")(logits, distances, ops.log(near / (1 - near)))


def _rcnn(model: Any, layer: Callable, y: dict[str, Tensor]) -> dict[str, Tensor]:
    _, positive, _, deltas = model.anchor_targets(y)
    is_object: Tensor = ops.cast(positive, "float32")
    regions, _ = layer("proposals")(SURE * (2 * is_object - 1), deltas)
    matched, labels, _, _, deltas = model.region_targets(regions, y)
    deltas = ops.repeat(deltas[:, :, None], model.num_classes, axis=2)  # [1, R, K, 4]
    detections = layer("decode_regions")(SURE * _one_hot(labels, model.num_classes + 1), deltas, regions)
    if "masks" in y:
        matched = model.region_targets(detections["boxes"], y)[0]
        detections = detections | {"masks": model.mask_targets(y["masks"], detections["boxes"], matched)}
    if "keypoints" in y:
        matched = model.region_targets(detections["boxes"], y)[0]
        place, _ = model.keypoint_targets(y["keypoints"], detections["boxes"], matched)  # [1, R, P]
        maps = ops.reshape(SURE * _one_hot(place, MAP_SIZE**2), (*place.shape, MAP_SIZE, MAP_SIZE))
        detections = detections | {"heatmaps": ops.transpose(maps, (0, 1, 3, 4, 2))}  # [1, R, m, m, P]
    return detections


def _segmenter(model: Segmenter, layer: Callable, y: dict[str, Tensor]) -> dict[str, Tensor]:
    logits = SURE * _one_hot(y["segmentation"], model.num_classes)  # all zero where the map has 255, ignored
    return {"probabilities": layer("probabilities")(logits)}


def _one_hot(labels: Tensor, count: int) -> Tensor:
    return ops.one_hot(labels, count)


# And their subclasses, such as Mask R-CNN and Keypoint R-CNN.
ANSWERS = {
    SSD: _ssd,
    NanoDet: _nanodet,
    RetinaNet: _retinanet,
    FCOS: _fcos,
    FasterRCNN: _rcnn,
    Segmenter: _segmenter,
}


def practice(
    recipe: Recipe,
    options: Options = Options(),  # noqa: B008, it is frozen
    shorter: bool = False,
) -> list[Row]:
    """Takes steps of Adam on one batch: does the loss fall and stay a number, how much memory and time does it take?

    The rate rises from step to step, as in every recipe: the first steps of Adam move all weights by the whole rate,
    and deep heads without normalisation, such as that for keypoints, would be thrown off by 1e-3 at once. The recipe's
    own optimizer is not tried, because its rate usually rises over more steps than these. Memory and time
    are measured in the last phase, which usually trains more of the network, or larger images, than the first.

    Args:
        shorter: whether the number of epochs is a knob, so that fewer can be suggested.
    """
    before = peak_memory()
    feed, batch, losses, times = _learn(recipe, recipe.phases[0], options, STEPS)
    text = f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {len(losses)} steps of Adam on one batch"
    advice = "look at the labels in first_batch.jpg of a run, and at what is frozen"
    rows = [Row("learning", losses[-1] < losses[0], text, advice), _not_a_number(recipe.model, *batch, losses)]
    paces, compiling = [pace(recipe.model, feed)], times[0]
    if len(recipe.phases) > 1:
        feed, batch, _, times = _learn(recipe, recipe.phases[-1], options, 3)
        paces.append(pace(recipe.model, feed))
        compiling += times[0] * (len(recipe.phases) - 1)
    step = float(np.median(times[1:]))  # the first one compiles
    rows += [_memory(peak_memory() - before, len(batch[0])), _speed(feed, step, len(batch[0]))]
    return [*rows, _time(recipe, paces, compiling, shorter)]


def _learn(
    recipe: Recipe, phase: Phase, options: Options, steps: int
) -> tuple[Iterator, tuple[np.ndarray, dict[str, np.ndarray]], list[float], list[float]]:
    """Trains on the first batch of `phase`: (the feed, that batch, the loss of each step, the seconds of each)."""
    feed = begin_phase(recipe, phase, options)
    images, y = next(feed)
    losses = []
    times = []
    while len(losses) < steps and (len(losses) < 5 or sum(times) < SECONDS):
        recipe.model.optimizer.learning_rate = RATE * min(1, (len(losses) + 1) / STEPS)
        start = time.monotonic()
        losses.append(take_step(recipe.model, images, y))
        times.append(time.monotonic() - start)
    return feed, (images, y), losses, times


def _time(recipe: Recipe, paces: list[float], compiling: float, shorter: bool) -> Row:
    """How long the whole training takes, by the pace of its first and its last phase.

    Args:
        compiling: the seconds of the first steps of all phases.
    """
    scoring = None
    if recipe.val is not None:
        image, first = scoring_pace(recipe.model, recipe.val)
        scoring = image * len(recipe.val)
        compiling += first
    plan, measured = plan_of(recipe, shorter), Measured(steps=paces, scoring=scoring, compiling=compiling)
    return Row("time", True, plan.in_words(compiling + measured.seconds(plan)))


def _not_a_number(model: Task, images: np.ndarray, y: dict[str, np.ndarray], losses: list[float]) -> Row:
    """Whether losses and weights stay numbers, also after a batch of striped images without objects."""
    empty = {key: value if key == "label" else np.zeros_like(value) for key, value in y.items()}
    for key, value in (("labels", PADDING), ("segmentation", IGNORE)):
        if key in empty:
            empty[key] += value
    blank = np.zeros_like(images)
    blank[::2] = 255
    loss = take_step(model, blank, empty)
    finite = all(np.isfinite(np.asarray(ops.convert_to_numpy(value))).all() for value in model.weights)
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


def _speed(feed: Iterator, step: float, count: int) -> Row:
    """Whether `feed` gives batches of `count` images faster than one per `step` seconds."""
    next(feed)
    start = time.monotonic()
    done = 0
    while done < 2 or (done < 10 and time.monotonic() - start < 5):
        next(feed)
        done += 1
    wait = (time.monotonic() - start) / done
    text = f"data {count / wait:.1f} images/s, training {count / step:.1f}"
    return Row("speed", wait < step, text, "training will wait for data: smaller files on disk, or more CPU cores")

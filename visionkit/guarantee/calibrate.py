"""Makes a promise about a model from labelled images: `vk.guarantee`, and what `visionkit guarantee` calls."""

from dataclasses import replace
from typing import Any

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import as_predictor, detection_pairs, lowest
from visionkit.guarantee.keep import Promised
from visionkit.guarantee.make import check_false_alarms, check_images, check_miss, make_alarm_promise, make_promise
from visionkit.guarantee.make_pixels import make_pixel_promise
from visionkit.guarantee.shift import looks
from visionkit.types import BOX_TASKS, DataError

MISS = 0.1  # where nothing is said


def guarantee(
    predictor: Any,
    dataset: Dataset,
    miss: float | None = None,
    per_class: bool = False,
    margin: bool = False,
    *,
    false_alarms: float | None = None,
    of: str | None = None,
    model: str = "",
) -> Promised:
    """Finds the threshold at which a model misses at most a share of the objects or pixels, guaranteed for any model.

    Args:
        predictor: what `vk.evaluate` takes, of a detector; or a `Predictor` or a Task that is a segmenter.
        dataset: labelled images that the model has not learned from.
        miss: the share of an image's objects that may be missed on average, above 0 and below 1; by default 0.1. Of a
            segmenter, the share of the pixels of the class `of`.
        per_class: make the promise for every class; each gets a threshold of its own.
        margin: also enlarge the boxes, so that of an image's found objects at most the same share sticks out. Half of
            the images then decide about the threshold and half about the margin.
        false_alarms: in place of `miss`, the number of false detections that an image may have on average, above 0. No
            more than 10 of an image, or ten times this number, count.
        of: the name of the class that a segmenter's promise is about.
        model: fingerprint of the model's file, with which the promise can be stored in its run.

    Returns:
        A model that is called like a `Predictor` and keeps the promise; `print(found.promise)` shows the promise in
        words. `found.promise.thresholds` has the score from which detections of each class count, or
        `found.promise.threshold` the probability from which a pixel is of the class.

    Raises:
        DataError: the model is for another task, an option does not fit to it, or with these images it cannot be
            promised.
    """
    predictor = as_predictor(predictor)
    check_options(predictor.task, miss, per_class, margin, false_alarms, of)
    share = MISS if miss is None else miss
    if predictor.task == "segment":
        if not hasattr(predictor, "probabilities") or predictor.flip or predictor.window:
            raise DataError("a guarantee about pixels is made with a Predictor, without flip and window")
        promise = make_pixel_promise(predictor, dataset, share, of)
    elif false_alarms is None:
        promise = make_promise(detection_pairs(predictor, dataset), predictor.class_names, share, per_class, margin)
    else:
        check_images(len(dataset), false_alarms)  # before the model runs
        pairs = detection_pairs(predictor, dataset)
        promise = make_alarm_promise(pairs, predictor.class_names, false_alarms, per_class, lowest(predictor))
    return Promised(predictor, replace(promise, source=dataset.source, model=model, looks=_looks(dataset)))


def check_options(
    task: str, miss: float | None, per_class: bool, margin: bool, false_alarms: float | None, of: str | None
) -> None:
    """Raises a DataError where an option is out of range or does not fit to the task or to another option."""
    if task != "segment" and task not in BOX_TASKS:
        raise DataError(f"a guarantee is for detectors and segmenters; this model is for the task {task}")
    check_numbers(miss, margin, false_alarms)
    boxes = {"--per-class": per_class, "--margin": margin, "--false-alarms": false_alarms is not None}
    wrong = [name for name, given in boxes.items() if given] if task == "segment" else ["--of"] * (of is not None)
    if wrong:
        whose = "detector" if task == "segment" else "segmenter"
        raise DataError(f"{wrong[0]} is about a {whose}; this model is for the task {task}")


def check_numbers(miss: float | None, margin: bool, false_alarms: float | None) -> None:
    """Raises a DataError where a number is out of range, or where two options contradict each other."""
    if miss is not None:
        check_miss(miss)
    if false_alarms is None:
        return
    check_false_alarms(false_alarms)
    if miss is not None:
        raise DataError("--miss and --false-alarms: a threshold keeps one promise; leave one of them out")
    if margin:
        raise DataError("--margin is about found objects, and goes with --miss; leave --false-alarms out")


def _looks(dataset: Dataset) -> dict[str, list[float]]:
    return looks(image for sample in dataset if (image := sample.image) is not None)

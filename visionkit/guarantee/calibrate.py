"""Makes a promise about a detector from labelled images: `vk.guarantee`, and what `visionkit guarantee` calls."""

from typing import Any

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import as_predictor, detection_pairs
from visionkit.guarantee.keep import Promised
from visionkit.guarantee.promise import check_miss, make_promise
from visionkit.guarantee.shift import looks
from visionkit.types import BOX_TASKS, DataError


def guarantee(
    predictor: Any,
    dataset: Dataset,
    miss: float = 0.1,
    per_class: bool = False,
    margin: bool = False,
    *,
    model: str = "",
) -> Promised:
    """Finds the threshold at which a detector misses at most a share of the objects, guaranteed for any model.

    Args:
        predictor: what `vk.evaluate` takes, of a detector.
        dataset: labelled images that the model has not learned from.
        miss: the share of an image's objects that may be missed on average, above 0 and below 1.
        per_class: make the promise for every class; each gets a threshold of its own.
        margin: also enlarge the boxes, so that of an image's found objects at most the same share sticks out. Half of
            the images then decide about the threshold and half about the margin.
        model: fingerprint of the model's file, with which the promise can be stored in its run.

    Returns:
        A detector that is called like a `Predictor` and keeps the promise; `print(found.promise)` shows the promise in
        words, and `found.promise.thresholds` has the score from which detections of each class count.

    Raises:
        DataError: the model is no detector, `miss` is no share, or with these images it cannot be promised.
    """
    check_miss(miss)
    predictor = as_predictor(predictor)
    if predictor.task not in BOX_TASKS:
        raise DataError(f"a guarantee is for detectors; this model is for the task {predictor.task}")
    promise = make_promise(
        detection_pairs(predictor, dataset),
        predictor.class_names,
        miss,
        per_class=per_class,
        margin=margin,
        source=dataset.source,
        model=model,
        looks=looks(image for sample in dataset if (image := sample.image) is not None),
    )
    return Promised(predictor, promise)

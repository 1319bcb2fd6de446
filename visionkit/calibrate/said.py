"""What a model says of labelled images, and whether it is right: what a calibration learns from."""

from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import class_ids, detection_pairs
from visionkit.metrics.calibration import Said
from visionkit.metrics.matches import match_all
from visionkit.types import IGNORE, DataError

PIXELS = 40_000  # of all images together; neighbouring pixels say the same
IMAGES = 20  # fewer say too little about others
EACH = 20  # right answers and wrong ones; with fewer it is chance how often a score is right


def said_of(predictor: Any, dataset: Dataset) -> Said:
    """Runs a model on labelled images.

    Of detections those count that `vk.evaluate` scores, down to a score of 0.01; one is right if it hits an object of
    its class that no better one has hit, at an IoU of 0.5. Detections of ignored objects are left out.

    Args:
        predictor: what `vk.evaluate` takes.
        dataset: labelled images that the model has not learned from, with all of its classes.

    Raises:
        DataError: the data has other classes than the model, or too few images, right answers or wrong ones.
    """
    ids = class_ids(predictor, dataset)
    if lacking := [name for k, name in enumerate(predictor.class_names) if k not in ids]:
        raise DataError(
            f"{dataset.source or 'the data'}: lacks the model's class {', '.join(lacking[:5])}, whose answers would "
            "all count as wrong; a calibration needs data with the classes of the model"
        )
    if len(dataset) < IMAGES:
        raise DataError(f"{len(dataset)} images are too few to calibrate with: at least {IMAGES} are needed")
    collect = {"classify": _of_classes, "segment": _of_pixels}.get(predictor.task, _of_detections)
    said = collect(predictor, dataset, np.array(ids, np.int32))
    right = int(said.right.sum())
    for count, what in ((right, "right"), (len(said.right) - right, "wrong")):
        if count < EACH:
            total = len(said.right)
            raise DataError(f"of {total} answers {count} are {what}: too few to calibrate with, {EACH} are needed")
    return said


def _of_detections(predictor: Any, dataset: Dataset, ids: np.ndarray) -> Said:
    matches = match_all(detection_pairs(predictor, dataset), len(predictor.class_names))
    counts = ~matches.ignored[:, 0]
    return Said(matches.image[counts], matches.score[counts], matches.hit[counts, 0], len(dataset))


def _of_classes(predictor: Any, dataset: Dataset, ids: np.ndarray) -> Said:
    scores, labels = [], []
    for record, said in zip(dataset.records, predictor(dataset), strict=True):
        if record.label is None:
            raise DataError(f"{dataset.source}: sample {record.id!r} has no class, which a classifier is calibrated on")
        scores.append(said.scores)
        labels.append(ids[record.label])
    return Said(np.arange(len(labels)), np.array(scores, float), np.array(labels), len(labels))


def _of_pixels(predictor: Any, dataset: Dataset, ids: np.ndarray) -> Said:
    """Pixels of the network, drawn from each image, with the class at their middle in the original."""
    table = np.full(IGNORE + 1, IGNORE, np.int32)
    table[: len(ids)] = ids
    rng, each = np.random.default_rng(0), max(1, PIXELS // len(dataset))
    image, scores, truth = [], [], []
    for i, probabilities in enumerate(predictor.probabilities(dataset)):
        segmentation = dataset[i].segmentation
        if segmentation is None:
            name = dataset.records[i].id
            raise DataError(f"{dataset.source}: sample {name!r} has no class map, which a segmenter is calibrated on")
        (h, w), (height, width) = probabilities.shape[:2], segmentation.shape
        y, x = rng.integers(0, h, each), rng.integers(0, w, each)
        labels = table[segmentation[(2 * y + 1) * height // (2 * h), (2 * x + 1) * width // (2 * w)]]
        known = labels != IGNORE
        image.append(np.full(int(known.sum()), i))
        scores.append(probabilities[y[known], x[known]])
        truth.append(labels[known])
    return Said(np.concatenate(image), np.concatenate(scores).astype(float), np.concatenate(truth), len(dataset))

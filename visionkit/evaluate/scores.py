"""Scores a model on a labelled data set through the path that predicts: what is evaluated is what runs."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.mistakes import best_thresholds, of_classifier, of_detector, of_segmenter
from visionkit.metrics.classification import ClassificationMetric
from visionkit.metrics.detection import DetectionMetric
from visionkit.metrics.segmentation import SegmentationMetric
from visionkit.predict.predictor import DECODERS, Failure
from visionkit.types import IGNORE, DataError, Sample

MONITOR = {"detect": "mAP50", "instance": "mAP50", "classify": "top1", "segment": "mIoU"}
SCORE = 0.01  # detections below it do not change AP, and there are many


def evaluate(predictor, dataset: Dataset, closely: bool = False) -> dict:
    """Scores a model: the numbers of its metric's `result`, with `seconds`.

    Where a detector's mAP50 is about 0, `why` holds the likely reasons. Maps are compared at the size of each original.

    Args:
        predictor: a `Predictor`, of a Task or of an exported model.
        dataset: labelled; its classes are matched with the model's by NAME, so their order does not matter.
        closely: also give `closely`, what there is to see of the mistakes; a detector's best thresholds then also go
            into `per_class`.

    Raises:
        DataError: the data has a class that the model lacks, is for another task, or an image cannot be read.
    """
    start = time.monotonic()
    judge = {"classify": _classifier, "segment": _segmenter}.get(predictor.task, _detector)
    scores, look = judge(predictor, dataset)
    scores["seconds"] = round(time.monotonic() - start, 2)
    if closely:
        scores["closely"] = look()
        for name, row in best_thresholds(scores["closely"]).items():
            scores["per_class"][name] |= row
    return scores


def numbers(scores: dict) -> dict:
    """The part of `scores` that is one number each, -1 (nothing to measure by) left out."""
    return {key: value for key, value in scores.items() if isinstance(value, int | float) and value != -1}


# Each returns its numbers, and a function that looks closely.


def _detector(predictor, dataset):
    ids = np.array(class_ids(predictor, dataset), np.int32)
    metric = DetectionMetric(predictor.class_names)
    for i, (record, found) in enumerate(_predictions(predictor, dataset)):
        truth = record if found.masks is None else dataset[i]  # masks are read when they are needed
        metric.update(replace(truth, labels=ids[truth.labels]), found)
    scores = metric.result()
    scores |= {"why": metric.why_zero()} if scores["mAP50"] < 0.01 else {}
    return scores, lambda: of_detector(metric.pairs, predictor.class_names, dataset)


def _classifier(predictor, dataset):
    ids = class_ids(predictor, dataset)
    metric = ClassificationMetric(predictor.class_names)
    shares, labels = [], []
    for record, found in _predictions(predictor, dataset):
        if record.label is None:
            raise DataError(
                f"{dataset.source}: sample {record.id!r} has no class; a classifier is scored on class folders"
            )
        labels.append((found.scores.argmax(), ids[record.label]))
        shares.append(found.scores[list(labels[-1])])
        metric.update(np.array([ids[record.label]]), found.scores[None])
    look = partial(of_classifier, metric.matrix, np.array(shares), np.array(labels), predictor.class_names, dataset)
    return metric.result(), look


def _segmenter(predictor, dataset):
    table = np.full(IGNORE + 1, IGNORE, np.int32)  # class id of the data -> of the model
    table[: len(dataset.class_names)] = class_ids(predictor, dataset)
    metric = SegmentationMetric(predictor.class_names)
    images, wrong = _Truths(dataset), []
    for i, (record, found) in enumerate(zip(dataset.records, predictor(images), strict=True)):
        if isinstance(found, Failure):
            raise DataError(f"{found.file or found.id}: {found.error}")
        truth = images.truths.pop(i)
        if truth is None:
            raise DataError(f"{dataset.source}: sample {record.id!r} has no class map; a segmenter is scored on those")
        metric.update(table[truth], found.segmentation)
        counts = truth != IGNORE
        wrong.append(float((table[truth] != found.segmentation)[counts].mean()) if counts.any() else 0.0)
    return metric.result(), partial(of_segmenter, metric.matrix, wrong, table, predictor, dataset)


def read_all(dataset: Dataset) -> None:
    """Reads every sample once, its pixels too; the first `DataError` of a broken file is raised."""
    with ThreadPoolExecutor(DECODERS) as pool:
        for _ in pool.map(lambda i: dataset[i] and None, range(len(dataset))):  # which keeps no pixels
            pass


class _Truths(Sequence):
    """The data set, which keeps the map of each sample that the predictor's threads have taken: files are read once."""

    def __init__(self, dataset):
        self.dataset, self.truths = dataset, {}

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index) -> Sample:
        sample = self.dataset[index]
        self.truths[index] = sample.segmentation
        return sample


def class_ids(predictor, dataset):
    """The id, to a Predictor or a Task, of each class id of the data; `DataError` where it lacks one."""
    known = {name: k for k, name in reversed(list(enumerate(predictor.class_names)))}
    known = getattr(predictor, "synonyms", {}) | known
    unknown = [name for name in dataset.class_names if name not in known]
    if unknown:
        few, some = (
            ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") for names in (unknown, predictor.class_names)
        )
        raise DataError(f"the data has classes that the model lacks: {few}; it knows {some}")
    return [known[name] for name in dataset.class_names]


def _predictions(predictor, dataset):
    for record, found in zip(dataset.records, predictor(dataset, score=SCORE), strict=True):
        if isinstance(found, Failure):
            raise DataError(f"{found.file or found.id}: {found.error}")
        yield record, found

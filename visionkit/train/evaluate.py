"""Scores a model on a labelled data set through the path that predicts: what is evaluated is what runs."""

import time
from dataclasses import replace

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.metrics.detection import DetectionMetric
from visionkit.predict.predictor import Failure
from visionkit.types import DataError

MONITOR = {"detect": "mAP50", "instance": "mAP50", "classify": "top1", "segment": "mIoU"}
SCORE = 0.01  # detections below it do not change AP, and there are many


def evaluate_detector(predictor, dataset: Dataset) -> dict:
    """The numbers of `DetectionMetric.result`, with `seconds`; when mAP50 is about 0 also `why`, the likely reasons.

    Args:
        predictor: a `Predictor`, or an exported model with its `class_names` and call.
        dataset: labelled; its classes are matched with the model's by NAME, so their order does not matter.

    Raises:
        DataError: the data has a class that the model lacks, or an image cannot be read.
    """
    start = time.monotonic()
    unknown = [name for name in dataset.class_names if name not in predictor.class_names]
    if unknown:
        raise DataError(f"the data has classes {unknown} that the model lacks; it knows {predictor.class_names}")
    ids = np.array([predictor.class_names.index(name) for name in dataset.class_names], np.int32)
    metric = DetectionMetric(predictor.class_names)
    for record, found in zip(dataset.records, predictor(dataset, score=SCORE), strict=True):
        if isinstance(found, Failure):
            raise DataError(f"{found.file or found.id}: {found.error}")
        metric.update(replace(record, labels=ids[record.labels]), found)
    scores = metric.result()
    if scores["mAP50"] < 0.01:
        scores["why"] = metric.why_zero()
    return scores | {"seconds": round(time.monotonic() - start, 2)}

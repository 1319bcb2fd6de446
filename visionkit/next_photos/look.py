"""What a model makes of photos: how unsure it is of each, and where they lie in the features of its trunk."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from keras import layers, ops

from visionkit.predict.predictor import Failure, Predictor
from visionkit.predict.vectors import vectors
from visionkit.resizing import best_size, letterbox_factors
from visionkit.types import DataError, Tensor

LEAST = 1e-7  # of a probability, so that its logarithm is finite


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of some photos.

    Args:
        doubts: float64 `[N]`, 0 and above: how unsure the model is of each.
        features: float32 `[N, D]`, the mean of its trunk's highest level over each.
        failures: the photos that could not be read; they have no row.
        read: int64 `[N]`, the numbers of the photos that could be.
    """

    doubts: np.ndarray
    features: np.ndarray
    failures: list[Failure]
    read: np.ndarray


def look(predictor: Any, photos: Iterable[Any], score: float) -> Looks:
    """Runs a model over photos once.

    Args:
        predictor: a `Predictor` of a Task with a backbone.
        photos: what a Predictor takes.
        score: from which detections count as objects.

    Raises:
        DataError: the model has no trunk whose features could be compared.
    """
    model: Any = getattr(predictor, "model", None)
    if not hasattr(model, "backbone"):
        raise DataError(
            "this model has no features in which photos can be compared, as an export has none; name the run folder or "
            "the .keras file that it was made from"
        )
    looking: Any = vectors(predictor, _features_and_said)
    depth = model.backbone.output[_top(model)].shape[-1]
    doubts, features, read = [], [], []
    failures: list[Failure] = []
    for number, seen in enumerate(looking(photos, failures="yield")):
        if isinstance(seen, Failure):
            failures.append(seen)
            continue
        features.append(seen.scores[:depth])
        doubts.append(_doubt(model.task, seen.scores[depth:], seen.image_size, looking, score))
        read.append(number)
    rows = np.array(features, np.float32).reshape(len(features), -1)
    return Looks(np.array(doubts), rows, failures, np.array(read, np.int64))


def _top(model: Any) -> str:
    """The name of the backbone's highest level, on which classifiers are built too."""
    levels = model.backbone.output
    return "features" if "features" in levels else max(name for name in levels if name[0] == "C")


def _features_and_said(model: Any, serving: Any) -> Tensor:
    """`[B, D + S]`: the mean of the highest level, and behind it what the Task says of the image.

    That is its scores, or of a segmenter the entropy of each pixel as a share of the largest possible one.
    """
    level: Tensor = model.backbone(serving.input)[_top(model)]
    if len(level.shape) == 4:
        level = layers.GlobalAveragePooling2D(dtype="float32")(level)  # [B, D]
    if model.task == "segment":
        shares = ops.maximum(serving.output["probabilities"], LEAST)  # [B, H, W, K]
        said = -ops.sum(shares * ops.log(shares), axis=-1) / np.log(max(shares.shape[-1], 2))  # [B, H, W]
        said = layers.Flatten()(said)  # [B, H * W]
    else:
        said = serving.output["scores"]  # [B, K] of a classifier, [B, M] of a detector
    return ops.concatenate([ops.cast(level, "float32"), ops.cast(said, "float32")], axis=-1)


def _doubt(task: str, said: np.ndarray, image_size: tuple[int, int], looking: Predictor, score: float) -> float:
    """How unsure a model is of one photo, from what it says of it."""
    if task == "classify":
        return doubt_of_classes(said)
    if task == "segment":
        size = best_size(image_size, looking.sizes)
        inner = letterbox_factors(image_size, size)[0] if looking.resize == "letterbox" else size
        return float(said.reshape(size)[: inner[0], : inner[1]].mean())
    return doubt_of_detections(said, score)


def doubt_of_classes(probabilities: np.ndarray) -> float:
    """1 minus the margin between the two most probable classes of `[K]`: 0 is sure, 1 undecided."""
    if len(probabilities) < 2:
        return 0.0
    second, first = np.partition(probabilities, -2)[-2:]
    return float(1 - (first - second))


def doubt_of_detections(scores: np.ndarray, score: float) -> float:
    """The sum of the doubts of a photo's detections.

    A detection with the score from which it counts is as doubtful as can be: 1. Towards a score of 1 the doubt falls to
    0, and towards half of that score as well, below which there are only false alarms, of which every photo has many.

    Args:
        scores: float `[M]` in 0..1.
        score: from which detections count as objects.
    """
    above = (1 - scores) / max(1 - score, LEAST)
    below = 2 * scores / max(score, LEAST) - 1
    return float(np.clip(np.minimum(above, below), 0, 1).sum())


def comparable(*groups: np.ndarray) -> list[np.ndarray]:
    """Features whose distances can be compared: each centred and scaled over all groups, each row of length 1.

    Args:
        groups: float `[N, D]` each.
    """
    every = np.concatenate(groups)
    middle, spread = every.mean(axis=0), every.std(axis=0)
    scaled = [(group - middle) / np.maximum(spread, LEAST) for group in groups]
    return [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LEAST) for rows in cast(Any, scaled)]

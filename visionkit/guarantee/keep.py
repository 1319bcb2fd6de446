"""A model that keeps a promise: its thresholds and its margin are those of the promise."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.guarantee.promise import PixelPromise, Promise
from visionkit.guarantee.shift import FEWEST, looks, shift
from visionkit.images import read_image
from visionkit.metrics.risk import enlarge
from visionkit.types import DataError, Detections

SEEN = 100  # images at most, evenly spread over those that are given, to which the shift check looks


class Promised:
    """Used like the Predictor that it wraps; `score` is left to the promise.

    Args:
        predictor: of the model that the promise was made for.
        promise: read from its run.
    """

    def __init__(self, predictor: Any, promise: Promise | PixelPromise):
        if list(predictor.class_names) != promise.class_names:
            raise DataError("the guarantee is for a model with other classes; make it again")
        self.predictor, self.promise = predictor, promise
        self.runtime = predictor.runtime
        self.class_names, self.task, self.batch_size = predictor.class_names, predictor.task, predictor.batch_size
        self._limits, self._margin = np.zeros(1, np.float32), None
        if isinstance(promise, PixelPromise):
            self.predictor = copy.copy(predictor)  # the given one does not change
            self.predictor.least = (promise.class_names.index(promise.of), promise.threshold)
        else:
            self._limits, self._margin = np.asarray(promise.thresholds, np.float32), promise.margin

    @property
    def score(self) -> float:
        """The lowest of the thresholds; 0 for a segmenter, whose probability it would not be."""
        return float(self._limits.min())

    def __call__(self, items: Any, score: float | None = None, **options: Any) -> Any:
        """Like `Predictor.__call__`."""
        results = self.predictor(items, score=self.score, **options)
        return self._kept(results) if isinstance(results, Detections) else self._each(results)

    def _each(self, results: Any) -> Iterator[Any]:
        for result in results:
            yield self._kept(result) if isinstance(result, Detections) else result

    def _kept(self, detections: Detections) -> Detections:
        kept = detections[detections.scores >= self._limits[detections.labels]]
        if self._margin is None:
            return kept
        return replace(kept, boxes=enlarge(kept.boxes, self._margin, kept.image_size))


def warning(promise: Promise | PixelPromise, files: list[Path]) -> str:
    """A sentence if the images in `files` look unlike the calibration images, else "". Broken files are left out."""
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(SEEN, len(files))).astype(int))]
    images = []
    for file in chosen:
        try:
            images.append(look_at(file))
        except (DataError, OSError):
            continue
    if len(images) < FEWEST:
        return ""
    now = {name: [one[name][0] for one in images] for name in images[0]}
    words = shift(promise.looks, now)
    if not words:
        return ""
    return (
        f"these images are unlike the calibration images ({', '.join(words)}): the guarantee may not hold for them; "
        "make it again with labelled images of this kind: visionkit guarantee RUN DATA --again"
    )


def look_at(file: Path) -> dict[str, list[float]]:
    """The features of one image file; its pixels are released at once."""
    return looks([read_image(file)])

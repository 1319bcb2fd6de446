"""Chooses the threshold with which a promise about the pixels of a class can be kept, and measures its price."""

from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import class_ids
from visionkit.guarantee.make import check_miss
from visionkit.guarantee.promise import PixelPromise, percent
from visionkit.metrics.risk import PROBABILITIES, images_needed, missed_pixels, pixel_threshold
from visionkit.predict.maps import plane_of
from visionkit.types import IGNORE, DataError


def make_pixel_promise(predictor: Any, dataset: Dataset, miss: float, of: str | None) -> PixelPromise:
    """Chooses the highest threshold at which no more than a share of a class's pixels is missed in expectation.

    Args:
        predictor: a `Predictor` of a segmenter.
        dataset: the calibration images with their class maps, which the model has not learned from.
        miss: see `PixelPromise`; above 0, below 1.
        of: the name of the class.

    Raises:
        DataError: the model has no such class, or too few images have some of its pixels.
    """
    check_miss(miss)
    names = list(predictor.class_names)
    if of is None or of not in names:
        found = f"no class {of!r}" if of else "expected the class that the promise is about"
        raise DataError(f"--of: {found}; the model has {', '.join(names)}")
    label, ids = names.index(of), np.array(class_ids(predictor, dataset))
    bins = len(PROBABILITIES)
    missed, marked, right, pixels = [], np.zeros(bins), np.zeros(bins), 0
    for i, probabilities in enumerate(predictor.probabilities(dataset)):
        segmentation = dataset[i].segmentation
        if segmentation is None:
            raise DataError(f"{dataset.source}: sample {dataset.records[i].id!r} has no class map")
        known = segmentation != IGNORE
        is_class = np.isin(segmentation, np.flatnonzero(ids == label))
        said = plane_of(probabilities, label, segmentation.shape)  # [H, W]
        if is_class.any():
            missed.append(missed_pixels(said[is_class]))
        marked += _at_least(said[known])
        right += _at_least(said[is_class])
        pixels += int(known.sum())
    threshold = pixel_threshold(np.array(missed), miss) if missed else None
    if threshold is None:
        raise DataError(
            f"{len(missed)} images with pixels of {of} are too few to promise {percent(miss)}: at least "
            f"{images_needed(miss)} are needed"
        )
    at = int(np.searchsorted(PROBABILITIES, np.float32(threshold)))
    return PixelPromise(
        miss=miss,
        of=of,
        class_names=names,
        threshold=threshold,
        images=len(missed),
        missed=float(np.mean(missed, axis=0)[at]),
        marked=float(marked[at]) / max(pixels, 1),
        right=float(right[at]) / max(float(marked[at]), 1.0),
    )


def _at_least(probabilities: np.ndarray) -> np.ndarray:
    """How many of the probabilities `[N]` reach each of `PROBABILITIES`, float64 `[T]`."""
    place = np.searchsorted(PROBABILITIES, probabilities, side="right")  # how many thresholds each reaches
    return np.cumsum(np.bincount(place, minlength=len(PROBABILITIES) + 1)[::-1])[::-1][1:].astype(float)

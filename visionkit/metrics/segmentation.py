"""Scores of a segmentation: one confusion matrix over the whole data set, at the original size of each image."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from visionkit.metrics.weighted import Areas
from visionkit.types import IGNORE, DataError


class SegmentationMetric:
    """Collects maps image by image; only counts of pixels are kept.

    Long et al., "Fully Convolutional Networks", CVPR 2015, section 5, defines the four classical scores. Boundary F1:
    Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.

    Args:
        class_names: names of the class ids 0..K-1.
        tolerance: how far apart two boundaries may be and still agree, as a fraction of the image's diagonal
            (rounded up to whole pixels). 0.0075 is Csurka's: 5 pixels at 500x375.
    """

    def __init__(self, class_names: Sequence[str], tolerance: float = 0.0075):
        self.class_names = list(class_names)
        self.tolerance = tolerance
        k = len(self.class_names)
        self.matrix = np.zeros((k, k), np.int64)  # [true class, predicted class] -> pixels
        self._images = 0
        self._boundary = np.zeros((k, 2))  # for each class the sum of F1 over its images, and how many images
        self._rows: list[np.ndarray] = []  # of each image [4, K], the fields of `Areas`

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds one image.

        Args:
            truth: int `[H, W]`, class ids, 255 for pixels that do not count.
            predicted: int `[H, W]`, class ids, also at the original size.

        Raises:
            DataError: the sizes differ, or a class id is unknown.
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        k = len(self.class_names)
        if truth.shape != predicted.shape or truth.ndim != 2:
            raise DataError(f"expected two maps [H, W] of one size, found {truth.shape} and {predicted.shape}")
        counts = truth != IGNORE
        for what, ids in (("the true map", truth[counts]), ("the predicted map", predicted[counts])):
            if ids.size and not 0 <= ids.min() <= ids.max() < k:
                raise DataError(f"{what}: expected class ids 0..{k - 1}, found {ids.min()}..{ids.max()}")
        cells = truth[counts].astype(np.int64) * k + predicted[counts]
        matrix = np.bincount(cells, minlength=k * k).reshape(k, k)
        self.matrix += matrix
        self._images += 1
        reach = int(np.ceil(self.tolerance * np.hypot(*truth.shape)))
        boundary = np.full(k, np.nan)
        for label in range(k):
            f1 = boundary_f1(truth == label, predicted == label, reach, counts)
            if f1 is not None:
                self._boundary[label] += f1, 1
                boundary[label] = f1
        self._rows.append(np.stack([np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0), boundary]))

    def result(self) -> dict[str, Any]:
        """Returns the scores over all images so far.

        Returns:
            In 0..1, or -1 where undefined: `mIoU` (mean over the classes that occur in the truth or the prediction),
            `pixel_accuracy`, `mean_accuracy` (mean recall of the classes in the truth), `boundary_f1` (mean over
            classes of the mean over the images in which the class occurs on either side), `images`, and `per_class`:
            name -> `{"IoU", "accuracy", "boundary_f1", "pixels"}`.
        """
        correct = np.diag(self.matrix)
        actual = self.matrix.sum(axis=1)  # [K] pixels of each class
        predicted = self.matrix.sum(axis=0)  # [K] pixels predicted as each class
        by_class = {
            "IoU": _shares(correct, actual + predicted - correct),
            "accuracy": _shares(correct, actual),
            "boundary_f1": _shares(self._boundary[:, 0], self._boundary[:, 1]),
        }
        per_class: dict[str, dict[str, float | int]] = {}
        for k, name in enumerate(self.class_names):
            per_class[name] = {key: float(values[k]) for key, values in by_class.items()}
            per_class[name]["pixels"] = int(actual[k])
        return {
            "mIoU": _mean(by_class["IoU"]),
            "pixel_accuracy": float(_shares(np.asarray(correct.sum()), np.asarray(actual.sum()))),
            "mean_accuracy": _mean(by_class["accuracy"]),
            "boundary_f1": _mean(by_class["boundary_f1"]),
            "images": self._images,
            "per_class": per_class,
        }

    def tables(self) -> list[Areas]:
        """What is kept of the images, for `metrics.resampling`."""
        rows = np.array(self._rows).reshape(-1, 4, len(self.class_names))
        return [Areas(*np.moveaxis(rows, 1, 0))]


def boundary_f1(truth: np.ndarray, predicted: np.ndarray, reach: int, counts: np.ndarray | None = None) -> float | None:
    """How well two outlines agree: the F1 of the share of each outline that lies within `reach` of the other.

    Args:
        truth, predicted: bool `[H, W]`.
        reach: pixels, Euclidean.
        counts: bool `[H, W]`, False where the truth is unknown: outlines inside or along such pixels do not count.

    Returns:
        0..1, or None if neither mask has an outline.
    """
    true_edge, predicted_edge = _outline(truth, counts), _outline(predicted, counts)
    if not true_edge.any() and not predicted_edge.any():
        return None
    if not true_edge.any() or not predicted_edge.any():
        return 0.0
    recall = (_distance_to(predicted_edge)[true_edge] <= reach).mean()
    precision = (_distance_to(true_edge)[predicted_edge] <= reach).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _distance_to(edge: np.ndarray) -> np.ndarray:
    """The distance of every pixel to the nearest pixel of an outline, float32 `[H, W]`."""
    # cv2 measures the distance to the nearest zero, so the outline has to be the zeros.
    return cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _outline(mask: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """The pixels of `mask` with one of their four neighbours outside it; the image's border is not an outline."""
    counts = np.ones_like(mask) if counts is None else counts
    outside = np.pad(~mask & counts, 1)  # padded with False: nothing beyond the image counts as outside
    touches = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
    return mask & counts & touches


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole as float64, -1 where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.maximum(whole, 1e-12), -1.0)


def _mean(values: np.ndarray) -> float:
    defined = values[values >= 0]
    return float(defined.mean()) if defined.size else -1.0

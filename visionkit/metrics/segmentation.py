"""Scores of a segmentation: one confusion matrix over the whole set, at the size of each original."""

from collections.abc import Sequence

import cv2
import numpy as np

from visionkit.types import IGNORE, DataError


class SegmentationMetric:
    """Collects maps image by image; keeps counts only.

    Long et al., "Fully Convolutional Networks", CVPR 2015, section 5, defines the four classical numbers. Boundary F1:
    Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013.

    Args:
        class_names: names of the class ids 0..K-1.
        tolerance: how far apart two boundaries may lie and still agree, as a fraction of the image's diagonal
            (rounded up to whole pixels). 0.0075 is Csurka's: 5 pixels at 500x375.
    """

    def __init__(self, class_names: Sequence[str], tolerance: float = 0.0075):
        self.class_names, self.tolerance = list(class_names), tolerance
        k = len(self.class_names)
        self.matrix = np.zeros((k, k), np.int64)  # [true class, predicted class] -> pixels
        self._images = 0
        self._boundary = np.zeros((k, 2))  # each class: sum of F1 over its images, number of those images

    def update(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds one image.

        Args:
            truth: int `[H, W]`, class ids, 255 where it does not count.
            predicted: int `[H, W]`, class ids at the same, original size.

        Raises:
            DataError: two sizes, or a class id that does not exist.
        """
        truth, predicted, k = np.asarray(truth), np.asarray(predicted), len(self.class_names)
        if truth.shape != predicted.shape or truth.ndim != 2:
            raise DataError(f"expected two maps [H, W] of one size, found {truth.shape} and {predicted.shape}")
        counts = truth != IGNORE
        for what, ids in (("the true map", truth[counts]), ("the predicted map", predicted[counts])):
            if ids.size and not 0 <= ids.min() <= ids.max() < k:
                raise DataError(f"{what}: expected class ids 0..{k - 1}, found {ids.min()}..{ids.max()}")
        cells = truth[counts].astype(np.int64) * k + predicted[counts]
        self.matrix += np.bincount(cells, minlength=k * k).reshape(k, k)
        self._images += 1
        reach = int(np.ceil(self.tolerance * np.hypot(*truth.shape)))
        for label in range(k):
            f1 = boundary_f1(truth == label, predicted == label, reach, counts)
            if f1 is not None:
                self._boundary[label] += f1, 1

    def result(self) -> dict:
        """The numbers of all images so far.

        Returns:
            In 0..1, or -1 where undefined: `mIoU` (mean over the classes that occur in the truth or the prediction),
            `pixel_accuracy`, `mean_accuracy` (mean recall of the classes in the truth), `boundary_f1` (mean over
            classes of the mean over the images in which the class occurs on either side), `images`, and `per_class`:
            name -> `{"IoU", "accuracy", "boundary_f1", "pixels"}`.
        """
        right, there, said = np.diag(self.matrix), self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        each = {
            "IoU": _shares(right, there + said - right),
            "accuracy": _shares(right, there),
            "boundary_f1": _shares(*self._boundary.T),
        }
        per_class = {
            name: {key: float(values[k]) for key, values in each.items()} | {"pixels": int(there[k])}
            for k, name in enumerate(self.class_names)
        }
        return {
            "mIoU": _mean(each["IoU"]),
            "pixel_accuracy": float(_shares(right.sum(), there.sum())),
            "mean_accuracy": _mean(each["accuracy"]),
            "boundary_f1": _mean(each["boundary_f1"]),
            "images": self._images,
            "per_class": per_class,
        }


def boundary_f1(truth: np.ndarray, predicted: np.ndarray, reach: int, counts: np.ndarray | None = None) -> float | None:
    """How well two outlines agree: the harmonic mean of the shares of either within `reach` of the other.

    Args:
        truth, predicted: bool `[H, W]`.
        reach: pixels, Euclidean.
        counts: bool `[H, W]`, False where the truth is unknown: outlines there, or against it, do not count.

    Returns:
        0..1, or None when neither has an outline.
    """
    edges = [_outline(mask, counts) for mask in (truth, predicted)]
    if not edges[0].any() and not edges[1].any():
        return None
    if not edges[0].any() or not edges[1].any():
        return 0.0
    # The distance of every pixel to the nearest one of the OTHER outline (the zeros of its complement).
    to_truth, to_predicted = (
        cv2.distanceTransform((~e).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for e in edges
    )
    recall, precision = (to_predicted[edges[0]] <= reach).mean(), (to_truth[edges[1]] <= reach).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _outline(mask: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """The pixels of `mask` with one of their four neighbours outside of it; the image's border is no outline."""
    counts = np.ones_like(mask) if counts is None else counts
    outside = np.pad(~mask & counts, 1)  # filled with False: beyond the image there is no "outside"
    touches = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
    return mask & counts & touches


def _shares(part, whole) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.maximum(whole, 1e-12), -1.0)


def _mean(values: np.ndarray) -> float:
    defined = values[values >= 0]
    return float(defined.mean()) if defined.size else -1.0

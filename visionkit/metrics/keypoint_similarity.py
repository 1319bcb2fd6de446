"""The similarity of keypoints (OKS), as COCO defines it: cocodataset.org/#keypoints-eval."""

import numpy as np

from visionkit import npboxes
from visionkit.skeletons import sigmas_of
from visionkit.types import Detections, Sample, objects_of


def marked(sample: Sample, count: int) -> np.ndarray:
    """The keypoints `[N, P, 3]` of the objects of a sample, zeros where it has none."""
    if sample.keypoints is not None:
        return sample.keypoints
    return np.zeros((len(objects_of(sample).boxes), count, 3))


def has_keypoints(sample: Sample) -> np.ndarray:
    """bool `[N]`: which objects of a sample have an annotated keypoint."""
    return np.asarray((marked(sample, 1)[..., 2] > 0).any(axis=1))


def similarity(sample: Sample, detections: Detections) -> np.ndarray:
    """The mean over an object's annotated keypoints of exp(-d^2 / (2 k^2 s^2)), float64 `[detections, objects]`.

    d is the distance between the two places, k twice the keypoint's sigma, and s^2 the object's area. Of an object
    without annotated keypoints, d is the distance from the box that is three times as large as its own.

    Args:
        sample: the objects.
        detections: with keypoints and their skeleton.
    """
    assert detections.keypoints is not None and detections.skeleton is not None
    found = detections.keypoints[:, None, :, :2].astype(float)  # [D, 1, P, 2]
    points = marked(sample, found.shape[2]).astype(float)  # [O, P, 3]
    boxes = objects_of(sample).boxes.astype(float)
    if not len(detections) or not len(boxes):
        return np.zeros((len(detections), len(boxes)))
    sides = boxes[:, 2:] - boxes[:, :2]
    low, high = (boxes[:, None, :2] - sides[:, None]), (boxes[:, None, 2:] + sides[:, None])  # [O, 1, 2]
    visible = points[..., 2] > 0  # [O, P]
    bare = ~np.asarray(visible.any(axis=1))  # [O]
    beside = np.maximum(low - found, 0) + np.maximum(found - high, 0)  # [D, O, P, 2]
    apart = np.where(bare[:, None, None], beside, found - points[..., :2])
    area = npboxes.area(objects_of(sample).boxes.astype(float))
    if sample.areas is not None:
        area = np.where(np.isnan(sample.areas), area, sample.areas)
    k = 2 * np.array(sigmas_of(detections.skeleton))
    likeness = np.exp(-(apart**2).sum(axis=-1) / k**2 / (area[:, None] + np.spacing(1)) / 2)  # [D, O, P]
    counts = visible | bare[:, None]
    return (likeness * counts).sum(axis=-1) / counts.sum(axis=-1)

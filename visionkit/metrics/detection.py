"""Scores of a detector: the COCO scores for boxes, masks and keypoints, and both kinds of Pascal VOC's.

COCO: Lin et al., "Microsoft COCO", ECCV 2014, and cocodataset.org/#detection-eval; AP is the mean over the IoU
thresholds 0.50, 0.55, ... 0.95 and over the classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from visionkit.metrics.coco_ap import AREAS, CAPS, KEYPOINT_AREAS, Rles, coco_tables, encode_masks, mean_defined
from visionkit.metrics.matches import Matches, match_all
from visionkit.metrics.voc_ap import aps, rankings
from visionkit.metrics.why_zero import why_zero
from visionkit.types import DataError, Detections, Sample, objects_of


class DetectionMetric:
    """Collects the objects and the detections of each image, and scores them.

    Only boxes, scores, labels and run-length codes of masks are kept. Images and full masks are released, so that a
    large validation set fits into memory.

    Args:
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)
        self.pairs: list[tuple[Sample, Detections]] = []  # without images and masks
        self._rles: list[tuple[Rles | None, Rles | None]] = []  # of the objects and of the detections

    def update(self, sample: Sample, detections: Detections, codes: Rles | None = None) -> None:
        """Adds one image.

        Args:
            sample: `boxes`, `labels` and, where they apply, `ignore`, `masks` and `keypoints`; `image` is not needed.
            detections: what the model detected, in pixels of the same image.
            codes: the masks of the sample as `encode_masks` returns them, where it comes without `masks`.

        Raises:
            DataError: the sample has no boxes, the two have different image sizes or keypoints, or a class id is
                unknown.
        """
        if sample.boxes is None or sample.labels is None:
            raise DataError(f"sample {sample.id!r} has no boxes to score detections against")
        if tuple(sample.image_size) != tuple(detections.image_size):
            raise DataError(
                f"sample {sample.id!r} is {tuple(sample.image_size)} (height, width), but its detections refer to an "
                f"image of {tuple(detections.image_size)}: map the boxes back to the original pixels first"
            )
        top = len(self.class_names) - 1
        for what, labels in (("objects", sample.labels), ("detections", detections.labels)):
            if len(labels) and not 0 <= labels.min() <= labels.max() <= top:
                given = np.unique(labels).tolist()
                raise DataError(f"{what} of {sample.id!r}: expected labels 0..{top}, found {given}")
        if sample.skeleton and detections.skeleton and sample.skeleton.names != detections.skeleton.names:
            theirs, ours = ([*skeleton.names][:5] for skeleton in (detections.skeleton, sample.skeleton))
            raise DataError(f"sample {sample.id!r} has the keypoints {ours} ..., but the model finds {theirs} ...")
        self._rles.append((encode_masks(sample.masks) if codes is None else codes, encode_masks(detections.masks)))
        self.pairs.append((replace(sample, image=None, masks=None, segmentation=None), replace(detections, masks=None)))

    def result(self) -> dict[str, Any]:
        """Returns the scores over all images so far.

        Returns:
            Floats in 0..1, or -1 (as in COCO) where the data set has nothing to measure against: `mAP mAP50 mAP75
            mAP_small mAP_medium mAP_large mAR1 mAR10 mAR100 mAR_small mAR_medium mAR_large`, the same
            with `mask_` in front if both sides have masks, of keypoints `keypoint_mAP keypoint_mAP50 keypoint_mAP75
            keypoint_mAP_medium keypoint_mAP_large` and the recalls `keypoint_mAR20 keypoint_mAR_medium
            keypoint_mAR_large` if both sides have any, `voc07_mAP50` (11-point), `voc12_mAP50` (all-point),
            `images`, and `per_class`: name -> `{"mAP", "mAP50", "objects", "detections"}`. A class without objects is
            left out of every mean. Small, medium and large are split at 32^2 and 96^2 pixels of an object's `areas`,
            or of its mask, or else its box, where the annotation states no area.
        """
        num_classes = len(self.class_names)
        precision, recall = coco_tables(self.pairs, num_classes, self._rles)
        scores: dict[str, Any] = dict(_twelve_numbers(precision, recall))
        if self._has_masks():
            of_masks = _twelve_numbers(*coco_tables(self.pairs, num_classes, self._rles, of_masks=True))
            scores |= {f"mask_{name}": value for name, value in of_masks.items()}
        if self._has_keypoints():
            of_keypoints = _eight_numbers(*coco_tables(self.pairs, num_classes, of_keypoints=True))
            scores |= {f"keypoint_{name}": value for name, value in of_keypoints.items()}
        ranked = rankings(self.pairs, num_classes)
        scores["voc07_mAP50"] = mean_defined(aps(ranked, eleven_point=True))
        scores["voc12_mAP50"] = mean_defined(aps(ranked))
        scores["images"] = len(self.pairs)
        scores["per_class"] = self._per_class(precision)
        return scores

    def tables(self) -> list[Matches]:
        """The matches of the boxes, and where there are masks or keypoints theirs, for `metrics.resampling`."""
        found = [match_all(self.pairs, len(self.class_names))]
        if self._has_masks():
            found.append(match_all(self.pairs, len(self.class_names), self._rles))
        if self._has_keypoints():
            found.append(match_all(self.pairs, len(self.class_names), of_keypoints=True))
        return found

    def why_zero(self) -> list[str]:
        """One sentence for each common mistake that explains an mAP50 of about 0; see `metrics.why_zero`."""
        return why_zero(self.pairs, self.class_names)

    def _per_class(self, precision: np.ndarray) -> dict[str, dict[str, float | int]]:
        """Scores and counts of each class from COCO's table; ignored objects are not counted."""
        annotated = [objects_of(sample) for sample, _ in self.pairs]
        objects = self._count([one.labels[~one.ignore] for one in annotated])
        detected = self._count([detections.labels for _, detections in self.pairs])
        rows: dict[str, dict[str, float | int]] = {}
        for k, name in enumerate(self.class_names):
            ap = _average_precision(precision[:, :, [k]])
            rows[name] = {
                "mAP": ap["mAP"],
                "mAP50": ap["mAP50"],
                "objects": int(objects[k]),
                "detections": int(detected[k]),
            }
        return rows

    def _count(self, labels: Sequence[np.ndarray]) -> np.ndarray:
        """How often each class id occurs, int `[K]`."""
        return np.bincount(np.concatenate([*labels, np.empty(0, np.int32)]), minlength=len(self.class_names))

    def _has_keypoints(self) -> bool:
        """True if the samples and the detections have keypoints."""
        return any(sample.keypoints is not None for sample, _ in self.pairs) and any(
            detections.keypoints is not None for _, detections in self.pairs
        )

    def _has_masks(self) -> bool:
        """True if some detections came with masks and nothing that has a box lacks one."""
        boxes = [n for sample, detections in self.pairs for n in (len(objects_of(sample).boxes), len(detections.boxes))]
        codes = [code for pair in self._rles for code in pair]
        complete = all(code is not None or n == 0 for code, n in zip(codes, boxes, strict=True))
        return complete and any(detection_codes is not None for _, detection_codes in self._rles)


def _eight_numbers(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """COCO's numbers for keypoints, without the recalls at one threshold."""
    numbers = _average_precision(precision)
    for a in (1, 2):
        numbers[f"mAP_{KEYPOINT_AREAS[a]}"] = mean_defined(precision[..., a, -1])
    numbers["mAR20"] = mean_defined(recall[..., 0, -1])
    for a in (1, 2):
        numbers[f"mAR_{KEYPOINT_AREAS[a]}"] = mean_defined(recall[..., a, -1])
    return numbers


def _twelve_numbers(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """COCO's numbers, in its order, from what `coco_tables` returns."""
    numbers = _average_precision(precision)
    for a in (1, 2, 3):
        numbers[f"mAP_{AREAS[a]}"] = mean_defined(precision[..., a, -1])
    for m, cap in enumerate(CAPS):
        numbers[f"mAR{cap}"] = mean_defined(recall[..., 0, m])
    for a in (1, 2, 3):
        numbers[f"mAR_{AREAS[a]}"] = mean_defined(recall[..., a, -1])
    return numbers


def _average_precision(precision: np.ndarray) -> dict[str, float]:
    """mAP, mAP50 and mAP75 for all areas and 100 detections, from a table `[T, 101, K, 4, 3]`."""
    table = precision[..., 0, -1]  # [T, 101, K]
    return {"mAP": mean_defined(table), "mAP50": mean_defined(table[0]), "mAP75": mean_defined(table[5])}

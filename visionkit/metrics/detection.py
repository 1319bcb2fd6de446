"""Scores of a detector: the COCO numbers for boxes and masks, and the two of Pascal VOC.

COCO: Lin et al., "Microsoft COCO", ECCV 2014, and cocodataset.org/#detection-eval; AP is the mean over the IoU
thresholds 0.50, 0.55, ... 0.95 and over the classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from visionkit.metrics.coco_ap import AREAS, CAPS, coco_tables, encode_masks, mean_defined
from visionkit.metrics.voc_ap import voc_ap
from visionkit.metrics.why_zero import why_zero
from visionkit.types import DataError, Detections, Sample


class DetectionMetric:
    """Collects what was there and what was found, image by image, and turns it into numbers.

    It keeps boxes, scores, labels and run-length codes of masks. Images and full masks are let go, so that a large
    validation set fits into memory.

    Args:
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, class_names: Sequence[str]):
        self.class_names = list(class_names)
        self.pairs: list[tuple[Sample, Detections]] = []  # without images and masks
        self._rles: list[tuple[list | None, list | None]] = []  # of the objects and of the detections

    def update(self, sample: Sample, detections: Detections) -> None:
        """Adds one image.

        Args:
            sample: `boxes`, `labels` and, where they apply, `ignore` and `masks`; `image` is not needed.
            detections: what the model found, in the pixels of the same image.

        Raises:
            DataError: the sample has no boxes, the two are of different images, or a class id is unknown.
        """
        if sample.boxes is None:
            raise DataError(f"sample {sample.id!r} has no boxes to score detections against")
        if tuple(sample.image_size) != tuple(detections.image_size):
            raise DataError(
                f"sample {sample.id!r} is {tuple(sample.image_size)} (height, width) and its detections are of an "
                f"image of {tuple(detections.image_size)}: map the boxes back to the original pixels first"
            )
        top = len(self.class_names) - 1
        for what, labels in (("objects", sample.labels), ("detections", detections.labels)):
            if len(labels) and not 0 <= labels.min() <= labels.max() <= top:
                raise DataError(f"{what} of {sample.id!r}: expected labels 0..{top}, got {np.unique(labels).tolist()}")
        self._rles.append((encode_masks(sample.masks), encode_masks(detections.masks)))
        bare = {"image": None, "masks": None, "segmentation": None}
        self.pairs.append((replace(sample, **bare), replace(detections, masks=None)))

    def result(self) -> dict:
        """The numbers of all images so far.

        Returns:
            Floats in 0..1, or -1 (as in COCO) where the set holds nothing to measure by: `mAP mAP50 mAP75 mAP_small
            mAP_medium mAP_large mAR1 mAR10 mAR100 mAR_small mAR_medium mAR_large`, then `mask_mAP mask_mAP50` where
            both sides have masks, `voc07_mAP50` (11-point), `voc12_mAP50` (all-point), `images`, and `per_class`:
            name -> `{"mAP", "mAP50", "objects", "detections"}`. A class without an object is left out of every mean.
            Small, medium and large are split at 32^2 and 96^2 pixels of the object's mask, or box without masks.
        """
        num_classes = len(self.class_names)
        precision, recall = coco_tables(self.pairs, num_classes, self._rles)
        numbers = _average_precision(precision)
        numbers |= {f"mAP_{AREAS[a]}": mean_defined(precision[..., a, -1]) for a in (1, 2, 3)}
        numbers |= {f"mAR{cap}": mean_defined(recall[..., 0, m]) for m, cap in enumerate(CAPS)}
        numbers |= {f"mAR_{AREAS[a]}": mean_defined(recall[..., a, -1]) for a in (1, 2, 3)}
        if self._has_masks():
            of_masks = _average_precision(coco_tables(self.pairs, num_classes, self._rles, of_masks=True)[0])
            numbers |= {"mask_mAP": of_masks["mAP"], "mask_mAP50": of_masks["mAP50"]}
        numbers["voc07_mAP50"] = mean_defined(voc_ap(self.pairs, num_classes, eleven_point=True))
        numbers["voc12_mAP50"] = mean_defined(voc_ap(self.pairs, num_classes))
        numbers["images"] = len(self.pairs)
        objects, found = (self._count(side) for side in (0, 1))
        numbers["per_class"] = {}
        for k, name in enumerate(self.class_names):
            ap = _average_precision(precision[:, :, [k]])
            counts = {"objects": int(objects[k]), "detections": int(found[k])}
            numbers["per_class"][name] = {"mAP": ap["mAP"], "mAP50": ap["mAP50"], **counts}
        return numbers

    def why_zero(self) -> list[str]:
        """One sentence for each usual mistake that explains an mAP50 of about 0; see `metrics.why_zero`."""
        return why_zero(self.pairs, self.class_names)

    def _count(self, side: int) -> np.ndarray:
        """Objects that count (side 0) or detections (side 1) of each class, int `[K]`."""
        sides = [pair[side] for pair in self.pairs]
        labels = [one.labels if getattr(one, "ignore", None) is None else one.labels[~one.ignore] for one in sides]
        return np.bincount(np.concatenate([*labels, np.empty(0, np.int32)]), minlength=len(self.class_names))

    def _has_masks(self) -> bool:
        """True when some detections came with masks and nothing that has a box lacks one."""
        boxes = [len(item.boxes) for pair in self.pairs for item in pair]
        codes = [code for pair in self._rles for code in pair]
        complete = all(code is not None or n == 0 for code, n in zip(codes, boxes, strict=True))
        return complete and any(found is not None for _, found in self._rles)


def _average_precision(precision: np.ndarray) -> dict:
    """mAP, mAP50, mAP75 for all areas and 100 detections, of a table `[T, 101, K, 4, 3]`."""
    table = precision[..., 0, -1]  # [T, 101, K]
    return {"mAP": mean_defined(table), "mAP50": mean_defined(table[0]), "mAP75": mean_defined(table[5])}

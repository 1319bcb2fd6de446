"""Why a detector scores nothing: the usual mistakes with boxes and class ids, tried one after the other."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from visionkit import npboxes
from visionkit.metrics.coco_ap import Pairs, coco_tables, mean_defined
from visionkit.types import Detections, Sample

ABOUT_ZERO = 0.01  # mAP50 at or below this is taken as "it finds nothing"
EXPLAINED = 0.1  # a guess that lifts mAP50 above this is reported
IMAGES = 300  # enough to tell, few enough to be quick


def why_zero(pairs: Pairs, class_names: Sequence[str]) -> list[str]:
    """Scores the detections again under each usual mistake.

    Args:
        pairs: the samples and their detections (the first 300 that have either are looked at).
        class_names: names of the class ids 0..K-1.

    Returns:
        One sentence for each mistake that would explain the result, best first. Empty when mAP50 is above 0.01, when
        there is no object or no detection at all, or when nothing tried explains it.
    """
    pairs = [(s, d) for s, d in pairs if len(s.boxes) or len(d.boxes)][:IMAGES]
    if not any(len(s.boxes) for s, _ in pairs) or not any(len(d.boxes) for _, d in pairs):
        return []
    now = _map50(pairs, len(class_names))
    if now > ABOUT_ZERO:
        return []
    explained = _explained(pairs, len(class_names), now, MISTAKES) or _explained(
        pairs, len(class_names), now, [LAST_RESORT]
    )
    return [sentence for _, sentence in sorted(explained, key=lambda pair: -pair[0])]


def _explained(pairs, num_classes, now, mistakes) -> list[tuple[float, str]]:
    scores = [(_map50([change(s, d) for s, d in pairs], num_classes), sentence) for sentence, change in mistakes]
    return [
        (then, f"{text} (mAP50 would be {then:.2f} and not {now:.2f}).") for then, text in scores if then > EXPLAINED
    ]


def _map50(pairs, num_classes) -> float:
    pairs = [tuple(_valid(item, num_classes) for item in pair) for pair in pairs]
    precision, _ = coco_tables(pairs, num_classes, iou_thresholds=[0.5])
    return mean_defined(precision[..., 0, -1])


def _valid(item, num_classes):
    """Without the rows that a wrong guess turned into an unknown class or a box inside out."""
    boxes = npboxes.clip(item.boxes, item.image_size)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (item.labels >= 0) & (item.labels < num_classes)
    rows = {key: getattr(item, key)[keep] for key in ("labels", "scores", "ignore") if _has(item, key)}
    return replace(item, boxes=boxes[keep], **rows)


def _has(item, key) -> bool:
    return getattr(item, key, None) is not None


def _boxes(change: Callable, of_sample: bool = False) -> Callable:
    """A mistake in the boxes: `change(boxes, image_size)` undoes it in the detections, or in the annotation."""

    def undo(sample: Sample, detections: Detections):
        if of_sample:
            return replace(sample, boxes=change(sample.boxes, sample.image_size)), detections
        return sample, replace(detections, boxes=change(detections.boxes, detections.image_size))

    return undo


def _labels(change: Callable) -> Callable:
    def undo(sample: Sample, detections: Detections):
        return replace(sample, labels=change(sample.labels)), replace(detections, labels=change(detections.labels))

    return undo


def _shift(by: int) -> Callable:
    return lambda sample, detections: (sample, replace(detections, labels=detections.labels + np.int32(by)))


def _from_xywh(boxes, _):
    return npboxes.from_xywh(boxes)


def _from_centre(boxes, image_size):
    return npboxes.from_yolo(boxes / np.tile(image_size[::-1], 2), image_size)


def _swap(boxes, _):
    return boxes[:, [1, 0, 3, 2]]


def _from_unit(boxes, image_size):
    return boxes * np.tile(image_size[::-1], 2).astype(np.float32)


def _one_class(labels):
    return np.zeros_like(labels)


MISTAKES = (
    ("The detections' class ids are one too high, as if 0 were the background", _shift(-1)),
    ("The detections' class ids are one too low, as if the annotation counted from 1", _shift(1)),
    ("x and y are swapped in the detections or in the annotation", _boxes(_swap)),
    ("The detections are x, y, width, height and were read as x1, y1, x2, y2", _boxes(_from_xywh)),
    ("The annotation is x, y, width, height and was read as x1, y1, x2, y2", _boxes(_from_xywh, of_sample=True)),
    ("The detections are centre x, centre y, width, height and were read as x1, y1, x2, y2", _boxes(_from_centre)),
    ("The detections are fractions of the image and were read as pixels", _boxes(_from_unit)),
    ("The annotation is in fractions of the image and was read as pixels", _boxes(_from_unit, of_sample=True)),
)
# Explains every mix-up of classes, so it is asked only when nothing more exact does.
LAST_RESORT = ("The boxes are right and the classes are not: the class names are in another order", _labels(_one_class))

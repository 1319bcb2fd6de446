"""Why a detector scores nothing: tries the common mistakes with boxes and class ids one by one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from visionkit import npboxes
from visionkit.metrics.coco_ap import Pairs, coco_tables, mean_defined
from visionkit.types import Detections, Sample, objects_of

ABOUT_ZERO = 0.01  # an mAP50 of this or less is taken as "it detects nothing"
EXPLAINED = 0.1  # a mistake is reported if undoing it lifts mAP50 above this
IMAGES = 300  # enough to tell, few enough to be quick

NOTHING = (
    "The model detects nothing in any image: no score reaches its threshold. Either it has learned too little, or the "
    "averages of its batch normalisation are still those of the start, as after a short training of a backbone of "
    "keras.applications without weights, whose momentum is 0.999."
)

BoxChange = Callable[[np.ndarray, tuple[int, int]], np.ndarray]  # boxes [N, 4], (height, width) -> boxes [N, 4]
Undo = Callable[[Sample, Detections], tuple[Sample, Detections]]


def why_zero(pairs: Pairs, class_names: Sequence[str]) -> list[str]:
    """Scores the detections again with each common mistake undone.

    Args:
        pairs: the samples and their detections; only the first 300 with an object or a detection are used.
        class_names: names of the class ids 0..K-1.

    Returns:
        One sentence for each mistake that would explain the result, the most likely first. Empty if mAP50 is above
        0.01, if there is no object, or if no mistake explains the result.
    """
    pairs = [(s, d) for s, d in pairs if len(objects_of(s).boxes) or len(d.boxes)][:IMAGES]
    if not any(len(objects_of(s).boxes) for s, _ in pairs):
        return []
    if not any(len(d.boxes) for _, d in pairs):
        return [NOTHING]
    num_classes = len(class_names)
    now = _map50(pairs, num_classes)
    if now > ABOUT_ZERO:
        return []
    explanations = _explanations(pairs, num_classes, now, MISTAKES)
    if not explanations:
        explanations = _explanations(pairs, num_classes, now, [LAST_RESORT])
    return [sentence for _, sentence in sorted(explanations, key=lambda pair: -pair[0])]


def _explanations(
    pairs: Pairs, num_classes: int, now: float, mistakes: Sequence[tuple[str, Undo]]
) -> list[tuple[float, str]]:
    """(mAP50 with the mistake undone, sentence) for each mistake that explains the result."""
    explanations: list[tuple[float, str]] = []
    for sentence, undo in mistakes:
        then = _map50([undo(sample, detections) for sample, detections in pairs], num_classes)
        if then > EXPLAINED:
            explanations.append((then, f"{sentence} (mAP50 would be {then:.2f} instead of {now:.2f})."))
    return explanations


def _map50(pairs: Pairs, num_classes: int) -> float:
    valid = [(_valid_sample(s, num_classes), _valid_detections(d, num_classes)) for s, d in pairs]
    precision, _ = coco_tables(valid, num_classes, iou_thresholds=[0.5])
    return mean_defined(precision[..., 0, -1])


def _valid_sample(sample: Sample, num_classes: int) -> Sample:
    boxes, labels, ignore = objects_of(sample)
    boxes, keep = _valid(boxes, labels, sample.image_size, num_classes)
    return replace(sample, boxes=boxes[keep], labels=labels[keep], ignore=ignore[keep], areas=None)


def _valid_detections(detections: Detections, num_classes: int) -> Detections:
    boxes, keep = _valid(detections.boxes, detections.labels, detections.image_size, num_classes)
    return replace(detections, boxes=boxes[keep], labels=detections.labels[keep], scores=detections.scores[keep])


def _valid(
    boxes: np.ndarray, labels: np.ndarray, image_size: tuple[int, int], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The clipped boxes, and bool `[N]`: False for rows that a wrong guess made an unknown class or an empty box."""
    boxes = npboxes.clip(boxes, image_size)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (labels >= 0) & (labels < num_classes)
    return boxes, keep


def _detected_boxes(change: BoxChange) -> Undo:
    """A mistake in the boxes of the detections, undone by `change`."""

    def undo(sample: Sample, detections: Detections) -> tuple[Sample, Detections]:
        return sample, replace(detections, boxes=change(detections.boxes, detections.image_size))

    return undo


def _annotated_boxes(change: BoxChange) -> Undo:
    """A mistake in the boxes of the annotation, undone by `change`."""

    def undo(sample: Sample, detections: Detections) -> tuple[Sample, Detections]:
        return replace(sample, boxes=change(objects_of(sample).boxes, sample.image_size)), detections

    return undo


def _shifted_labels(by: int) -> Undo:
    def undo(sample: Sample, detections: Detections) -> tuple[Sample, Detections]:
        return sample, replace(detections, labels=detections.labels + np.int32(by))

    return undo


def _without_classes(sample: Sample, detections: Detections) -> tuple[Sample, Detections]:
    return (
        replace(sample, labels=np.zeros_like(objects_of(sample).labels)),
        replace(detections, labels=np.zeros_like(detections.labels)),
    )


def _from_xywh(boxes: np.ndarray, _: tuple[int, int]) -> np.ndarray:
    return npboxes.from_xywh(boxes)


def _from_centre(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return npboxes.from_yolo(boxes / np.tile(image_size[::-1], 2), image_size)


def _swap(boxes: np.ndarray, _: tuple[int, int]) -> np.ndarray:
    return boxes[:, [1, 0, 3, 2]]


def _from_unit(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return boxes * np.tile(image_size[::-1], 2).astype(np.float32)


MISTAKES: tuple[tuple[str, Undo], ...] = (
    ("The detections' class ids are one too high, as if 0 were the background", _shifted_labels(-1)),
    ("The detections' class ids are one too low, as if the annotation counted from 1", _shifted_labels(1)),
    ("x and y are swapped in the detections or in the annotation", _detected_boxes(_swap)),
    ("The detections are x, y, width, height and were read as x1, y1, x2, y2", _detected_boxes(_from_xywh)),
    ("The annotation is x, y, width, height and was read as x1, y1, x2, y2", _annotated_boxes(_from_xywh)),
    (
        "The detections are centre x, centre y, width, height and were read as x1, y1, x2, y2",
        _detected_boxes(_from_centre),
    ),
    ("The detections are fractions of the image and were read as pixels", _detected_boxes(_from_unit)),
    ("The annotation is in fractions of the image and was read as pixels", _annotated_boxes(_from_unit)),
)
# Explains every mix-up of classes, so it is tried only when nothing more specific explains the result.
LAST_RESORT: tuple[str, Undo] = (
    "The boxes are right but the classes are not: the class names are in another order",
    _without_classes,
)

"""Boxes that make sense only when they are read in another way than the format of their data set prescribes."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.repair import Repairs
from visionkit.types import DataError, Sample, objects_of

SPILL = 0.05  # of an image's side: a box that extends further outside is not explained by rounding
FEW = 3  # boxes; fewer prove nothing about a data set
WRONG_FORMAT = "wrong box format"
MAY_BE_XYWH = (
    "may be x, y, width, height: read so, all of them end inside their images, which is rare for x1, y1, x2, y2, as "
    "visionkit reads them"
)
_log = logging.getLogger("visionkit")


def _inside(boxes: np.ndarray, image_size: tuple[int, int], spill: float = 0.0) -> np.ndarray:
    """bool `[N]`: corners in order, and at most `spill` of the image's sides outside the image."""
    sides = np.array(image_size[::-1])  # width, height
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.all((low < high) & (low >= -spill * sides) & (high <= (1 + spill) * sides), axis=1)


def _in_pixels(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return boxes * np.tile(np.array(image_size[::-1], np.float32), 2)


def _xywh(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return npboxes.from_xywh(boxes)


def _not_xywh(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return npboxes.to_xywh(boxes)


def _corners_for_yolo(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return _in_pixels(npboxes.to_yolo(boxes, image_size), image_size)


def _xywh_for_yolo(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    return _in_pixels(npboxes.from_xywh(npboxes.to_yolo(boxes, image_size)), image_size)


_Reading = tuple[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]]
# What boxes may be by mistake, and the function (corners as the format prescribes `[N, 4]`, image size) -> boxes that
# reads them in that way.
_OF_CORNERS: list[_Reading] = [("x, y, width, height", _xywh)]
_OF_XYWH: list[_Reading] = [("x1, y1, x2, y2", _not_xywh)]
_OF_CENTRES: list[_Reading] = [("x1, y1, x2, y2", _corners_for_yolo), ("x, y, width, height", _xywh_for_yolo)]
_READINGS = {
    "Pascal VOC XML": _OF_CORNERS,
    "CVAT for images": _OF_CORNERS,
    "COCO JSON": _OF_XYWH,
    "VIA": _OF_XYWH,
    "FiftyOne": _OF_XYWH,
    "metadata.jsonl of boxes": _OF_XYWH,
    "YOLO txt": _OF_CENTRES,
    "CSV of boxes": _OF_CORNERS + _OF_XYWH + _OF_CENTRES,  # its columns tell which
}
_IN_FRACTIONS = ("YOLO txt", "FiftyOne")


def looks_like(boxes: np.ndarray, image_size: tuple[int, int], format_name: str) -> str | None:
    """Returns what the boxes of an image look like if it is not what their format prescribes, or None.

    Args:
        boxes: `[N, 4]` x1, y1, x2, y2 in pixels, as annotated.
        image_size: (height, width) of the image.
        format_name: a key of `readers.READERS`.
    """
    boxes = boxes[(boxes[:, :2] != boxes[:, 2:]).any(axis=1)]  # a mere point proves nothing
    if not len(boxes) or format_name not in _READINGS:
        return None
    if format_name not in _IN_FRACTIONS and boxes.max() <= 1:
        return "fractions of the image"
    if 2 * np.count_nonzero(~_inside(boxes, image_size, SPILL)) < len(boxes):
        return None
    names = (name for name, read in _READINGS[format_name] if _inside(read(boxes, image_size), image_size).all())
    return next(names, None)


def check_box_format(records: Sequence[Sample], format_name: str, repairs: Repairs, where: object) -> None:
    """Refuses a data set most of whose boxes look like those of another format; the doctor notes it.

    Args:
        records: of the data set.
        format_name: a key of `readers.READERS`.
        repairs: has seen the unchanged boxes of the records.
        where: the data set, for the message.

    Raises:
        DataError: most boxes look like something else, and `repairs` does not collect.
    """
    total, alike = 0, []
    for record in records:
        boxes = repairs.raw.get(record.file) if record.file else None
        if boxes is None:
            continue
        total += len(boxes)
        if name := looks_like(boxes, record.image_size, format_name):
            alike += [(name, record.id)] * len(boxes)
    if len(alike) < FEW or 2 * len(alike) <= total:
        if _READINGS.get(format_name) is _OF_CORNERS and _may_be_xywh(records):
            repairs.note("box format", f"its {total} boxes {MAY_BE_XYWH}")
            if not repairs.collect:
                _log.warning("%s: its %d boxes %s", where, total, MAY_BE_XYWH)
        return
    name, id = alike[0]
    text = f"{len(alike)} of {total} boxes look like {name}, which is not how {format_name} has them (such as {id})"
    with repairs.skipping():
        raise DataError(f"{where}: {text}: write them as the format prescribes", WRONG_FORMAT)


def check_made_boxes(dataset: Dataset) -> None:
    """Looks at the boxes of samples that were made in Python, where no format says what they are.

    Logs a warning if they look like x, y, width, height.

    Raises:
        DataError: they look like fractions of the image.
    """
    if not dataset.made_in_python:
        return
    where = dataset.source or "data set"
    boxes = [record.boxes for record in dataset.records if record.boxes is not None and len(record.boxes)]
    if boxes and all(np.max(several) <= 1 for several in boxes):
        found = f"its boxes look like fractions of the image, such as {np.asarray(boxes[0])[0].tolist()}"
        raise DataError(f"{where}: {found}; give x1, y1, x2, y2 in pixels", WRONG_FORMAT)
    if _may_be_xywh(dataset.records):
        count = sum(map(len, boxes))
        advice = "np.hstack([b[:, :2], b[:, :2] + b[:, 2:]]) makes corners of such boxes b"
        _log.warning("%s: its %d boxes %s; %s", where, count, MAY_BE_XYWH, advice)


def _may_be_xywh(records: Sequence[Sample]) -> bool:
    boxes, sizes = [], []
    for record in records:
        if record.boxes is None or not len(record.boxes):
            continue
        if not isinstance(record.boxes, np.ndarray) or record.boxes.shape[1:] != (4,):
            return False  # whoever reads the sample refuses it
        if not npboxes.fit_as_xywh(record.boxes, record.image_size).all():
            return False  # in most data sets the first image shows it
        boxes.append(record.boxes)
        sizes.append(np.tile(record.image_size, (len(record.boxes), 1)))
    return bool(boxes) and npboxes.may_be_xywh(np.concatenate(boxes), np.concatenate(sizes))


def check_objects(records: Sequence[Sample], where: object) -> None:
    """Raises a `DataError` if images are labelled with objects, but none of them has any."""
    if not any(len(objects_of(record).boxes) for record in records if record.boxes is not None):
        text = (
            f"none of its {len(records)} images has an object" if len(records) > 1 else "its only image has no object"
        )
        raise DataError(f"{where}: {text}; `visionkit doctor` lists what is wrong with its labels", "no objects")

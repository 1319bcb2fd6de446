"""What the doctor looks for in records: boxes, classes and sizes, without a single pixel."""

from collections.abc import Iterator, Sequence

import numpy as np

from visionkit import npboxes
from visionkit.data.repair import Finding
from visionkit.types import Sample

SAME_BOX = 0.95  # IoU from which two boxes of an image are one
SPILL = 0.05  # of an image's side: a box further out than that is no rounding
SMALL = 8  # pixels: the finest stride of most detectors
UNBALANCED = 10  # times more objects in the most frequent class than in the rarest
RARE = 0.005  # of a mask's pixels: a class this small in one mask alone may be the trace of smoothing


def _inside(boxes, image_size, spill=0.0):
    """bool `[N]`: in order, and not further outside the image than `spill` of its sides."""
    w, h = image_size[::-1]
    ordered = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    return (
        ordered
        & (boxes[:, :2] >= -spill * np.array([w, h])).all(axis=1)
        & (boxes[:, 2:] <= (1 + spill) * np.array([w, h])).all(axis=1)
    )


# Format -> other readings of what was read as boxes in it: (what it would be, boxes `[N, 4]`, image size -> boxes).
_READINGS = {
    "Pascal VOC XML": [("x, y, width, height", lambda boxes, size: npboxes.from_xywh(boxes))],
    "COCO JSON": [("x1, y1, x2, y2", lambda boxes, size: npboxes.to_xywh(boxes))],
    "YOLO txt": [
        ("x1, y1, x2, y2", lambda boxes, size: _in_pixels(npboxes.to_yolo(boxes, size), size)),
        ("x, y, width, height", lambda boxes, size: _in_pixels(npboxes.from_xywh(npboxes.to_yolo(boxes, size)), size)),
    ],
}


def _in_pixels(boxes, image_size):
    return boxes * np.float32([*image_size[::-1], *image_size[::-1]])


def other_format(record: Sample, boxes: np.ndarray, form: str) -> Finding | None:
    """The boxes `[N, 4]` of an image, as `form` has them, that make sense only when they are read in another way."""
    boxes, what = boxes[(boxes[:, :2] != boxes[:, 2:]).any(axis=1)], None  # a mere point says nothing
    if not len(boxes) or form not in _READINGS:
        return None
    if form != "YOLO txt" and boxes.max() <= 1:
        what = "fractions of the image"
    elif 2 * np.count_nonzero(~_inside(boxes, record.image_size, SPILL)) >= len(boxes):
        readings = ((name, read(boxes, record.image_size)) for name, read in _READINGS[form])
        what = next((name for name, other in readings if _inside(other, record.image_size).all()), None)
    if what is None:
        return None
    text = f"{record.id}: its {len(boxes)} boxes look like {what}, which {form} is not"
    box = tuple(round(float(value), 2) for value in boxes[0])
    return Finding(kind="box format", message=text, id=record.id, files=_files(record), box=box)


def repeated_boxes(record: Sample, classes: bool = False) -> list[int]:
    """Rows of boxes that stand on an earlier one of their class; with `classes`, exactly on one of another class."""
    boxes = record.boxes
    if len(boxes) < 2:
        return []
    overlap = np.triu(npboxes.iou(boxes, boxes), 1)
    alike = record.labels[:, None] == record.labels[None]
    crowd = np.zeros(len(boxes), bool) if record.ignore is None else record.ignore
    twice = (overlap > 1 - 1e-6) & ~alike if classes else (overlap >= SAME_BOX) & alike
    return np.flatnonzero((twice & ~crowd[:, None]).any(axis=0) & ~crowd).tolist()


def duplicate_boxes(record: Sample, class_names: Sequence[str]) -> Iterator[Finding]:
    """A finding for each of `repeated_boxes`, of either kind."""
    for classes, kind, what in (
        (False, "duplicate box", "is there twice"),
        (True, "two classes", "is another class too"),
    ):
        for row in repeated_boxes(record, classes):
            box = tuple(round(float(value), 2) for value in record.boxes[row])
            text = f"{record.id}: {class_names[record.labels[row]]} at {' '.join(f'{v:g}' for v in box)} {what}"
            yield Finding(kind=kind, message=text, id=record.id, files=_files(record), box=box)


def class_counts(records: Sequence[Sample], num_classes: int) -> np.ndarray:
    """int `[K]`: objects of each class, or images of it."""
    labels = [r.labels for r in records if r.labels is not None] or [[r.label for r in records if r.label is not None]]
    return np.bincount(np.concatenate([*labels, []]).astype(np.int64), minlength=num_classes)


def class_findings(counts: dict[str, np.ndarray], class_names: Sequence[str], what: str) -> Iterator[Finding]:
    """Classes without a sample, absent from train, with gaps between their numbers, and out of balance.

    Args:
        counts: split -> int `[K]`.
        what: is counted, e.g. "objects".
    """
    total = np.sum(list(counts.values()), axis=0)
    for k in np.flatnonzero(total == 0):
        yield Finding(kind="class without samples", message=f"class {k}, {class_names[k]!r}: not one of the {what}")
    if "train" in counts:
        for k in np.flatnonzero((counts["train"] == 0) & (total > 0)):
            text = f"class {k}, {class_names[k]!r}: none of its {total[k]} {what} is in train"
            yield Finding(kind="class not in train", message=text)
    numbers = [int(name) for name in class_names if name.isdecimal() and len(name) < 6]
    missing = sorted(set(range(max(numbers, default=0))) - set(numbers))
    if len(numbers) == len(class_names) and missing and numbers != [0, 255]:
        text = f"the numbers {', '.join(map(str, missing[:9]))} lie between those of the classes and are not used"
        yield Finding(kind="class-id gaps", message=text)
    present = np.flatnonzero(total)
    if len(present) > 1:
        most, least = (present[pick(total[present])] for pick in (np.argmax, np.argmin))
        if total[most] >= UNBALANCED * total[least]:
            text = f"{total[most]} {what} of {class_names[most]}, {total[least]} of {class_names[least]}"
            yield Finding(kind="class balance", message=f"{text}: {total[most] / total[least]:.0f} times")


def small_objects(records: Sequence[Sample], scale) -> Iterator[Finding]:
    """The share of objects that are tiny in the network's image.

    Args:
        scale: image size (height, width) -> what its pixels are multiplied by.
    """
    shortest = [(r.boxes[:, 2:] - r.boxes[:, :2]).min(axis=1) * scale(r.image_size) for r in records if len(r.boxes)]
    if not shortest:
        return
    sides, worst = np.concatenate(shortest), min(range(len(shortest)), key=lambda i: shortest[i].min())
    if count := np.count_nonzero(sides < SMALL):
        record = [r for r in records if len(r.boxes)][worst]
        box = tuple(round(float(v), 2) for v in record.boxes[shortest[worst].argmin()])
        text = f"{count} of {len(sides)} objects are less than {SMALL} pixels wide or high at the training size"
        text += f"; the smallest, {sides.min():.1f} pixels, is in {record.id}"
        yield Finding(kind="small objects", message=text, id=record.id, files=_files(record), box=box)


def background(records: Sequence[Sample]) -> Iterator[Finding]:
    """The share of images without an object."""
    if empty := [r for r in records if not len(r.boxes)]:
        text = f"{len(empty)} of {len(records)} images have no object, {empty[0].id} among them"
        yield Finding(kind="background", message=text, id=empty[0].id, files=_files(empty[0]))


def mask_findings(records: Sequence[Sample], pixels: np.ndarray, class_names: Sequence[str]) -> Iterator[Finding]:
    """Masks of nothing but ignored pixels, values that are in one mask alone and hardly there, and numbered objects.

    Args:
        pixels: int `[N, 256]`, how many pixels of each class id, and of 255 = ignore, the mask of each record has.
    """
    for record, count in zip(records, pixels, strict=True):
        if count[255] > 0.9 * count.sum():
            text = f"{record.id}: {count[255] / count.sum():.0%} of the mask are ignored"
            yield Finding(kind="ignored mask", message=text, id=record.id, files=_files(record))
    if ignored := pixels[:, 255].sum():
        yield Finding(
            kind="ignored pixels", message=f"{ignored / pixels.sum():.1%} of all pixels are ignored (255 or void)"
        )
    if _counts_objects(pixels, class_names):
        text = "the values of every mask are 1 to n without a gap, and n differs: numbers of objects, not classes?"
        yield Finding(kind="numbered masks", message=text)
        return
    for k in np.flatnonzero((pixels[:, :255] > 0).sum(axis=0) == 1):
        row = int(pixels[:, k].argmax())
        if len(records) >= 10 and pixels[row, k] < RARE * pixels[row].sum():
            record = records[row]
            text = f"{record.id}: {pixels[row, k]} pixels of class {class_names[k]}, which no other mask has"
            yield Finding(kind="rare mask value", message=text, id=record.id, files=_files(record))


def _counts_objects(pixels, class_names) -> bool:
    """Whether class maps without names look like instance masks: the first n numbers in each, up to at least 4."""
    present = pixels[:, 1:255] > 0
    counts = present.sum(axis=1)
    first = present == (np.arange(present.shape[1]) < counts[:, None])
    nameless = all(name == str(k) for k, name in enumerate(class_names))
    return nameless and len(pixels) >= 10 and bool(first.all()) and counts.max() >= 4 and len(set(counts.tolist())) >= 3


def _files(record):
    return (record.file,) if record.file else ()

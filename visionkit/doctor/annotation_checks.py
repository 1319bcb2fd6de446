"""What the doctor checks in records without reading a single pixel: boxes, classes and sizes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.data.box_formats import looks_like
from visionkit.data.dataset import Dataset
from visionkit.data.keypoints import skeleton_of_data
from visionkit.data.repair import Finding
from visionkit.types import DataError, Sample, objects_of

SAME_BOX = 0.95  # boxes of an image with this IoU or more are the same box
SMALL = 8  # pixels: the finest stride of most detectors
UNBALANCED = 10  # times more objects in the most frequent class than in the rarest
RARE = 0.005  # of a mask's pixels: a class this small in a single mask may be a trace of smoothing


def other_format(record: Sample, boxes: np.ndarray, format_name: str) -> Iterator[Finding]:
    """Reports boxes `[N, 4]` of an image that make sense only when read in another way than the format prescribes."""
    if name := looks_like(boxes, record.image_size, format_name):
        text = f"{record.id}: its {len(boxes)} boxes look like {name}, which is not how {format_name} has them"
        yield _finding("box format", text, record, boxes[0])


def repeated_boxes(record: Sample) -> list[int]:
    """Returns the rows of boxes that repeat an earlier box of their class; crowds do not count."""
    overlap, same_class = _pairs_of_boxes(record)
    return np.flatnonzero(((overlap >= SAME_BOX) & same_class).any(axis=0)).tolist()


def boxes_of_two_classes(record: Sample) -> list[int]:
    """Returns the rows of boxes that exactly repeat an earlier box of another class; crowds do not count."""
    overlap, same_class = _pairs_of_boxes(record)
    return np.flatnonzero(((overlap > 1 - 1e-6) & ~same_class).any(axis=0)).tolist()


def _pairs_of_boxes(record: Sample) -> tuple[np.ndarray, np.ndarray]:
    """(IoU of each box with each later one, whether their classes are the same), both `[N, N]`.

    The IoU of other pairs, and of pairs with a crowd, is 0.
    """
    boxes, labels, crowd = objects_of(record)
    overlap = np.triu(npboxes.iou(boxes, boxes), 1)
    overlap[crowd] = 0
    overlap[:, crowd] = 0
    return overlap, labels[:, None] == labels[None]


def duplicate_boxes(record: Sample, class_names: Sequence[str]) -> Iterator[Finding]:
    """Reports repeated boxes, and boxes of two classes."""
    boxes, labels, _ = objects_of(record)
    if len(boxes) < 2:
        return
    for rows, kind, what in (
        (repeated_boxes(record), "duplicate box", "occurs twice"),
        (boxes_of_two_classes(record), "two classes", "has another class as well"),
    ):
        for row in rows:
            corners = " ".join(f"{value:g}" for value in _rounded(boxes[row]))
            text = f"{record.id}: {class_names[labels[row]]} at {corners} {what}"
            yield _finding(kind, text, record, boxes[row])


def class_counts(records: Sequence[Sample], num_classes: int) -> np.ndarray:
    """Counts the objects of each class, or the images of each class if there are no objects: int `[K]`."""
    labels = [record.labels for record in records if record.labels is not None]
    if not labels:
        labels = [np.array([record.label for record in records if record.label is not None], np.int64)]
    return np.bincount(np.concatenate(labels).astype(np.int64), minlength=num_classes)


def class_findings(counts: dict[str, np.ndarray], class_names: Sequence[str], what: str) -> Iterator[Finding]:
    """Reports classes without samples or absent from train, gaps in numbered class names, and poor balance.

    Args:
        counts: split -> int `[K]`.
        class_names: K names.
        what: is counted, e.g. "objects".
    """
    total = np.sum(list(counts.values()), axis=0)
    for k in np.flatnonzero(total == 0).tolist():
        text = f"class {k}, {class_names[k]!r}: none of the {what} are of it"
        yield Finding(kind="class without samples", message=text)
    if "train" in counts:
        for k in np.flatnonzero((counts["train"] == 0) & (total > 0)).tolist():
            text = f"class {k}, {class_names[k]!r}: none of its {total[k]} {what} are in train"
            yield Finding(kind="class not in train", message=text)
    numbers = [int(name) for name in class_names if name.isdecimal() and len(name) < 6]
    missing = sorted(set(range(max(numbers, default=0))) - set(numbers))
    if len(numbers) == len(class_names) and missing and numbers != [0, 255]:
        text = f"the numbers {', '.join(map(str, missing[:9]))} are skipped between those of the classes"
        yield Finding(kind="class-id gaps", message=text)
    present = np.flatnonzero(total)
    if len(present) > 1:
        most, least = int(present[total[present].argmax()]), int(present[total[present].argmin()])
        if total[most] >= UNBALANCED * total[least]:
            text = f"{total[most]} {what} of {class_names[most]}, {total[least]} of {class_names[least]}"
            yield Finding(kind="class balance", message=f"{text}: {total[most] / total[least]:.0f} times as many")


def similar_classes(class_names: Sequence[str]) -> Iterator[Finding]:
    """Reports classes whose names differ only in case or in spaces around them."""
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault(name.strip().casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            yield Finding(kind="similar classes", message=f"the classes {', '.join(map(repr, names))}")


def small_objects(records: Sequence[Sample], size: int | tuple[int, int]) -> Iterator[Finding]:
    """Reports how many objects are tiny in the training image.

    Args:
        records: the samples.
        size: of the training image in pixels: its long side, or (height, width).
    """
    with_objects = [record for record in records if len(objects_of(record).boxes)]
    short_sides = []  # of each record, the shorter side of each object in pixels of the training image
    for record in with_objects:
        boxes = objects_of(record).boxes
        short_sides.append((boxes[:, 2:] - boxes[:, :2]).min(axis=1) * scale_of(record.image_size, size))
    if not short_sides:
        return
    sides = np.concatenate(short_sides)
    if count := np.count_nonzero(sides < SMALL):
        worst = min(range(len(short_sides)), key=lambda i: short_sides[i].min())
        record = with_objects[worst]
        text = f"{count} of {len(sides)} objects are less than {SMALL} pixels wide or high at the training size"
        text += f"; the smallest, {sides.min():.1f} pixels, is in {record.id}"
        yield _finding("small objects", text, record, objects_of(record).boxes[short_sides[worst].argmin()])


def scale_of(image_size: tuple[int, int], size: int | tuple[int, int]) -> float:
    """The factor by which an image is resized for training."""
    if isinstance(size, int):
        return size / max(image_size)
    return min(size[0] / image_size[0], size[1] / image_size[1])


def keypoint_findings(parts: Mapping[str, Dataset]) -> Iterator[Finding]:
    """Reports splits without a marked keypoint, and those whose keypoints are not those of the first good split.

    Args:
        parts: split -> its data, train first.
    """
    learned = None
    for split, part in parts.items():
        if not len(part):
            continue
        try:
            skeleton_of_data(learned or part, part)
        except DataError as error:
            yield Finding(kind="no keypoints", message=f"split {split}: {error}")
        else:
            learned = learned or part


def background(records: Sequence[Sample]) -> Iterator[Finding]:
    """Reports how many images have no object, which is an error if none of them has any."""
    if not any(len(objects_of(record).boxes) for record in records):
        yield Finding(kind="no objects", message=f"none of the {len(records)} images has an object")
    elif empty := [record for record in records if not len(objects_of(record).boxes)]:
        text = f"{len(empty)} of {len(records)} images have no object, such as {empty[0].id}"
        yield _finding("background", text, empty[0])


def mask_findings(records: Sequence[Sample], pixels: np.ndarray, class_names: Sequence[str]) -> Iterator[Finding]:
    """Reports masks with little but ignored pixels, values that are hardly used, and masks that number objects.

    Args:
        records: the samples.
        pixels: int `[N, 256]`, how many pixels of each class id, and of 255 = ignore, each mask has.
        class_names: K names.
    """
    for record, count in zip(records, pixels, strict=True):
        if count[255] > 0.9 * count.sum():
            text = f"{record.id}: {count[255] / count.sum():.0%} of the mask is ignored"
            yield _finding("ignored mask", text, record)
    if ignored := pixels[:, 255].sum():
        text = f"{ignored / pixels.sum():.1%} of all pixels are ignored (255 or void)"
        yield Finding(kind="ignored pixels", message=text)
    if _counts_objects(pixels, class_names):
        text = "the values of every mask are 1 to n without gaps, and n varies: numbers of objects, not classes?"
        yield Finding(kind="numbered masks", message=text)
        return
    for k in np.flatnonzero((pixels[:, :255] > 0).sum(axis=0) == 1).tolist():
        row = int(pixels[:, k].argmax())
        if len(records) >= 10 and pixels[row, k] < RARE * pixels[row].sum():
            record = records[row]
            text = f"{record.id}: {pixels[row, k]} pixels of class {class_names[k]}, which no other mask has"
            yield _finding("rare mask value", text, record)


def _counts_objects(pixels: np.ndarray, class_names: Sequence[str]) -> bool:
    """Whether class maps without names look like instance masks: values 1 to n in each, n varying up to 4 or more."""
    present = pixels[:, 1:255] > 0
    counts = present.sum(axis=1)
    first = present == (np.arange(present.shape[1]) < counts[:, None])
    nameless = all(name == str(k) for k, name in enumerate(class_names))
    varied = len(pixels) >= 10 and int(counts.max()) >= 4 and len(set(counts.tolist())) >= 3
    return nameless and varied and bool(first.all())


def _finding(kind: str, message: str, record: Sample, box: np.ndarray | None = None) -> Finding:
    files: tuple[Path, ...] = (record.file,) if record.file else ()
    return Finding(kind=kind, message=message, id=record.id, files=files, box=None if box is None else _rounded(box))


def _rounded(box: np.ndarray) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in box.tolist())

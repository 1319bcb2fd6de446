"""The data that flows through visionkit, and the conventions it keeps.

    files --readers--> Sample --augment, batch--> Batch --> Model --decode--> Detections --> metrics | pictures | files

| thing | convention |
|---|---|
| image in a Sample | RGB uint8 `[H, W, 3]`, upright (EXIF applied) |
| image into a model | RGB 0..255 `[B, H, W, 3]`; the model normalises in its first layer |
| image into a model for grey | luma 0..255 `[B, H, W, 1]`, made of the RGB by `batches` and the Predictor |
| boxes | float32 `[N, 4]` x1, y1, x2, y2 in absolute pixels, continuous (width = x2 - x1), inside the image |
| class ids | int32 0..K-1; background is never a class id; -1 is padding |
| instance masks | uint8 `[N, H, W]` of 0 and 1 |
| segmentation map | int32 `[H, W]`, 255 = ignore |
| sizes | (height, width) |
| scores | float32, descending per image; fixed-size outputs are padded with score 0, label -1 |
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Tensor: TypeAlias = Any  # of any Keras backend, symbolic or eager, or a NumPy array; Keras has no type for them all

IGNORE = 255  # the value of a segmentation map that is neither trained on nor scored
PADDING = -1  # the label of a row that holds no object
LETTERBOX_GREY = 114  # the value of all three channels beside an image that is fitted into the network's size
CROP_SHARE = 0.875  # of the middle of an image, what the rule "crop" shows: 224 of 256 pixels


class DataError(ValueError):
    """Something is wrong with the user's data; the message says what, where and what was expected.

    Args:
        kind: a few fixed words for the dataset doctor's table, where they are known.
    """

    def __init__(self, message: str = "", kind: str | None = None):
        super().__init__(message)
        self.kind = kind


def would_be_lost(file) -> DataError:
    """The error where `file` is about to be written, and is there already, and not known to be ours."""
    return DataError(f"{file}: is not of an earlier run and would be lost; choose another output folder")


def crop_share(rule: str) -> Fraction | None:
    """What a rule of `images.fit` shows of the largest rectangle with the network's proportions; None if it shows all.

    "crop 224/232" says it in the field's way: the shorter side resized to 232 pixels and the middle 224 taken. "crop"
    alone is 224 of 256.

    Raises:
        ValueError: there is no such rule.
    """
    name, _, share = rule.partition(" ")
    try:
        share = Fraction(share) if share else Fraction(CROP_SHARE)
        if name == "crop" and 0 < share <= 1:
            return share
    except (ValueError, ZeroDivisionError):
        pass  # as any other rule that there is not
    if rule not in ("letterbox", "stretch"):
        raise ValueError(f"resize must be 'letterbox', 'stretch', 'crop' or 'crop 224/232', not {rule!r}")
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image with what is known about it. Fields that do not apply to the task are None.

    Args:
        id: unique within its data set; readers use the file's path relative to the image folder, without suffix.
        file: the image file, or None for an image that was never on disk.
        image_size: (height, width) of the upright image in pixels.
        image: uint8 `[H, W, 3]` RGB, or None in a record whose pixels are not read yet (see `data.Dataset`).
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels of this image.
        labels: int32 `[N]` class ids 0..K-1 of the boxes.
        ignore: bool `[N]`, True for a COCO crowd region or a VOC `difficult` object: neither a target nor, when
            detected, a mistake. None means all False.
        masks: uint8 `[N, H, W]` of 0 and 1, one a box.
        segmentation: int32 `[H, W]` class ids, 255 = ignore.
        label: the class id of the whole image.
    """

    id: str
    image_size: tuple[int, int]
    file: Path | None = None
    image: np.ndarray | None = None
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    ignore: np.ndarray | None = None
    masks: np.ndarray | None = None
    segmentation: np.ndarray | None = None
    label: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """What a detector found in one image: no padding, scores descending.

    Args:
        id: the sample's id or the file's name.
        image_size: (height, width) of the image that `boxes` refer to.
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels.
        scores: float32 `[N]` in 0..1, descending.
        labels: int32 `[N]` class ids 0..K-1.
        masks: uint8 `[N, H, W]` of 0 and 1, or None.
        file: the image file, or None.
    """

    id: str
    image_size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    file: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """What a classifier says of one image.

    Args:
        id: the sample's id or the file's name.
        image_size: (height, width) of the image.
        scores: float32 `[K]`, probabilities in the order of the class ids.
        file: the image file, or None.
    """

    id: str
    image_size: tuple[int, int]
    scores: np.ndarray
    file: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationMap:
    """What a segmenter says of each pixel of one image.

    Args:
        id: the sample's id or the file's name.
        image_size: (height, width) of the image, and so of the map.
        segmentation: int32 `[H, W]`, class ids 0..K-1; never 255, since a segmenter ignores nothing.
        file: the image file, or None.
    """

    id: str
    image_size: tuple[int, int]
    segmentation: np.ndarray
    file: Path | None = None


class Objects(NamedTuple):
    """The annotated objects of one sample; no field is None.

    Args:
        boxes: float32 `[N, 4]` x1, y1, x2, y2 in pixels of the image.
        labels: int32 `[N]` class ids.
        ignore: bool `[N]`, True for an object that is neither trained on nor scored.
    """

    boxes: np.ndarray
    labels: np.ndarray
    ignore: np.ndarray


def objects_of(sample: Sample) -> Objects:
    """Returns the objects of a sample; `ignore` is all False where the sample has none.

    Raises:
        DataError: the sample has no boxes or no labels.
    """
    if sample.boxes is None or sample.labels is None:
        raise DataError(f"sample {sample.id!r}: expected boxes with labels, found none")
    ignore = np.zeros(len(sample.boxes), bool) if sample.ignore is None else sample.ignore
    return Objects(sample.boxes, sample.labels, ignore)


def check_sample(sample: Sample, num_classes: int | None = None) -> Sample:
    """Returns `sample` if it keeps the conventions above, else raises `DataError` naming it and the bad value."""

    def expect(ok, what, value):
        if not ok:
            raise DataError(f"sample {sample.id!r}: expected {what}, found {value}")

    h, w = sample.image_size
    expect(h > 0 and w > 0, "image_size (height, width) above zero", sample.image_size)
    if sample.image is not None:
        found = f"{sample.image.dtype} {sample.image.shape}"
        expect(sample.image.dtype == np.uint8 and sample.image.shape == (h, w, 3), f"image uint8 ({h}, {w}, 3)", found)
    if sample.boxes is not None:
        _check_boxes(expect, sample.boxes, sample.labels, sample.image_size, num_classes)
        n = len(sample.boxes)
        if sample.ignore is not None:
            found = f"{sample.ignore.dtype} {sample.ignore.shape}"
            expect(sample.ignore.dtype == bool and sample.ignore.shape == (n,), f"ignore bool ({n},)", found)
        if sample.masks is not None:
            found = f"{sample.masks.dtype} {sample.masks.shape}"
            expect(
                sample.masks.dtype == np.uint8 and sample.masks.shape == (n, h, w),
                f"masks uint8 ({n}, {h}, {w})",
                found,
            )
            expect(sample.masks.max(initial=0) <= 1, "masks of 0 and 1", sample.masks.max(initial=0))
    if sample.segmentation is not None:
        found = f"{sample.segmentation.dtype} {sample.segmentation.shape}"
        ok = sample.segmentation.dtype == np.int32 and sample.segmentation.shape == (h, w)
        expect(ok, f"segmentation int32 ({h}, {w})", found)
        if num_classes is not None:
            values = np.unique(sample.segmentation)
            bad = values[((values < 0) | (values >= num_classes)) & (values != IGNORE)]
            expect(not bad.size, f"map values 0..{num_classes - 1} or {IGNORE}", bad[:5].tolist())
    if sample.label is not None and num_classes is not None:
        expect(0 <= sample.label < num_classes, f"label 0..{num_classes - 1}", sample.label)
    return sample


def check_detections(detections: Detections, num_classes: int | None = None) -> Detections:
    """Returns `detections` if they keep the conventions above, else raises `DataError` naming the image."""

    def expect(ok, what, value):
        if not ok:
            raise DataError(f"detections of {detections.id!r}: expected {what}, found {value}")

    _check_boxes(expect, detections.boxes, detections.labels, detections.image_size, num_classes, allow_empty_area=True)
    scores, n = detections.scores, len(detections.boxes)
    expect(
        scores.dtype == np.float32 and scores.shape == (n,), f"scores float32 ({n},)", f"{scores.dtype} {scores.shape}"
    )
    expect(bool(np.all((scores >= 0) & (scores <= 1))), "scores in 0..1", scores[:5])
    expect(bool(np.all(np.diff(scores) <= 0)), "scores descending", scores[:5])
    return detections


def check_batch(images: np.ndarray, targets: dict, num_classes: int | None = None) -> None:
    """Raises `DataError` unless a padded detection batch keeps the conventions.

    Args:
        images: uint8 or float32 `[B, H, W, 3]`, values 0..255.
        targets: `boxes` float32 `[B, M, 4]`, `labels` int32 `[B, M]` with -1 for padding, `ignore` bool `[B, M]`.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"batch: expected images [B, H, W, 3], found {images.shape}")
    for i, (boxes, labels) in enumerate(zip(targets["boxes"], targets["labels"], strict=True)):
        real = labels != PADDING
        if (labels < PADDING).any():
            raise DataError(f"batch row {i}: expected labels >= {PADDING}, found {labels.min()}")
        size = images.shape[1:3]
        check_sample(Sample(id=f"batch row {i}", image_size=size, boxes=boxes[real], labels=labels[real]), num_classes)


def _check_boxes(expect, boxes, labels, image_size, num_classes, allow_empty_area=False):
    h, w = image_size
    expect(
        boxes.dtype == np.float32 and boxes.ndim == 2 and boxes.shape[1] == 4,
        "boxes float32 (N, 4)",
        f"{boxes.dtype} {boxes.shape}",
    )
    found = "None" if labels is None else f"{labels.dtype} {labels.shape}"
    expect(
        labels is not None and labels.dtype == np.int32 and labels.shape == boxes.shape[:1],
        f"labels int32 ({len(boxes)},)",
        found,
    )
    if not len(boxes):
        return
    x1, y1, x2, y2 = boxes.T
    ordered = (x1 <= x2) & (y1 <= y2) if allow_empty_area else (x1 < x2) & (y1 < y2)
    good = np.isfinite(boxes).all(axis=1) & ordered & (x1 >= 0) & (y1 >= 0) & (x2 <= w) & (y2 <= h)
    expect(good.all(), f"boxes x1 < x2 <= {w}, y1 < y2 <= {h}, all >= 0", f"box {boxes[~good][:1].tolist()}")
    top = labels.max() if num_classes is None else num_classes - 1
    expect(labels.min() >= 0 and labels.max() <= top, f"labels 0..{top}", f"{labels.min()}..{labels.max()}")

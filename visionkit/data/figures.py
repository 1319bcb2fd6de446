"""Drawn stick figures with keypoints: data for tests of keypoints without a download."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.skeletons import skeleton_of
from visionkit.types import Sample

SKELETON = skeleton_of(
    ("head", "neck", "hip", "left_hand", "right_hand", "left_foot", "right_foot"),
    ((0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6)),
)
COLOURS = ((235, 235, 235), (235, 235, 235), (230, 60, 50), (60, 110, 240), (230, 60, 50), (60, 110, 240))  # of limbs
_HIDDEN = 0.2  # the probability that a block hides one of the hands and feet
_BLOCK = (110, 110, 110)
_OVERLAP = 0.2  # the greatest IoU of two figures: a detector would take closer ones for one
_ROOM = 0.12  # of the figure's size, around the keypoints: for its head and the lines


def figures(
    count: int, image_size: tuple[int, int] = (128, 128), seed: int = 0, split: str = "train", max_objects: int = 2
) -> Dataset:
    """Draws a data set of stick figures, whose left limbs are red and whose right ones are blue.

    Sample i depends on (seed, split, i) and the other arguments, not on `count`.

    Args:
        count: how many samples.
        image_size: (height, width), each at least 64.
        seed: 0 or more.
        split: any name; different splits have different samples.
        max_objects: an image has 1 to this many figures.

    Returns:
        Dataset of the class "figure", with `boxes`, `labels` and `keypoints` of `SKELETON`; one behind a block is
        hidden, 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if count < 0 or min(image_size) < 64 or not 1 <= max_objects <= 50:
        given = f"{count=}, {image_size=}, {max_objects=}"
        raise ValueError(f"figures: expected count >= 0, sides >= 64 and 1 to 50 objects; found {given}")
    records = []
    for i in range(count):
        keypoints = _keypoints(_rng(seed, split, i), image_size, max_objects)
        boxes = npboxes.clip(np.array([_box(points) for points in keypoints]), image_size)
        records.append(
            Sample(
                id=f"{split}-{i:06d}",
                image_size=image_size,
                boxes=boxes.astype(np.float32),
                labels=np.zeros(len(boxes), np.int32),
                keypoints=keypoints,
                skeleton=SKELETON,
            )
        )
    load = partial(_load, seed=seed, split=split)
    return Dataset(records, ["figure"], load, f"drawn figures, split {split}, seed {seed}")


def _rng(seed: int, split: str, i: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(split.encode()), i])


def _keypoints(rng: np.random.Generator, image_size: tuple[int, int], most: int) -> np.ndarray:
    """float32 `[N, 7, 3]`, each figure inside the image, and none where there is no room for it."""
    h, w = image_size
    figures = []
    for _ in range(rng.integers(1, most + 1)):
        size = min(h, w) * rng.uniform(0.45, 0.7)
        hands, feet = rng.uniform(-0.9, 0.5, 2), rng.uniform(0.15, 0.7, 2)  # radians from level, and from straight down
        points = np.array([[0, -0.45], [0, -0.25], [0, 0.1], *[[0, 0]] * 4])
        for side, sign in ((0, 1), (1, -1)):  # its left hand is on the right of the picture
            points[3 + side] = points[1] + 0.3 * np.array([sign * np.cos(hands[side]), -np.sin(hands[side])])
            points[5 + side] = points[2] + 0.4 * np.array([sign * np.sin(feet[side]), np.cos(feet[side])])
        turn = rng.uniform(-0.3, 0.3)
        points = size * points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        low, high = points.min(axis=0) - _ROOM * size, points.max(axis=0) + _ROOM * size
        points += rng.uniform(-low, np.maximum([w, h] - high, -low))
        visible = np.full((7, 1), 2.0)
        if rng.random() < _HIDDEN:
            visible[rng.integers(3, 7)] = 1
        figure = np.concatenate([points, visible], axis=1)
        if not figures or npboxes.iou(_box(figure)[None], np.array(list(map(_box, figures)))).max() <= _OVERLAP:
            figures.append(figure)
    return np.array(figures, np.float32)


def _box(points: np.ndarray) -> np.ndarray:
    room = _ROOM / 2 * _size(points)
    return np.concatenate([points[:, :2].min(axis=0) - room, points[:, :2].max(axis=0) + room])


def _size(points: np.ndarray) -> float:
    """The size that a figure was drawn with, from the distance between its head and its hip."""
    return float(np.linalg.norm(points[0, :2] - points[2, :2]) / 0.55)


def _load(record: Sample, seed: int, split: str) -> Sample:
    h, w = record.image_size
    rng = _rng(seed, f"{split} pixels", int(record.id.rpartition("-")[2]))
    coarse = rng.uniform(20, 90, (6, 6, 3)).astype(np.float32)
    image = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    assert record.keypoints is not None
    for points in record.keypoints:
        _paint(image, points)
    return replace(record, image=image)


def _paint(image: np.ndarray, points: np.ndarray) -> None:
    size = _size(points)
    width = max(2, round(0.05 * size))
    for (first, second), colour in zip(SKELETON.limbs, COLOURS, strict=True):
        cv2.line(image, _sixteenths(points[first]), _sixteenths(points[second]), colour, width, cv2.LINE_AA, shift=4)
    cv2.circle(image, _sixteenths(points[0]), round(0.09 * size * 16), COLOURS[0], -1, cv2.LINE_AA, shift=4)
    for x, y, _ in points[points[:, 2] == 1]:
        x1, y1, x2, y2 = (round(float(v)) for v in (x - size / 12, y - size / 12, x + size / 12, y + size / 12))
        cv2.rectangle(image, (x1, y1), (x2, y2), _BLOCK, -1)


def _sixteenths(point: np.ndarray) -> Sequence[int]:
    # Here pixel i covers i..i+1, but for cv2 its centre is at i.
    return [round((float(v) - 0.5) * 16) for v in point[:2]]

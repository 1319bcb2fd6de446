"""Samples and detections made by hand, and drawn ones that hold everything that can go wrong."""

import numpy as np

from visionkit import npboxes
from visionkit.types import Detections, Sample


def sample(boxes, labels, size=(100, 200), name="a", **fields):
    boxes = np.float32(boxes).reshape(-1, 4)
    return Sample(id=name, image_size=size, boxes=boxes, labels=np.int32(labels), **fields)


def found(boxes, scores, labels, size=(100, 200), name="a", masks=None):
    boxes = np.float32(boxes).reshape(-1, 4)
    fields = {"scores": np.float32(scores), "labels": np.int32(labels), "masks": masks}
    return Detections(id=name, image_size=size, boxes=boxes, **fields)


def drawn_set(seed=0, images=25, num_classes=3, size=(300, 400)):
    """Objects of all sizes, crowds, near misses, wrong classes, doubles and inventions; elliptical masks."""
    rng, pairs = np.random.default_rng(seed), []
    for i in range(images):
        n = rng.integers(0, 9)
        corner, extent = rng.uniform([0, 0], [200, 150], (n, 2)), rng.uniform(6, 150, (n, 2))
        boxes = npboxes.clip(np.concatenate([corner, corner + extent], axis=1), size)
        labels = rng.integers(0, num_classes - 1, n)  # the last class has no object at all
        ignore = rng.random(n) < 0.15
        again = rng.integers(0, max(n, 1), 2 * n)
        moved = npboxes.clip(boxes[again] + rng.normal(0, 4, (2 * n, 4)), size) if n else boxes
        moved = np.concatenate([moved, npboxes.clip(np.array([[5, 5, 60, 70]]) + rng.uniform(0, 99, (2, 1)), size)])
        moved = moved[(moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])]
        scores = np.sort(np.round(rng.random(len(moved)), 2))[::-1]  # rounded, so that equal scores happen
        labels_found = np.resize(labels[again] if n else [0], len(moved))
        labels_found = np.where(rng.random(len(moved)) < 0.15, rng.integers(0, num_classes, len(moved)), labels_found)
        there = sample(boxes, labels, size, str(i), ignore=ignore, masks=ellipses(boxes, size))
        pairs.append((there, found(moved, scores, labels_found, size, str(i), ellipses(moved, size))))
    return pairs


def ellipses(boxes, size):
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    masks = np.zeros((len(boxes), *size), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[:] = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1
    return masks

"""What gpu.py measures, and the same images and objects for both sides."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

CLASSES, OBJECTS = 20, 6  # of a data set, and of an image


class Case(NamedTuple):
    """A model by torchvision's name.

    Args:
        kind: "classify", "detect" or "segment".
        size: (height, width) of its images.
        inference: images of each call that is measured.
        training: images of a step.
    """

    kind: str
    size: tuple[int, int]
    inference: tuple[int, ...]
    training: int


CASES = {
    "resnet50": Case("classify", (224, 224), (1, 32), 32),
    "ssd300_vgg16": Case("detect", (300, 300), (1, 16), 16),
    "fasterrcnn_resnet50_fpn": Case("detect", (480, 640), (1, 8), 4),
    "fcn_resnet50": Case("segment", (520, 520), (1, 8), 4),
}
TINY = {  # of which torchvision knows only the first
    "mobilenet_v3_small": Case("classify", (32, 32), (1, 2), 2),
    "nanodet_g": Case("detect", (64, 64), (2,), 2),
}


def images(size: tuple[int, int], count: int) -> np.ndarray:
    """uint8 `[count, H, W, 3]`: blocks of one colour each."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, -(-size[0] // 20), -(-size[1] // 20), 3), np.uint8)
    return coarse.repeat(20, axis=1).repeat(20, axis=2)[:, : size[0], : size[1]]


def targets(case: Case, count: int) -> dict[str, np.ndarray]:
    """What the model is trained on: a batch's `label`, `segmentation`, or `boxes`, `labels` and `ignore`."""
    (h, w), rng = case.size, np.random.default_rng(1)
    if case.kind == "classify":
        return {"label": rng.integers(0, CLASSES, count, np.int32)}
    if case.kind == "segment":
        blocks = rng.integers(0, CLASSES, (count, -(-h // 40), -(-w // 40)), np.int32)
        return {"segmentation": blocks.repeat(40, axis=1).repeat(40, axis=2)[:, :h, :w]}
    low = rng.uniform(0, [0.6 * w, 0.6 * h], (count, OBJECTS, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.1 * h, 0.35 * h, low.shape)], axis=-1).astype(np.float32)
    labels = rng.integers(0, CLASSES, (count, OBJECTS), np.int32)
    return {"boxes": boxes, "labels": labels, "ignore": np.zeros(labels.shape, bool)}


def rate(call: Callable[[], Any], count: int, seconds: float) -> dict[str, float]:
    """Images a second, in calls of `count` images each over `seconds`; and how long the first one took, to compile.

    Args:
        call: returns only when its result is there.
    """
    start = perf_counter()
    call()
    first = perf_counter() - start
    call()
    spent = []
    while sum(spent) < seconds or len(spent) < 3:
        start = perf_counter()
        call()
        spent.append(perf_counter() - start)
    return {"images_per_s": round(count / float(np.median(spent)), 2), "first_call_s": round(first, 2)}

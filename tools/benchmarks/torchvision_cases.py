"""What bench_torchvision.py measures: the cases, their inputs, and how a call is timed. Used by both sides."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
# Both sides take these from here, since only now they can be found.
from support.drawn import drawn_detector_tensor, drawn_scene, drawn_tensor  # noqa: E402, F401

# Image size (height, width), images of an inference, images of a training step.
CASES = {
    "nms": (None, (1,), None),  # 8732 boxes of 20 classes
    "ssd300_vgg16": ((300, 300), (1, 8), 4),
    "fasterrcnn_resnet50_fpn": ((480, 640), (1, 8), 2),
    "fcn_resnet50": ((520, 520), (1, 8), 2),
    "resnet50": ((224, 224), (1, 8), None),
    "densenet121": ((224, 224), (1, 8), None),
    "vgg16": ((224, 224), (1, 8), None),
}
CLASSIFIERS = ("resnet50", "densenet121", "vgg16")
OBJECTS = 6  # an image, in training
NMS = {"score_threshold": 0.01, "iou_threshold": 0.45, "top_k": 400, "keep": 200}
Call = Callable[[], list[float]]  # makes one call; [seconds by the clock, seconds of CPU time]


def timed(function: Callable[[], object]) -> Call:
    """A Call of a function without arguments."""

    def call():
        start = now()
        function()
        return (now() - start).tolist()

    return call


def later(make: Callable[[], Call]) -> Call:
    """The Call that `make` gives; it is made when it is first called, which is in the warm-up."""
    made = []

    def call():
        if not made:
            made.append(make())
        return made[0]()

    return call


def now() -> np.ndarray:
    """[seconds by the clock, seconds of CPU time]"""
    return np.array([time.perf_counter(), time.process_time()])


def scene(case: str, batch: int) -> np.ndarray:
    """images float32 `[batch, H, W, 3]`, 0..255, the same for both sides."""
    return np.concatenate([np.roll(drawn_scene(CASES[case][0]), 37 * i, axis=2) for i in range(batch)])


def objects(case: str, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """boxes float32 `[batch, OBJECTS, 4]` of 16 pixels and more, class ids int32 `[batch, OBJECTS]` 0..79."""
    (h, w), rng = CASES[case][0], np.random.default_rng(0)
    low = rng.uniform(0, [0.6 * w, 0.6 * h], (batch, OBJECTS, 2))
    high = low + rng.uniform(16, [0.35 * w, 0.35 * h], (batch, OBJECTS, 2))
    return np.concatenate([low, high], axis=-1).astype(np.float32), rng.integers(0, 80, (batch, OBJECTS), np.int32)


def class_maps(case: str, batch: int) -> np.ndarray:
    """int32 `[batch, H, W]` of class ids 0..20 in blocks, with a border of 255 around each."""
    (h, w), rng = CASES[case][0], np.random.default_rng(0)
    blocks = rng.integers(0, 21, (batch, -(-h // 40), -(-w // 40)), np.int32)
    maps = blocks.repeat(40, axis=1).repeat(40, axis=2)[:, :h, :w]
    maps[:, ::40] = 255
    maps[:, :, ::40] = 255
    return maps


def candidates() -> tuple[np.ndarray, np.ndarray]:
    """boxes float32 `[8732, 4]` of SSD300's size, scores float32 `[8732, 20]` of which a detector would keep some."""
    rng = np.random.default_rng(0)
    low, size = rng.uniform(0, 250, (8732, 2)), rng.uniform(10, 120, (8732, 2))
    boxes = np.concatenate([low, np.minimum(low + size, 300)], axis=1).astype(np.float32)
    return boxes, (rng.random((8732, 20), np.float32) ** 4).astype(np.float32)

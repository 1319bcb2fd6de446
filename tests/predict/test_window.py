"""Sliding windows: they cover the image, leave no seams, and hold little memory."""

import tracemalloc

import numpy as np
import pytest
from support.tiny import tiny_backbone

from visionkit.models import MODELS
from visionkit.predict.window import ramp, windowed, windows

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("length", "side", "expected"),
    [
        (100, 128, (1, 128)),  # fits into one
        (128, 128, (1, 128)),
        (129, 128, (2, 32)),  # two windows, the second as near as the grid of 32 allows
        (256, 128, (3, 64)),
        (2000, 360, (12, 160)),  # 180 would be half of it; 160 is the multiple of 32 below
        (50, 20, (3, 20)),  # smaller than the grid
    ],
)
def test_windows_cover_the_length(length, side, expected):
    count, step = windows(length, side)
    assert (count, step) == expected
    assert (count - 1) * step + side >= length
    assert count == 1 or (count - 2) * step + side < length  # none too many


@pytest.mark.parametrize(("side", "step"), [(128, 64), (360, 160), (480, 224)])
def test_neighbours_weigh_1_together_and_edges_nothing(side, step):
    first, middle = ramp(side, step, True, False), ramp(side, step, False, False)
    assert (first[:step] == 1).all()
    overlap = min(side - step, side // 2)
    total = np.zeros(side + 3 * step)
    for k, weight in enumerate((first, middle, middle, ramp(side, step, False, True))):
        total[k * step : k * step + side] += weight
    if side == 2 * step:
        np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (total > 0.99).all()
    assert not middle[: overlap // 4].any()
    assert not middle[-(overlap // 4) :].any()
    assert np.abs(np.diff(middle)).max() < 8 / side  # and nowhere a step


@pytest.mark.parametrize("size", [(384, 640), (300, 333), (100, 500), (60, 70)])
def test_what_comes_out_has_the_size_that_went_in(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    strips = list(windowed(lambda x: x.astype(np.float32), image, (96, 128), 3))
    np.testing.assert_allclose(np.concatenate(strips), image, atol=1e-3)  # each pixel at its own place


def test_no_seams_beside_the_whole_image():
    """A network whose pixels see 31 around them, in windows whose outer 32 weigh nothing: the same to rounding."""

    def network(size):
        levels = ("C2", "C3")
        options = {"levels": levels, "head_units": 8, "class_names": NAMES, "image_size": size}
        return MODELS["fcn"](tiny_backbone(levels=levels), len(NAMES), **options)

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (512, 768, 3)).astype(np.uint8)
    whole, part = network((512, 768)), network((256, 256))
    # Weights as of a trained network, that answer clearly, where freshly drawn ones say a third of each.
    weights = [rng.normal(0, 2.0 * v.std() + 0.1, v.shape).astype(np.float32) for v in whole.get_weights()]
    weights = [np.abs(w) + 0.5 if "variance" in v.path else w for w, v in zip(weights, whole.weights, strict=True)]
    for model in (whole, part):
        model.set_weights(weights)
    expected = whole.serving().predict_on_batch(image[None])["probabilities"][0]
    serving = part.serving()
    found = np.concatenate(
        list(windowed(lambda x: serving.predict_on_batch(x)["probabilities"], image, (256, 256), batch_size=4))
    )
    assert expected.std() > 0.1  # there is something to see
    assert np.abs(found - expected).max() < 1e-3
    # Without the ramp, windows side by side: this is what a seam looks like.
    seams = np.concatenate(
        [
            np.concatenate(
                [
                    serving.predict_on_batch(image[None, y : y + 256, x : x + 256])["probabilities"][0]
                    for x in (0, 256, 512)
                ],
                1,
            )
            for y in (0, 256)
        ]
    )
    assert np.abs(seams - expected).max() > 0.1


def test_memory_is_that_of_a_row_of_windows():
    image = np.zeros((2000, 3000, 3), np.uint8)
    answer = np.full((4, 360, 480, 11), 1 / 11, np.float32)
    tracemalloc.start()
    try:
        rows = sum(len(strip) for strip in windowed(lambda x: answer[: len(x)], image, (360, 480), 4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 2000
    assert peak < 120e6  # all probabilities at once would be 264e6: 2000 * 3000 * 11 * 4

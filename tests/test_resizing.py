"""The resize rule: exact small cases, and properties of the letterbox."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionkit import resizing


def test_resize_averages():
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (32, 32, 3))  # [32, 64, 3], finer than the result
    found = resizing.resize(stripes, (8, 16))
    assert found.shape == (8, 16, 3)
    assert np.abs(found[:, 1:-1].astype(int) - 127).max() <= 8  # without antialiasing: 0 or 255


@pytest.mark.parametrize(
    ("image_size", "chosen"),
    [
        *(((427, 640), (800, 1344)), ((640, 427), (1344, 800)), ((200, 1000), (800, 1344)), ((1000, 200), (1344, 800))),
        *(((40, 30), (1344, 800)), ((2000, 3000), (800, 1344)), ((480, 640), (800, 1344)), ((500, 500), (800, 800))),
    ],
)
def test_landscapes_portraits_and_squares_are_shown_at_the_scale_of_torchvision(image_size, chosen):
    size = resizing.best_size(image_size, resizing.turned((800, 1344)))
    assert size == chosen
    (h, w), _ = resizing.letterbox_factors(image_size, size)
    scale = min(800 / min(image_size), 1333 / max(image_size))  # torchvision's GeneralizedRCNNTransform
    np.testing.assert_allclose((h, w), (scale * image_size[0], scale * image_size[1]), rtol=0.01)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([(64, 96), (96, 64), (64, 64), (33, 50)]))
def test_a_turned_image_is_as_large_as_before(h, w, size):
    sizes = resizing.turned(size)
    assert sizes[0] == size and len(sizes) == (1 if size[0] == size[1] else 3)
    one, other = (resizing.letterbox_factors(s, resizing.best_size(s, sizes))[0] for s in ((h, w), (w, h)))
    assert one == other[::-1]
    assert all(a <= b for a, b in zip(resizing.letterbox_factors((h, w), size)[0], one, strict=True))  # never smaller


def test_letterbox_exact():
    # min(300/480, 300/640) = 0.46875: 480 -> 225, 640 -> 300
    assert resizing.letterbox_factors((480, 640), (300, 300)) == ((225, 300), (0.46875, 0.46875))
    # min(10/3, 10/7) = 10/7: 3 * 10/7 + 0.5 = 4.79 -> 4, 7 -> 10
    assert resizing.letterbox_factors((3, 7), (10, 10)) == ((4, 10), (4 / 3, 10 / 7))
    # halves go up, never to even: 5 * 0.5 = 2.5 -> 3
    assert resizing.letterbox_factors((5, 10), (5, 5)) == ((3, 5), (0.6, 0.5))
    assert resizing.letterbox_factors((1, 1000), (10, 10)) == ((1, 10), (1.0, 0.01))
    image = np.full((3, 7, 3), 9, np.uint8)
    found, scale = resizing.letterbox(image, (10, 10), fill=(1, 2, 3))
    assert scale == 10 / 7
    assert (found[:4] == 9).all()
    assert (found[4:] == [1, 2, 3]).all()


@given(*[st.integers(1, 5000)] * 2, *[st.integers(1, 1024)] * 2)
def test_letterbox_always_fits_and_touches(h, w, to_h, to_w):
    (new_h, new_w), (fy, fx) = resizing.letterbox_factors((h, w), (to_h, to_w))
    assert 1 <= new_h <= to_h and 1 <= new_w <= to_w
    assert new_h == to_h or new_w == to_w
    assert (fy * h, fx * w) == (pytest.approx(new_h), pytest.approx(new_w))

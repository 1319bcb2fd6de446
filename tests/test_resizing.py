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

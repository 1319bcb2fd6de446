"""Hypothesis strategies that several test modules share."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def pixel_boxes(draw, count=5, size=(48, 64)):
    """float32 [count, 4] boxes with whole-number corners inside an image of (height, width)."""
    h, w = size
    rows = []
    for _ in range(count):
        x1, y1 = draw(st.integers(0, w - 1)), draw(st.integers(0, h - 1))
        rows.append([x1, y1, draw(st.integers(x1 + 1, w)), draw(st.integers(y1 + 1, h))])
    return np.array(rows, np.float32)

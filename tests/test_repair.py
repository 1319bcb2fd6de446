"""Repairing boxes and telling of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visionkit.data.repair import Repairs
from visionkit.types import Sample, check_sample


@given(arrays(np.float32, (5, 4), elements=st.floats(-50, 80, width=32)))
def test_what_is_left_keeps_the_conventions_and_nothing_is_lost_silently(boxes):
    repairs = Repairs("test")
    left, rows = repairs.apply(boxes, (30, 40), "a")
    check_sample(Sample(id="a", image_size=(30, 40), boxes=left, labels=np.zeros(len(left), np.int32)))
    assert len(left) + sum(f.kind != "clipped" for f in repairs.findings) == 5
    whole = (boxes >= 0).all(1) & (boxes[:, 2:] <= [40, 30]).all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1)
    assert set(np.flatnonzero(whole)) <= set(rows)
    np.testing.assert_array_equal(left[whole[rows]], boxes[whole])


def test_nothing_to_say_and_many_to_name(caplog):
    repairs = Repairs("test")
    repairs.apply(np.array([[0, 0, 40.4, 30]]), (30, 40), "rounding")
    repairs.warn()
    assert not caplog.messages
    for i in range(7):
        repairs.apply(np.array([[1, 1, 1, 9], [1, 1, 9, 1]]), (30, 40), f"i{i}")
    repairs.warn()
    assert caplog.messages == ["test: 14 boxes dropped (zero area: i0, i1, i2, i3, i4 and 2 more images)"]

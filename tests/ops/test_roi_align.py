"""RoIAlign against its definition in plain Python, sample by sample, and against closed forms."""

import numpy as np
import pytest
from keras import ops

from visionkit.layers.roi_align import RoIAlign
from visionkit.ops.roi_align import assign_levels, roi_align


def bilinear(feature, y, x):
    """The value of `[h, w, C]` at a point, by torchvision's rule at the edges."""
    h, w = feature.shape[:2]
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros(feature.shape[2])
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    y0, x0 = int(y), int(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    top = feature[y0, x0] * (1 - (x - x0)) + feature[y0, x1] * (x - x0)
    bottom = feature[y1, x0] * (1 - (x - x0)) + feature[y1, x1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


def plain(feature, box, size, ratio, aligned, stride):
    x1, y1, x2, y2 = np.array(box, np.float64) / stride - (0.5 if aligned else 0)
    w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
    out = np.zeros((size, size, feature.shape[2]))
    for i, j in np.ndindex(size, size):
        points = [
            bilinear(feature, y1 + (i + (a + 0.5) / ratio) * h / size, x1 + (j + (b + 0.5) / ratio) * w / size)
            for a, b in np.ndindex(ratio, ratio)
        ]
        out[i, j] = np.mean(points, axis=0)
    return out


BOXES = np.float32(
    [
        [4, 4, 12, 12],
        [0, 0, 1, 1],  # a pixel
        [-30, -9, 50, 20],  # beyond the map
        [60, 40, 96, 64],  # to the last corner
        [95, 63, 96, 64],
        [0, 0, 0, 0],  # padding
        [10, 3, 80, 9],
    ]
)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("size", "ratio"), [(7, 2), (2, 1), (3, 3)])
def test_equals_plain_python_on_one_level(size, ratio, aligned):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 16, 24, 3)).astype(np.float32)
    boxes = np.stack([BOXES, BOXES[::-1]])
    found = ops.convert_to_numpy(roi_align({"C2": ops.convert_to_tensor(features)}, boxes, size, ratio, aligned))
    for b, r in np.ndindex(boxes.shape[:2]):
        expected = plain(features[b], boxes[b, r], size, ratio, aligned, stride=4)
        np.testing.assert_allclose(found[b, r], expected, atol=1e-5)


def test_every_box_pools_from_its_level():
    rng = np.random.default_rng(1)
    features = {f"P{n}": rng.normal(size=(1, 512 >> n, 640 >> n, 2)).astype(np.float32) for n in (2, 3, 4)}
    boxes = np.float32([[[0, 0, 8, 8], [5, 5, 117, 117], [5, 5, 116.9, 117], [9, 9, 300, 400], [3, 3, 635, 20]]])
    levels = ops.convert_to_numpy(assign_levels(boxes, 2, 4))[0]
    assert levels.tolist() == [2, 3, 2, 4, 2]  # 112 pixels are level 3 exactly; 632 x 17 is an area of 104 squared
    found = ops.convert_to_numpy(roi_align({k: ops.convert_to_tensor(v) for k, v in features.items()}, boxes, 7))
    for r, level in enumerate(levels):
        expected = plain(features[f"P{level}"][0], boxes[0, r], 7, 2, False, stride=2**level)
        np.testing.assert_allclose(found[0, r], expected, atol=1e-5)


def test_a_ramp_gives_the_centres_of_the_bins():
    ramp = np.tile(np.arange(32, dtype=np.float32)[None, None, :, None], (1, 32, 1, 1))
    found = roi_align({"C0": ops.convert_to_tensor(ramp)}, np.float32([[[4, 4, 12, 12]]]), 4, aligned=True)
    np.testing.assert_allclose(found[0, 0, 0, :, 0], [4.5, 6.5, 8.5, 10.5], atol=1e-5)  # pixel centres are at .5


def test_rows_choose_the_map():
    maps = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((1, 8, 8, 1), np.float32)
    boxes = np.tile(np.float32([0, 0, 8, 8]), (2, 2, 1))
    found = ops.convert_to_numpy(roi_align({"C0": ops.convert_to_tensor(maps)}, boxes, 2, rows=[[5, 0], [3, 4]]))
    np.testing.assert_allclose(found[:, :, 0, 0, 0], [[5, 0], [3, 4]], atol=1e-5)


def test_half_precision_does_not_round_boxes():
    stripes = np.broadcast_to(np.arange(256, dtype=np.float32)[:, None] % 2, (1, 8, 256, 1))
    boxes = np.float32([[[1003, 4, 1011, 12]]])  # whose sides bfloat16 rounds to 1004 and 1012
    found = RoIAlign(1, 1, dtype="mixed_bfloat16")({"C2": ops.convert_to_tensor(stripes, "bfloat16")}, boxes)
    expected = plain(stripes[0], boxes[0, 0], 1, 1, False, stride=4)
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(found, "float32"))[0, 0], expected, atol=0)


@pytest.mark.parametrize("gathered", [1, 2**23])  # each box in a turn of its own, or all in one
def test_turns_change_neither_the_result_nor_the_gradient(monkeypatch, gathered):
    """Pooling is linear: what a gradient says of other features is what pooling them gives."""
    tensorflow = pytest.importorskip("tensorflow")
    monkeypatch.setattr("visionkit.ops.roi_align.GATHERED", gathered)
    rng = np.random.default_rng(2)
    features, others = rng.normal(size=(2, 2, 16, 24, 3)).astype(np.float32)
    weights = rng.normal(size=(2, 7, 7, 7, 3)).astype(np.float32)
    boxes = np.stack([BOXES, BOXES[::-1]])

    @tensorflow.function
    def gradient(features):
        with tensorflow.GradientTape() as tape:
            tape.watch(features)
            total = ops.sum(roi_align({"C2": features}, boxes, 7) * weights)
        return tape.gradient(total, features)

    pooled = np.stack([[plain(others[b], box, 7, 2, False, 4) for box in boxes[b]] for b in range(2)])
    found = gradient(tensorflow.constant(features)).numpy()
    np.testing.assert_allclose((found * others).sum(), (pooled * weights).sum(), rtol=1e-4)
    np.testing.assert_allclose(roi_align({"C2": ops.convert_to_tensor(others)}, boxes, 7), pooled, atol=1e-5)


def test_masks_need_not_be_floats():
    masks = np.random.default_rng(3).integers(0, 2, (2, 32, 32, 1)).astype(np.uint8)
    boxes = np.float32([[[3, 4, 19, 30]], [[0, 0, 32, 32]]])
    found, expected = (
        ops.convert_to_numpy(roi_align({"C0": ops.convert_to_tensor(x)}, boxes, 4, aligned=True))
        for x in (masks, masks.astype(np.float32))
    )
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)

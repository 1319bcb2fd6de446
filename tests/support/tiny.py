"""A backbone small enough for tests, and batches that go with it."""

import keras
import numpy as np
from keras import layers

SIZE = (64, 96)


def tiny_backbone(width=8, levels=("C3", "C4", "C5")):
    """images [B, H, W, 3] -> {"C3": ..., "C4": ..., "C5": ...}; some 20,000 weights."""
    inputs = keras.Input((None, None, 3), name="images")
    x, outputs = layers.Rescaling(1 / 127.5, -1.0)(inputs), {}
    for n in range(1, 6):
        x = layers.Conv2D(width * n, 3, strides=2, padding="same", activation="relu", name=f"c{n}")(x)
        outputs[f"C{n}"] = x
    return keras.Model(inputs, {level: outputs[level] for level in levels}, name="tiny")


def random_batch(batch=4, objects=3, room=8, num_classes=3, size=SIZE, seed=0):
    """images uint8 [B, H, W, 3], targets: `objects` boxes of 12 px or more in `room` rows, masks, points, a map."""
    rng = np.random.default_rng(seed)
    h, w = size
    low = rng.uniform(0, [w - 24, h - 24], (batch, objects, 2))
    high = low + rng.uniform(12, 24, (batch, objects, 2))
    boxes = np.zeros((batch, room, 4), np.float32)
    boxes[:, :objects] = np.concatenate([low, high], axis=-1)
    labels = np.full((batch, room), -1, np.int32)
    labels[:, :objects] = rng.integers(0, num_classes, (batch, objects))
    images = rng.integers(0, 255, (batch, h, w, 3)).astype(np.uint8)
    masks = ellipses(boxes, size)
    y = {"boxes": boxes, "labels": labels, "ignore": np.zeros((batch, room), bool), "masks": masks}
    shares = np.float32([[0.5, 0.1], [0.2, 0.9], [0.8, 0.9]])
    xy = boxes[:, :, None, :2] + shares * (boxes[..., 2:] - boxes[..., :2])[:, :, None]  # [B, M, 3, 2]
    y["keypoints"] = np.concatenate([xy, np.full((*xy.shape[:3], 1), 2)], axis=-1).astype(np.float32)
    y["keypoints"][:, objects:] = 0
    y["segmentation"] = np.where(masks > 0, labels[..., None, None], 0).max(axis=1).astype(np.int32)
    y["segmentation"][:, :4] = 255
    return images, y


def ellipses(boxes, size):
    """Masks uint8 [B, M, H, W] of the ellipses that touch the sides of the boxes [B, M, 4]."""
    y, x = (np.arange(n) + 0.5 for n in size)
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, np.maximum((boxes[..., 2:] - boxes[..., :2]) / 2, 1e-6)
    across = ((x - centre[..., :1]) / half[..., :1]) ** 2  # [B, M, W]
    down = ((y - centre[..., 1:]) / half[..., 1:]) ** 2  # [B, M, H]
    return (down[..., :, None] + across[..., None, :] <= 1).astype(np.uint8)

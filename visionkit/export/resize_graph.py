"""Pillow's bilinear resize as TensorFlow ops, equal to the last bit.

Pillow computes in whole numbers: weights are rounded to 22 bits, columns are resized and rounded to grey levels, then
rows. TensorFlow's own resize computes in float32, and at a scale such as 0.6 one value in 40 is rounded the other way.
One grey level is little, but it can move a box or a score across a threshold.

This module imports TensorFlow: import it only where a model is exported.
"""

from typing import Any

import tensorflow as tf

BITS = 22  # of the fraction in a weight: 32 less 8 for the pixel and 2 to spare


def resize(images: Any, size: Any) -> Any:
    """Antialiased bilinear resize, equal to `resizing.resize`.

    Args:
        images: uint8, or whole numbers 0..255 of any dtype, `[B, H, W, C]`.
        size: int32 `[2]`, (height, width).

    Returns:
        int32 `[B, height, width, C]`, 0..255.
    """
    return _along(1, _along(2, tf.cast(images, tf.int32), size[1]), size[0])


def _along(axis, images, length):
    first, weights = _weights(tf.shape(images)[axis], length)
    last = tf.shape(images)[axis] - 1
    total = tf.gather(images, tf.zeros([length], tf.int32), axis=axis) * 0 + (1 << (BITS - 1))  # as + 0.5: it rounds
    for tap in tf.range(tf.shape(weights)[1]):  # only a few: the window of a pixel is 2 / scale wide
        pixels = tf.gather(images, tf.minimum(first + tap, last), axis=axis)
        weight = weights[:, tap][:, None]  # [new, 1]
        total += pixels * (weight[:, None] if axis == 1 else weight)
    return tf.clip_by_value(tf.bitwise.right_shift(total, BITS), 0, 255)


def _weights(old, new):
    """Where each window begins, int32 `[new]`, and its triangle of weights, int32 `[new, taps]`, with the sum 2**22."""
    old = tf.cast(old, tf.float64)
    scale = old / tf.cast(new, tf.float64)
    support = tf.maximum(scale, 1.0)  # enlarging interpolates between neighbours; reducing averages
    centre = (tf.cast(tf.range(new), tf.float64) + 0.5) * scale  # [new]
    first = tf.maximum(tf.floor(centre - support + 0.5), 0.0)
    end = tf.minimum(tf.floor(centre + support + 0.5), old)
    taps = tf.range(2.0 * tf.math.ceil(support) + 1.0, dtype=tf.float64)
    distance = (taps + first[:, None] - centre[:, None] + 0.5) * (1.0 / support)  # [new, taps]
    inside = taps < (end - first)[:, None]
    weights = tf.where(inside, tf.maximum(1.0 - tf.abs(distance), 0.0), 0.0)
    weights = weights / tf.cumsum(weights, axis=1)[:, -1:]  # summed one by one, as Pillow does
    return tf.cast(first, tf.int32), tf.cast(tf.floor(weights * 2.0**BITS + 0.5), tf.int32)

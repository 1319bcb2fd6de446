"""Padding with the values at the border."""

import keras
from keras import layers, ops

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class EdgePadding(layers.Layer):
    """Repeats the outermost cells of `[B, H, W, C]` once on each side: `[B, H + 2, W + 2, C]`.

    Max pooling needs it where values may be negative: zeros, as padding, could exceed every value of a window.
    """

    def call(self, x: Tensor) -> Tensor:
        x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        return ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)

    def compute_output_shape(self, shape: tuple) -> tuple:
        batch, height, width, channels = shape
        return (batch, _plus_two(height), _plus_two(width), channels)


def _plus_two(side: int | None) -> int | None:
    return None if side is None else side + 2

"""Padding by the values that stand at the border."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("visionkit")
class EdgePadding(layers.Layer):
    """Repeats the outermost cells of `[B, H, W, C]` once on each side: `[B, H + 2, W + 2, C]`.

    What max pooling needs where values may be negative: a window that hangs over the edge sees nothing new.
    """

    def call(self, x):
        x = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        return ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)

    def compute_output_shape(self, shape):
        batch, height, width, channels = shape
        return (batch, height and height + 2, width and width + 2, channels)

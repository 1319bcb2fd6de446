"""Channels of unit length, times a learned scale (ParseNet, Liu et al. 2015, arXiv 1506.04579, section 3.3)."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("visionkit")
class L2Normalize(layers.Layer):
    """Divides the channels of every place of `[B, H, W, C]` by their Euclidean length and scales each by a weight.

    Args:
        scale: the initial weight.
    """

    def __init__(self, scale=20.0, **kwargs):
        super().__init__(**kwargs)
        self.initial = scale

    def build(self, shape):
        self.scale = self.add_weight(
            shape=(shape[-1],), initializer=keras.initializers.Constant(self.initial), name="scale"
        )

    def call(self, x):
        wide = ops.cast(x, "float32")  # the squares of half precision overflow
        squares = ops.sum(wide * wide, axis=-1, keepdims=True)
        # The floor is under the root: behind a ReLU a place may be all zero, and the root's slope there is infinite.
        return ops.cast(wide * ops.rsqrt(ops.maximum(squares, 1e-24)), x.dtype) * ops.cast(self.scale, x.dtype)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config() | {"scale": self.initial}

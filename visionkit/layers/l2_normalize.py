"""Channels of unit length, times a learned scale (ParseNet, Liu et al. 2015, arXiv 1506.04579, section 3.3)."""

from typing import Any

import keras
from keras import layers, ops

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class L2Normalize(layers.Layer):
    """Divides the channels at every place of `[B, H, W, C]` by their Euclidean length and multiplies each by a weight.

    Args:
        scale: the initial weight.
    """

    def __init__(self, scale: float = 20.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial = scale

    def build(self, shape: tuple) -> None:
        self.scale = self.add_weight(
            shape=(shape[-1],), initializer=keras.initializers.Constant(self.initial), name="scale"
        )

    def call(self, x: Tensor) -> Tensor:
        wide = ops.cast(x, "float32")  # squares would overflow in half precision
        squares = ops.sum(wide * wide, axis=-1, keepdims=True)
        # The minimum is taken under the root: after a ReLU a place may be all zero, where the root's slope is infinite.
        return ops.cast(wide * ops.rsqrt(ops.maximum(squares, 1e-24)), x.dtype) * ops.cast(self.scale, x.dtype)

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scale": self.initial}

"""Upsampling of score maps: bilinear interpolation, or transposed convolutions that are initialised to it."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class Interpolate(layers.Layer):
    """Resizes `[B, h, w, C]` to `[B, H, W, C]` by bilinear interpolation between the centres of the cells.

    Beyond the outermost centres the values of the border are repeated. Torch calls this `align_corners=False`.

    Args:
        size: (H, W).
    """

    def __init__(self, size: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x: Tensor) -> Tensor:
        return ops.image.resize(x, self.size, interpolation="bilinear", data_format="channels_last")

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], *self.size, shape[-1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size}


@keras.saving.register_keras_serializable("visionkit")
class Bilinear(keras.initializers.Initializer):
    """Kernels `[2 * s, 2 * s, C, C]` with which a transposed convolution of stride s interpolates each channel alone.

    FCN (arXiv 1411.4038), section 3.3; s is even.
    """

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        size, _, outputs, inputs = shape
        tent = 1 - np.abs(np.arange(size) + 0.5 - size / 2) / (size / 2)  # [size]
        return ops.convert_to_tensor(np.einsum("i,j,oc->ijoc", tent, tent, np.eye(outputs, inputs)), dtype=dtype)


@keras.saving.register_keras_serializable("visionkit")
class CropOrPad(layers.Layer):
    """Brings `[B, h, w, C]` to `[B, H, W, C]` at the bottom and right, by cropping or by reflection.

    Args:
        size: (H, W), less than twice (h, w).
    """

    def __init__(self, size: tuple[int, int], **kwargs: Any):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.size[0] or x.shape[2] > self.size[1]:
            x = x[:, : self.size[0], : self.size[1]]
        missing = [(0, target - have) for target, have in zip(self.size, x.shape[1:3], strict=True)]
        if missing == [(0, 0), (0, 0)]:
            return x
        return ops.pad(x, [(0, 0), *missing, (0, 0)], mode="symmetric")

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], *self.size, shape[-1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size}


def upsample(
    x: Tensor,
    size: tuple[int, int],
    name: str,
    factor: int | None = None,
    learned: bool = False,
    dtype: str | None = None,
) -> Tensor:
    """Upsamples a map `[B, h, w, C]` to `size` (H, W).

    Args:
        factor: a power of 2; `size` is this many times (h, w), up to rounding, and the map is cropped or filled to it
            at the bottom and right. So a place stays where it is, whatever `size` is. None stretches the map to `size`.
        learned: uses a transposed convolution of stride `factor`, 2 or more, which is initialised to the interpolation.
        dtype: of the layers, by default the current policy's.

    Returns:
        `[B, H, W, C]`.
    """
    if factor is None:
        return Interpolate(size, dtype=dtype, name=name)(x)
    if learned:
        kernels: Any = Bilinear()  # Any, because Keras' source makes a type checker expect a string
        x = layers.Conv2DTranspose(
            x.shape[-1],
            2 * factor,
            factor,
            padding="same",
            use_bias=False,
            kernel_initializer=kernels,
            dtype=dtype,
            name=f"{name}_deconv",
        )(x)  # [B, factor * h, factor * w, C]
    elif factor > 1:
        enlarged = (factor * x.shape[1], factor * x.shape[2])
        x = Interpolate(enlarged, dtype=dtype, name=f"{name}_interpolate")(x)  # [B, factor * h, factor * w, C]
    return CropOrPad(size, dtype=dtype, name=name)(x)

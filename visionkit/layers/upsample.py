"""Upsampling of score maps: bilinear interpolation, or transposed convolutions that begin as it."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable("visionkit")
class Interpolate(layers.Layer):
    """Resizes `[B, h, w, C]` to `[B, H, W, C]` by bilinear interpolation between the centres of the cells.

    What torch calls `align_corners=False`: outside the outermost centres the border's values go on.

    Args:
        size: (H, W).
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        return ops.image.resize(x, self.size, interpolation="bilinear", data_format="channels_last")

    def compute_output_shape(self, shape):
        return (shape[0], *self.size, shape[-1])

    def get_config(self):
        return super().get_config() | {"size": self.size}


@keras.saving.register_keras_serializable("visionkit")
class Bilinear(keras.initializers.Initializer):
    """Kernels of a transposed convolution `[2 * s, 2 * s, C, C]` of stride s that interpolates every channel by itself.

    FCN (arXiv 1411.4038), section 3.3; s is even.
    """

    def __call__(self, shape, dtype=None):
        size, _, outputs, inputs = shape
        tent = 1 - np.abs(np.arange(size) + 0.5 - size / 2) / (size / 2)  # [size]
        return ops.convert_to_tensor(np.einsum("i,j,oc->ijoc", tent, tent, np.eye(outputs, inputs)), dtype=dtype)


@keras.saving.register_keras_serializable("visionkit")
class CropOrPad(layers.Layer):
    """Makes `[B, h, w, C]` a map `[B, H, W, C]` at its bottom and right: cut off, or filled by reflection.

    Args:
        size: (H, W), less than twice (h, w).
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        x = x[:, : self.size[0], : self.size[1]]
        missing = [(0, target - have) for target, have in zip(self.size, x.shape[1:3], strict=True)]
        return ops.pad(x, [(0, 0), *missing, (0, 0)], mode="symmetric")

    def compute_output_shape(self, shape):
        return (shape[0], *self.size, shape[-1])

    def get_config(self):
        return super().get_config() | {"size": self.size}


def upsample(x, size, factor, learned, name, dtype=None):
    """A coarse map `[B, h, w, C]` at a finer `size` (H, W), `factor` times as large but for a rounded border.

    Args:
        factor: a power of 2 above 1.
        learned: by a transposed convolution that begins as bilinear interpolation, else by the interpolation.
        dtype: of the layers, by default the policy in force.
    """
    if not learned:
        return Interpolate(size, dtype=dtype, name=name)(x)
    x = layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        factor,
        padding="same",
        use_bias=False,
        kernel_initializer=Bilinear(),
        dtype=dtype,
        name=f"{name}_deconv",
    )(x)  # [B, factor * h, factor * w, C]
    return CropOrPad(size, dtype=dtype, name=name)(x)

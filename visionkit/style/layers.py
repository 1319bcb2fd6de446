"""Layers of the feed-forward network: instance normalisation in two halves, grain, reflection, styles by row."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from visionkit.types import Tensor

Shape = Sequence[int | None]

EPSILON = 1e-5


@keras.saving.register_keras_serializable("visionkit")
class Moments(layers.Layer):
    """Mean and variance of every channel of `[B, H, W, C]` over all places of each image: `[B, 2, C]`.

    Args:
        jointly: over all images of the batch together: `[1, 2, C]`. With crops of a big picture as the batch, these are
            estimates of the picture's own moments.
    """

    def __init__(self, jointly: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.jointly = jointly

    def call(self, x: Tensor) -> Tensor:
        axes = (0, 1, 2) if self.jointly else (1, 2)
        mean = ops.mean(x, axis=axes, keepdims=True)  # [B or 1, 1, 1, C]
        variance = ops.mean(ops.square(x - mean), axis=axes, keepdims=True)
        return ops.concatenate([mean[:, 0], variance[:, 0]], axis=1)

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (1 if self.jointly else shape[0], 2, shape[-1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"jointly": self.jointly}


@keras.saving.register_keras_serializable("visionkit")
class Restyle(layers.Layer):
    """Instance normalisation by given moments, followed by the scale and shift of a style.

    Ulyanov et al. 2016 (arXiv 1607.08022), with one scale and shift per style, which are all that distinguishes the
    styles of one network (Dumoulin et al. 2017, arXiv 1610.07629, section 2.2). Mixed by shares, they give styles in
    between.

    Args:
        num_styles: K.
    """

    def __init__(self, num_styles: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_styles = num_styles

    def build(self, x_shape: Shape, moments_shape: Shape, shares_shape: Shape) -> None:
        self.scale = self.add_weight(shape=(self.num_styles, x_shape[-1]), initializer="ones", name="scale")
        self.shift = self.add_weight(shape=(self.num_styles, x_shape[-1]), initializer="zeros", name="shift")

    def call(self, x: Tensor, moments: Tensor, shares: Tensor) -> Tensor:
        """x `[B, H, W, C]`, moments `[B or 1, 2, C]`, shares `[B, K]` summing to 1 -> `[B, H, W, C]`."""
        factor = ops.matmul(shares, self.scale) * ops.rsqrt(moments[:, 1] + EPSILON)  # [B, C]
        offset = ops.matmul(shares, self.shift) - factor * moments[:, 0]
        return x * factor[:, None, None] + offset[:, None, None]

    def compute_output_shape(self, x_shape: Shape, moments_shape: Shape, shares_shape: Shape) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_styles": self.num_styles}


@keras.saving.register_keras_serializable("visionkit")
class Grain(layers.Layer):
    """Any `[B, H, W, C]` -> noise `[1, H, W, channels]`, drawn once and the same for every picture.

    Convolutions cannot paint strokes on an even sky, where they see the same everywhere; with noise no two places are
    equal. Ulyanov et al. (2016, arXiv 1603.03417) draw new noise for every picture; here a photo is always painted the
    same way.

    Args:
        channels: of the noise, which is normal with variance 1.
        period: number of places after which it repeats, down and across.
    """

    def __init__(self, channels: int, period: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels, self.period = channels, period

    def build(self, x_shape: Shape) -> None:
        self.noise = self.add_weight(
            shape=(self.period, self.period, self.channels),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=0),
            trainable=False,
            name="noise",
        )

    def call(self, x: Tensor) -> Tensor:
        rows, columns = (ops.arange(n) % self.period for n in ops.shape(x)[1:3])
        return ops.take(ops.take(self.noise, rows, axis=0), columns, axis=1)[None]  # [1, H, W, channels]

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (1, *shape[1:3], self.channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "period": self.period}


@keras.saving.register_keras_serializable("visionkit")
class Reflect(layers.Layer):
    """Pads `[B, H, W, C]` on all sides with its mirror image, without repeating the border pixels.

    Args:
        pixels: padding on each side; less than H and W.
    """

    def __init__(self, pixels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.pixels = pixels

    def call(self, x: Tensor) -> Tensor:
        return ops.pad(x, ((0, 0), (self.pixels, self.pixels), (self.pixels, self.pixels), (0, 0)), mode="reflect")

    def compute_output_shape(self, shape: Shape) -> Shape:
        grown = [None if n is None else n + 2 * self.pixels for n in shape[1:3]]
        return (shape[0], *grown, shape[-1])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"pixels": self.pixels}


@keras.saving.register_keras_serializable("visionkit")
class StyleOfRow(layers.Layer):
    """images `[B, H, W, 3]` -> shares `[B, K]`: row i of a batch is painted in style i modulo K only.

    Args:
        num_styles: K.
    """

    def __init__(self, num_styles: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_styles = num_styles

    def call(self, images: Tensor) -> Tensor:
        return ops.one_hot(ops.arange(ops.shape(images)[0]) % self.num_styles, self.num_styles, dtype="float32")

    def compute_output_shape(self, shape: Shape) -> Shape:
        return (shape[0], self.num_styles)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_styles": self.num_styles}

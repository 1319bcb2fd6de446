"""Feature pyramid network (arXiv 1612.03144, section 3)."""

import keras
import numpy as np
from keras import layers, ops

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class NearestLike(layers.Layer):
    """Resizes `[B, h, w, C]` to the height and width of a second map `[B, H, W, D]` by nearest neighbour.

    Cell i of the result copies cell floor(i * h / H), as torch's `interpolate(size=...)` does, so levels of odd sizes
    line up with torchvision's.
    """

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        x, like = inputs
        (h, w), (target_h, target_w) = x.shape[1:3], like.shape[1:3]
        if (target_h, target_w) == (2 * h, 2 * w):
            return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)
        x = ops.take(x, np.arange(target_h) * h // target_h, axis=1)
        return ops.take(x, np.arange(target_w) * w // target_w, axis=2)

    def compute_output_shape(self, input_shapes: tuple[tuple, tuple]) -> tuple:
        x, like = input_shapes
        return (x[0], like[1], like[2], x[3])


def convolution(
    x: Tensor, filters: int, kernel_size: int, *, strides: int = 1, normalize: bool = False, name: str
) -> Tensor:
    """A padded convolution; with `normalize` it is followed by batch norm and ReLU and has no bias."""
    x = layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=not normalize, name=name)(x)
    if normalize:
        # Fine-tuning takes hundreds of steps, not the tens of thousands that momentum 0.99 is meant for.
        x = layers.BatchNormalization(momentum=0.95, epsilon=1e-3, name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def feature_pyramid(
    features: dict[str, Tensor], channels: int = 256, normalize: bool = False, batch_norm: bool = False
) -> dict[str, Tensor]:
    """Merges a backbone's levels from the coarsest to the finest.

    Args:
        features: {"C3": `[B, H/8, W/8, ...]`, ...}, fine levels first.
        channels: channels of every output level.
        normalize: batch norm and ReLU after each 3x3 convolution; the paper has neither.
        batch_norm: batch norm after every convolution and no ReLU, as in arXiv 2111.11429, section 3.

    Returns:
        {"P3": `[B, H/8, W/8, channels]`, ...} with the same strides.
    """
    merged: Tensor = None
    outputs: dict[str, Tensor] = {}
    for level, feature in reversed(features.items()):
        number = level[1:]
        lateral = layers.Conv2D(channels, 1, use_bias=not batch_norm, name=f"lateral{number}")(feature)
        if batch_norm:
            lateral = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"lateral{number}_bn")(lateral)
        if merged is None:
            merged = lateral
        else:
            merged = layers.Add(name=f"merge{number}")(
                [lateral, NearestLike(name=f"upsample{number}")([merged, lateral])]
            )
        if batch_norm:
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"pyramid{number}")(merged)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"pyramid{number}_bn")(x)
        else:
            x = convolution(merged, channels, 3, normalize=normalize, name=f"pyramid{number}")
        outputs[f"P{number}"] = x
    return dict(reversed(outputs.items()))


def strided_levels(pyramid: dict[str, Tensor], source: Tensor, count: int = 2) -> dict[str, Tensor]:
    """Adds coarser levels to a pyramid by 3x3 convolutions of stride 2 (RetinaNet, arXiv 1708.02002, footnote 2).

    Args:
        pyramid: {"P3": `[B, H/8, W/8, C]`, ...}, fine levels first.
        source: what the first new level is computed from, a map of the coarsest level's size. Each further level comes
            from the one before, through a ReLU.
        count: how many.

    Returns:
        The levels of `pyramid`, then the new ones, also with C channels.
    """
    levels = dict(pyramid)
    top = max(pyramid)
    channels = pyramid[top].shape[-1]
    x = source
    for number in range(int(top[1:]) + 1, int(top[1:]) + 1 + count):
        # Padded on all sides as in torch: Keras' "same" would pad even sizes only at the bottom and right.
        x = layers.ZeroPadding2D(1, name=f"extra{number}_pad")(x)
        x = layers.Conv2D(channels, 3, strides=2, name=f"extra{number}")(x)
        levels[f"P{number}"] = x
        x = layers.ReLU(name=f"extra{number}_relu")(x)
    return levels

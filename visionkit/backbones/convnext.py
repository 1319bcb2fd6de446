"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545): a ResNet brought up to the habits of vision transformers."""

from collections.abc import Sequence

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, depthwise_convolution, images
from visionkit.layers.gelu import Gelu
from visionkit.layers.layer_scale import LayerScale
from visionkit.types import Tensor

CHANNELS = (96, 192, 384, 768)  # of the four stages, in both networks


def convnext(
    repeats: Sequence[int],
    input_shape: InputShape = (None, None, 3),
    drop_connect: float = 0.0,
    name: str = "convnext",
    channels: Sequence[int] = CHANNELS,
) -> keras.Model:
    """ConvNeXt-T and ConvNeXt-S of section 3, and others of their kind.

    Args:
        repeats: blocks in each of the four stages.
        input_shape: (H, W, C), at least 32 pixels; H and W may be None.
        drop_connect: probability that training skips the last block ("stochastic depth"); it falls linearly to 0 at
            the first block. The paper trains the tiny network with 0.1 and the small one with 0.4 (Table 5).
        channels: of the four stages.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C2": 96 channels, "C3": 192, "C4": 384, "C5": 768}, Cn of stride 2**n, or
        as `channels` says. There is no C1. What a stride cannot divide is cut off at the bottom and right.
    """
    inputs, x = images(input_shape)
    x = convolution(x, channels[0], 4, 4, padding=0, use_bias=True, initializer=_normal(), name="stem_conv")
    x = _norm(x, "stem_norm")  # [B, H/4, W/4, 96]
    levels: dict[str, Tensor] = {}
    number, last = 0, sum(repeats) - 1
    for stage, (count, width) in enumerate(zip(repeats, channels, strict=True), 1):
        if stage > 1:  # section 2.6, "separate downsampling layers"
            x = _norm(x, f"down{stage}_norm")
            x = convolution(x, width, 2, 2, padding=0, use_bias=True, initializer=_normal(), name=f"down{stage}_conv")
        for i in range(1, count + 1):
            x = _block(x, drop_connect * number / max(last, 1), f"stage{stage}_block{i}")
            number += 1
        levels[f"C{stage + 1}"] = x
    return keras.Model(inputs, levels, name=name)


def convnext_tiny(
    input_shape: InputShape = (None, None, 3), drop_connect: float = 0.0, name: str = "convnext_tiny"
) -> keras.Model:
    """ConvNeXt-T, 18 blocks.

    Args:
        input_shape: (H, W, C), at least 32 pixels; H and W may be None.
        drop_connect: probability that training skips the last block; it falls linearly to 0 at the first. The paper
            trains with 0.1.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C2": 96 channels, "C3": 192, "C4": 384, "C5": 768}, Cn of stride 2**n.
        There is no C1.
    """
    return convnext((3, 3, 9, 3), input_shape, drop_connect, name)


def convnext_small(
    input_shape: InputShape = (None, None, 3), drop_connect: float = 0.0, name: str = "convnext_small"
) -> keras.Model:
    """ConvNeXt-S, 36 blocks; the paper trains it with a `drop_connect` of 0.4. See `convnext_tiny`."""
    return convnext((3, 3, 27, 3), input_shape, drop_connect, name)


def _block(x: Tensor, drop: float, name: str) -> Tensor:
    """Figure 4: depthwise 7x7, normalisation, 1x1 to four times the channels, GELU, 1x1 back, and the shortcut."""
    channels = x.shape[-1]
    new = depthwise_convolution(x, 7, use_bias=True, initializer=_normal(), name=f"{name}_depthwise")
    new = _norm(new, f"{name}_norm")
    new = convolution(new, 4 * channels, 1, use_bias=True, initializer=_normal(), name=f"{name}_expand")
    new = Gelu(name=f"{name}_gelu")(new)
    new = convolution(new, channels, 1, use_bias=True, initializer=_normal(), name=f"{name}_project")
    new = LayerScale(name=f"{name}_scale")(new)
    if drop:
        new = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(new)
    return layers.Add(name=f"{name}_add")([x, new])


def _norm(x: Tensor, name: str) -> Tensor:
    """Normalises the channels of each place."""
    return layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def _normal() -> keras.initializers.Initializer:
    # A new one for each layer, because one initializer draws the same values every time. The paper truncates, far out.
    return keras.initializers.RandomNormal(stddev=0.02)

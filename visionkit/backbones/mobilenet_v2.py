"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), and its block, which MobileNetV3 builds on."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from visionkit.backbones.blocks import (
    InputShape,
    convolution,
    depthwise_convolution,
    fan_out_normal,
    images,
    round_channels,
)
from visionkit.types import Tensor

# Table 2: expansion, channels, repeats, stride of the first; and the level that ends with the stage, if one does.
STAGES = (
    (1, 16, 1, 1, "C1"),
    (6, 24, 2, 2, "C2"),
    (6, 32, 3, 2, "C3"),
    (6, 64, 4, 2, None),
    (6, 96, 3, 1, "C4"),
    (6, 160, 3, 2, None),
    (6, 320, 1, 1, None),
)
LAST = 1280  # channels of the last convolution, which the levels end with


def mobilenet_v2(input_shape: InputShape = (None, None, 3), name: str = "mobilenet_v2") -> keras.Model:
    """MobileNetV2 of width 1.

    Args:
        input_shape: (H, W, C); H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": 16 channels, "C2": 24, "C3": 32, "C4": 96, "C5": 1280}, Cn of stride
        2**n. C1 .. C4 are the narrow ends of blocks, without activation.
    """
    norm = functools.partial(layers.BatchNormalization, momentum=0.9, epsilon=1e-5)
    inputs, x = images(input_shape)
    x = conv_norm(x, 32, 3, 2, "stem", norm, "relu6")  # [B, H/2, W/2, 32]
    levels: dict[str, Tensor] = {}
    number = 0
    for expansion, channels, repeats, stride, level in STAGES:
        for i in range(repeats):
            number += 1
            block = f"block{number}"
            expanded = expansion * x.shape[-1]
            x = inverted_residual(x, 3, expanded, channels, "relu6", stride if i == 0 else 1, block, norm)
        if level:
            levels[level] = x
    levels["C5"] = conv_norm(x, LAST, 1, 1, "last", norm, "relu6")  # [B, H/32, W/32, 1280]
    return keras.Model(inputs, levels, name=name)


def inverted_residual(
    x: Tensor,
    kernel: int,
    expanded: int,
    channels: int,
    activation: str,
    stride: int,
    name: str,
    norm: Callable[..., layers.Layer],
    squeeze: bool = False,
    dilation: int = 1,
) -> Tensor:
    """Section 3.3: expand 1x1, depthwise, project 1x1 without activation; the shortcut connects the narrow ends.

    Args:
        kernel, stride, dilation: of the depthwise convolution.
        expanded: channels in between; there is no expansion if `x` has as many.
        channels: of the output.
        activation: the name of Keras' function.
        norm: makes a normalisation layer of the given name.
        squeeze: weights the channels in between, see `squeeze_excite`.
    """
    shortcut = x
    if expanded != x.shape[-1]:
        x = conv_norm(x, expanded, 1, 1, f"{name}_expand", norm, activation)
    # Keras counts the fan-in of a depthwise kernel as torch counts its fan-out: kernel * kernel * channels.
    initializer: Any = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    depthwise = f"{name}_depthwise"
    x = depthwise_convolution(x, kernel, stride, dilation=dilation, initializer=initializer, name=depthwise)
    x = layers.Activation(activation, name=f"{depthwise}_relu")(norm(name=f"{depthwise}_bn")(x))
    if squeeze:
        x = squeeze_excite(x, f"{name}_squeeze")
    x = conv_norm(x, channels, 1, 1, f"{name}_project", norm, None)
    if stride == 1 and shortcut.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def squeeze_excite(x: Tensor, name: str) -> Tensor:
    """Factors 0..1 for the channels from their averages: Hu et al. 2018 (arXiv 1709.01507), section 3.

    As in MobileNetV3 (arXiv 1905.02244, sections 5.2 and 5.3): a quarter of the channels in between, and a sigmoid made
    of straight lines.
    """
    channels = x.shape[-1]
    factors = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)  # [B, 1, 1, C]
    for layer, units, activation in (("fc1", round_channels(channels / 4), "relu"), ("fc2", channels, "hard_sigmoid")):
        factors = layers.Conv2D(
            units, 1, activation=activation, kernel_initializer=fan_out_normal(), name=f"{name}_{layer}"
        )(factors)
    return layers.Multiply(name=name)([x, factors])


def conv_norm(
    x: Tensor,
    channels: int,
    kernel: int,
    stride: int,
    name: str,
    norm: Callable[..., layers.Layer],
    activation: str | None,
    initializer: Any = None,
) -> Tensor:
    """A convolution without bias, its normalisation and, unless None, its activation.

    Its first weights are `fan_out_normal`, unless there is an `initializer`.
    """
    x = convolution(x, channels, kernel, stride, initializer=initializer or fan_out_normal(), name=f"{name}_conv")
    x = norm(name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_relu")(x) if activation else x

"""EfficientNet-Lite: EfficientNet (Tan and Le 2019, arXiv 1905.11946) made for integer hardware.

Unlike EfficientNet it has no squeeze-and-excitation, ReLU6 instead of swish, and a stem and head that do not grow with
the width (github.com/tensorflow/tpu, models/official/efficientnet/lite). Padding is TensorFlow's "same".
"""

import math
from typing import Any

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, fan_out_normal, images, round_channels
from visionkit.types import Tensor

# Table 1: repeats, kernel, stride, expansion, channels; and the level that ends with the stage, if one does.
STAGES = (
    (1, 3, 1, 1, 16, "C1"),
    (2, 3, 2, 6, 24, "C2"),
    (2, 5, 2, 6, 40, "C3"),
    (3, 3, 2, 6, 80, None),
    (3, 5, 1, 6, 112, "C4"),
    (4, 5, 2, 6, 192, None),
    (1, 3, 1, 6, 320, "C5"),
)


def efficientnet_lite0(
    input_shape: InputShape = (None, None, 3),
    drop_connect: float = 0.0,
    name: str = "efficientnet_lite0",
    dilated: bool = False,
) -> keras.Model:
    """EfficientNet-Lite0, for images of 224.

    Args:
        input_shape: (H, W, C); H and W may be None.
        drop_connect: probability that training skips the last block; it falls linearly to 0 at the first. The paper
            trains with 0.2.
        dilated: for segmentation. The last stages keep stride 16 and are dilated.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": 16 channels, "C2": 24, "C3": 40, "C4": 112, "C5": 320}, Cn of stride
        2**n. If `dilated`, {"C1", "C2", "C3", "C4", "aux"}: C4 is the last stage, and "aux" is of the same stride, for
        an auxiliary head in training.
    """
    return _efficientnet_lite(1.0, 1.0, input_shape, drop_connect, name, dilated)


def efficientnet_lite1(
    input_shape: InputShape = (None, None, 3),
    drop_connect: float = 0.0,
    name: str = "efficientnet_lite1",
    dilated: bool = False,
) -> keras.Model:
    """EfficientNet-Lite1, for images of 240, with more layers. See `efficientnet_lite0`."""
    return _efficientnet_lite(1.0, 1.1, input_shape, drop_connect, name, dilated)


def efficientnet_lite2(
    input_shape: InputShape = (None, None, 3),
    drop_connect: float = 0.0,
    name: str = "efficientnet_lite2",
    dilated: bool = False,
) -> keras.Model:
    """EfficientNet-Lite2, for images of 260, with more and wider layers. See `efficientnet_lite0`."""
    return _efficientnet_lite(1.1, 1.2, input_shape, drop_connect, name, dilated)


def _efficientnet_lite(
    width: float, depth: float, input_shape: InputShape, drop_connect: float, name: str, dilated: bool
) -> keras.Model:
    """images float32 `[B, H, W, C]` RGB 0..255 -> {"C1" .. "C5"}, Cn of stride 2**n.

    If `dilated`, {"C1", "C2", "C3", "C4", "aux"}: C4 is the last stage, and "aux" the last block before the stride that
    is left out, for an auxiliary head in training.

    Args:
        width, depth: multipliers of the channels and of the repeats.
        input_shape: (H, W, C); H and W may be None.
        drop_connect: probability that training skips the last block; it falls linearly to 0 at the first block. The
            paper trains with 0.2.
        dilated: for segmentation. The last stages keep stride 16, and the depthwise convolutions behind the stride that
            is left out have dilation 2, so that they compute the values of the strided network at more places.
    """
    inputs, x = images(input_shape, mean=(127.0,) * 3, std=(128.0,) * 3)
    x = _conv_bn(x, 32, 3, 2, "stem", relu6=True)  # [B, H/2, W/2, 32]
    blocks: list[tuple[int, int, int, int, str | None]] = []  # kernel, stride, expansion, channels, level
    for repeats, kernel, stride, expansion, channels, level in STAGES:
        if level not in ("C1", "C5"):  # Lite repeats the first and the last stage equally often at any depth
            repeats = math.ceil(depth * repeats)
        for i in range(repeats):
            first, last = i == 0, i == repeats - 1
            channels_here = round_channels(width * channels)
            blocks.append((kernel, stride if first else 1, expansion, channels_here, level if last else None))
    levels: dict[str, Tensor] = {}
    dilation = 1
    for i, (kernel, stride, expansion, channels, level) in enumerate(blocks):
        here = dilation
        if dilated and stride == 2 and "C4" in levels:
            stride, dilation = 1, 2  # the first block still has the dilation of the stage before
        drop = drop_connect * i / len(blocks)
        x = _inverted_residual(x, kernel, stride, expansion, channels, drop, f"block{i}", here)
        if level:
            levels[level] = x
    if dilated:
        levels["aux"], levels["C4"] = levels["C4"], levels.pop("C5")
    return keras.Model(inputs, levels, name=name)


def _inverted_residual(
    x: Tensor, kernel: int, stride: int, expansion: int, channels: int, drop: float, name: str, dilation: int
) -> Tensor:
    """MobileNetV2's block: expand 1x1, depthwise, project 1x1; the shortcut connects the narrow ends."""
    shortcut = x
    if expansion != 1:
        x = _conv_bn(x, expansion * x.shape[-1], 1, 1, f"{name}_expand", relu6=True)
    depthwise: Any = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    x = layers.DepthwiseConv2D(
        kernel,
        stride,
        padding="same",
        dilation_rate=dilation,
        use_bias=False,
        depthwise_initializer=depthwise,
        name=f"{name}_depthwise",
    )(x)
    x = layers.ReLU(6, name=f"{name}_depthwise_relu")(_norm(x, f"{name}_depthwise_bn"))
    x = _conv_bn(x, channels, 1, 1, f"{name}_project", relu6=False)
    if stride == 1 and shortcut.shape[-1] == channels:
        if drop:
            x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def _conv_bn(x: Tensor, filters: int, kernel: int, stride: int, name: str, relu6: bool) -> Tensor:
    x = layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=fan_out_normal(),
        name=f"{name}_conv",
    )(x)
    x = _norm(x, f"{name}_bn")
    return layers.ReLU(6, name=f"{name}_relu")(x) if relu6 else x


def _norm(x: Tensor, name: str) -> Tensor:
    # The momentum does not depend on the published weights; the 0.99 that they were trained with would leave a short
    # fine-tuning with stale statistics.
    return layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=name)(x)

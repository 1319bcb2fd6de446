"""MobileNetV3 (Howard et al. 2019, arXiv 1905.02244): MobileNetV2's block with squeeze-and-excite and hard swish."""

import functools
from collections.abc import Sequence
from typing import TypeAlias

import keras
from keras import layers

from visionkit.backbones.blocks import IMAGENET_MEAN, IMAGENET_STD, InputShape, images
from visionkit.backbones.mobilenet_v2 import conv_norm, inverted_residual
from visionkit.types import Tensor

Row: TypeAlias = tuple[int, int, int, bool, str, int]

SWISH = "hard_silu"  # x * relu6(x + 3) / 6: section 5.2, h-swish
# Tables 1 and 2: kernel, expanded channels, channels, squeeze-and-excite, activation, stride.
LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, SWISH, 2),
    (3, 200, 80, False, SWISH, 1),
    (3, 184, 80, False, SWISH, 1),
    (3, 184, 80, False, SWISH, 1),
    (3, 480, 112, True, SWISH, 1),
    (3, 672, 112, True, SWISH, 1),
    (5, 672, 160, True, SWISH, 2),
    (5, 960, 160, True, SWISH, 1),
    (5, 960, 160, True, SWISH, 1),
)
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, SWISH, 2),
    (5, 240, 40, True, SWISH, 1),
    (5, 240, 40, True, SWISH, 1),
    (5, 120, 48, True, SWISH, 1),
    (5, 144, 48, True, SWISH, 1),
    (5, 288, 96, True, SWISH, 2),
    (5, 576, 96, True, SWISH, 1),
    (5, 576, 96, True, SWISH, 1),
)


# The momentum does not depend on the published weights; the 0.99 that they were trained with would leave a short
# fine-tuning with stale statistics.
batch_norm = functools.partial(layers.BatchNormalization, momentum=0.97, epsilon=1e-3)


def mobilenet_v3(
    rows: Sequence[Row],
    input_shape: InputShape = (None, None, 3),
    name: str = "mobilenet_v3",
    dilated: bool = False,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    norm_epsilon: float = 1e-3,
) -> keras.Model:
    """The networks of Tables 1 and 2, up to the last convolution before the pooling.

    Args:
        rows: the blocks, such as `LARGE`. The last convolution has six times the channels of the last block.
        input_shape: (H, W, C); H and W may be None.
        dilated: for segmentation (section 6.4). The last stage keeps stride 16, and its depthwise convolutions have
            dilation 2.
        mean, std: of the normalisation of the images.
        norm_epsilon: of the batch normalisation.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1" .. "C5"}, Cn of stride 2**n: the last block of that stride, and for C5 the
        last convolution. If `dilated`, {"C1", "C2", "C3", "C4", "aux"}: C4 is the last convolution; C3 is the first
        block of stride 8, as in torchvision's segmenters, and "aux" is the same, for an auxiliary head in training.
    """
    inputs, x = images(input_shape, mean, std)
    norm = functools.partial(batch_norm, epsilon=norm_epsilon)
    x = conv_norm(x, 16, 3, 2, "stem", norm, SWISH)  # [B, H/2, W/2, 16]
    first: dict[str, Tensor] = {}  # the first and the last block of each stride
    last: dict[str, Tensor] = {"C1": x}
    stage = 1
    dilation = 1
    for number, (kernel, expanded, channels, squeeze, activation, stride) in enumerate(rows, 1):
        if stride == 2 and stage == 4 and dilated:
            stride, dilation = 1, 2
        stage += stride == 2
        block = f"block{number}"
        x = inverted_residual(
            x, kernel, expanded, channels, activation, stride, block, norm, squeeze=squeeze, dilation=dilation
        )
        first.setdefault(f"C{stage}", x)
        last[f"C{stage}"] = x
    last[f"C{stage}"] = conv_norm(x, 6 * x.shape[-1], 1, 1, "last", norm, SWISH)
    if dilated:
        last |= {"C3": first["C3"], "aux": first["C3"]}
    return keras.Model(inputs, last, name=name)


def mobilenet_v3_large(input_shape: InputShape = (None, None, 3), name: str = "mobilenet_v3_large") -> keras.Model:
    """MobileNetV3-Large (Table 1).

    Args:
        input_shape: (H, W, C); H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": 16 channels, "C2": 24, "C3": 40, "C4": 112, "C5": 960}, Cn of stride
        2**n: the last block of that stride, and for C5 the last convolution.
    """
    return mobilenet_v3(LARGE, input_shape, name)


def mobilenet_v3_small(input_shape: InputShape = (None, None, 3), name: str = "mobilenet_v3_small") -> keras.Model:
    """MobileNetV3-Small (Table 2): levels of 16, 16, 24, 48 and 576 channels. See `mobilenet_v3_large`."""
    return mobilenet_v3(SMALL, input_shape, name)


def mobilenet_v3_large_dilated(
    input_shape: InputShape = (None, None, 3), name: str = "mobilenet_v3_large_dilated"
) -> keras.Model:
    """The large network with stride 16. See `mobilenet_v3`."""
    return mobilenet_v3(LARGE, input_shape, name, dilated=True)


def mobilenet_v3_small_dilated(
    input_shape: InputShape = (None, None, 3), name: str = "mobilenet_v3_small_dilated"
) -> keras.Model:
    """The small network with stride 16. See `mobilenet_v3`."""
    return mobilenet_v3(SMALL, input_shape, name, dilated=True)

"""VGG16 as SSD uses it (Liu et al. 2016, arXiv 1512.02325, section 3): fully convolutional, with levels on top."""

from collections.abc import Sequence

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, images, max_pool
from visionkit.layers.l2_normalize import L2Normalize
from visionkit.types import Tensor

MEAN = (0.48235 * 255, 0.45882 * 255, 0.40784 * 255)  # Caffe's 123, 117, 104 of RGB 0..255
STD = (1.0, 1.0, 1.0)


def ssd_vgg16(
    extras: Sequence[tuple[int, int, int, int]], input_shape: InputShape = (None, None, 3), name: str = "ssd_vgg16"
) -> keras.Model:
    """VGG16 up to conv5_3 with a dilated fc6 and fc7, and one more level for each of `extras`.

    Level n has stride 2**n as long as the extra levels have stride 2. Where they do not, the published networks state
    the distance of their anchors (see `models.ssd.SSD300`).

    Args:
        extras: (channels, kernel size, stride, padding) of each level's second convolution; the first is a 1x1 to
            half the channels.

    Returns:
        images 0..255 `[B, H, W, 3]` -> {"C3": conv4_3 normalised, 512 channels, "C4": fc7, 1024, "C5": ...}.
    """
    inputs, x = images(input_shape, MEAN, STD)
    levels: dict[str, Tensor] = {}
    for stage, (repeats, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for i in range(1, repeats + 1):
            x = convolution(x, filters, 3, use_bias=True, name=f"conv{stage}_{i}")
            x = layers.ReLU(name=f"conv{stage}_{i}_relu")(x)
        if stage == 4:
            levels["C3"] = L2Normalize(name="conv4_3_norm")(x)  # its values are far larger than the others'
        if stage == 5:
            x = max_pool(x, 3, 1, padding=1, name="pool5")  # keeps the stride at 16
        else:
            x = max_pool(x, 2, 2, ceil=stage == 3, name=f"pool{stage}")
    x = layers.Conv2D(1024, 3, padding="same", dilation_rate=6, activation="relu", name="fc6")(x)
    x = levels["C4"] = layers.Conv2D(1024, 1, activation="relu", name="fc7")(x)
    for number, (filters, kernel, stride, padding) in enumerate(extras, 5):
        conv = f"conv{number + 3}"
        x = layers.Conv2D(filters // 2, 1, activation="relu", name=f"{conv}_1")(x)
        x = convolution(x, filters, kernel, stride, padding=padding, use_bias=True, name=f"{conv}_2")
        x = levels[f"C{number}"] = layers.ReLU(name=f"{conv}_2_relu")(x)
    return keras.Model(inputs, levels, name=name)


def ssd300_vgg16(input_shape: InputShape = (None, None, 3), name: str = "ssd300_vgg16") -> keras.Model:
    """For images of 300 x 300: levels of 38, 19, 10, 5, 3 and 1 cells a side. See `ssd_vgg16`."""
    return ssd_vgg16(((512, 3, 2, 1), (256, 3, 2, 1), (256, 3, 1, 0), (256, 3, 1, 0)), input_shape, name)


def ssd512_vgg16(input_shape: InputShape = (None, None, 3), name: str = "ssd512_vgg16") -> keras.Model:
    """For images of 512 x 512: levels of 64, 32, 16, 8, 4, 2 and 1 cells a side. See `ssd_vgg16`."""
    return ssd_vgg16(((512, 3, 2, 1), *((256, 3, 2, 1),) * 3, (256, 4, 1, 1)), input_shape, name)

"""VGG (Simonyan and Zisserman 2015, arXiv 1409.1556, Table 1), with and without batch normalisation."""

from collections.abc import Sequence

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, images
from visionkit.types import Tensor


def vgg(
    stages: Sequence[int],
    batch_norm: bool = False,
    input_shape: InputShape = (None, None, 3),
    name: str = "vgg",
) -> keras.Model:
    """Five stages of 3x3 convolutions. The head has two dense layers of 4096 with dropout 0.5.

    Level C(n-1) is the last feature map of stage n, before its pooling: in VGG16, C2 is conv3_3 and C3 is conv4_3.

    Args:
        stages: convolutions in each stage.
        batch_norm: batch normalisation after each convolution (not in the paper).
        input_shape: (H, W, C), at least 32 pixels; H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C0": 64 channels, "C1": 128, "C2": 256, "C3": 512, "C4": 512, "C5": 512},
        Cn of stride 2**n.
    """
    inputs, x = images(input_shape)
    levels: dict[str, Tensor] = {}
    for stage, (repeats, filters) in enumerate(zip(stages, (64, 128, 256, 512, 512), strict=True), 1):
        for i in range(1, repeats + 1):
            conv = f"conv{stage}_{i}"
            x = convolution(x, filters, 3, use_bias=True, name=conv)
            if batch_norm:
                x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{conv}_bn")(x)
            x = layers.ReLU(name=f"{conv}_relu")(x)
        levels[f"C{stage - 1}"] = x  # [B, H / 2**(stage-1), W / 2**(stage-1), filters]
        x = layers.MaxPooling2D(2, 2, name=f"pool{stage}")(x)
    levels["C5"] = x  # [B, H/32, W/32, 512]
    return keras.Model(inputs, levels, name=name)


def vgg11(input_shape: InputShape = (None, None, 3), name: str = "vgg11") -> keras.Model:
    """Configuration A. See `vgg`."""
    return vgg((1, 1, 2, 2, 2), False, input_shape, name)


def vgg13(input_shape: InputShape = (None, None, 3), name: str = "vgg13") -> keras.Model:
    """Configuration B. See `vgg`."""
    return vgg((2, 2, 2, 2, 2), False, input_shape, name)


def vgg16(input_shape: InputShape = (None, None, 3), name: str = "vgg16") -> keras.Model:
    """Configuration D. See `vgg`."""
    return vgg((2, 2, 3, 3, 3), False, input_shape, name)


def vgg19(input_shape: InputShape = (None, None, 3), name: str = "vgg19") -> keras.Model:
    """Configuration E. See `vgg`."""
    return vgg((2, 2, 4, 4, 4), False, input_shape, name)


def vgg11_bn(input_shape: InputShape = (None, None, 3), name: str = "vgg11_bn") -> keras.Model:
    """Configuration A, with batch normalisation. See `vgg`."""
    return vgg((1, 1, 2, 2, 2), True, input_shape, name)


def vgg13_bn(input_shape: InputShape = (None, None, 3), name: str = "vgg13_bn") -> keras.Model:
    """Configuration B, with batch normalisation. See `vgg`."""
    return vgg((2, 2, 2, 2, 2), True, input_shape, name)


def vgg16_bn(input_shape: InputShape = (None, None, 3), name: str = "vgg16_bn") -> keras.Model:
    """Configuration D, with batch normalisation. See `vgg`."""
    return vgg((2, 2, 3, 3, 3), True, input_shape, name)


def vgg19_bn(input_shape: InputShape = (None, None, 3), name: str = "vgg19_bn") -> keras.Model:
    """Configuration E, with batch normalisation. See `vgg`."""
    return vgg((2, 2, 4, 4, 4), True, input_shape, name)

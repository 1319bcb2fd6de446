"""Network in Network (Lin et al. 2014, arXiv 1312.4400), the ImageNet variant."""

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, images, max_pool
from visionkit.types import Tensor


def nin(input_shape: InputShape = (None, None, 3), name: str = "nin") -> keras.Model:
    """Three mlpconv blocks. The head is a fourth block with one channel per class, then global average pooling.

    Args:
        input_shape: (H, W, C), at least 67 pixels; H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C2": 96 channels, "C3": 256, "C4": 384, "C5": 384}, Cn of stride 2**n.
    """
    inputs, x = images(input_shape)
    c2 = _mlpconv(x, 96, 11, "block1", strides=4, padding=0)  # [B, 54, 54, 96] for an image of 224
    c3 = _mlpconv(max_pool(c2, 3, 2, name="pool1"), 256, 5, "block2")  # [B, 26, 26, 256]
    c4 = _mlpconv(max_pool(c3, 3, 2, name="pool2"), 384, 3, "block3")  # [B, 12, 12, 384]
    c5 = max_pool(c4, 3, 2, name="pool3")  # [B, 5, 5, 384]
    return keras.Model(inputs, {"C2": c2, "C3": c3, "C4": c4, "C5": c5}, name=name)


def _mlpconv(x: Tensor, filters: int, kernel: int, name: str, strides: int = 1, padding: int | None = None) -> Tensor:
    """A convolution and two 1x1 convolutions: a small perceptron that slides over the image (section 3.1)."""
    x = convolution(x, filters, kernel, strides, padding=padding, use_bias=True, name=f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    for i in (2, 3):
        x = convolution(x, filters, 1, use_bias=True, name=f"{name}_conv{i}")
        x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return x

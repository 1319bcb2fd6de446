"""AlexNet (Krizhevsky et al. 2012) in the one-tower form of "One weird trick" (Krizhevsky 2014, arXiv 1404.5997).

This is torchvision's version, with 64 and 192 filters in the first convolutions and no local response normalisation.
"""

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, images, max_pool
from visionkit.types import Tensor


def alexnet(input_shape: InputShape = (None, None, 3), name: str = "alexnet") -> keras.Model:
    """Five convolutions. The head has two dense layers of 4096 with dropout 0.5.

    Args:
        input_shape: (H, W, C), at least 63 pixels; H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C2": 64 channels, "C3": 192, "C4": 256, "C5": 256}, Cn of stride 2**n.
    """
    inputs, x = images(input_shape)
    c2 = _conv(x, 64, 11, "conv1", strides=4, padding=2)  # [B, 55, 55, 64] for an image of 224
    c3 = _conv(max_pool(c2, 3, 2, name="pool1"), 192, 5, "conv2")  # [B, 27, 27, 192]
    x = _conv(max_pool(c3, 3, 2, name="pool2"), 384, 3, "conv3")  # [B, 13, 13, 384]
    x = _conv(x, 256, 3, "conv4")
    c4 = _conv(x, 256, 3, "conv5")  # [B, 13, 13, 256]
    c5 = max_pool(c4, 3, 2, name="pool5")  # [B, 6, 6, 256]
    return keras.Model(inputs, {"C2": c2, "C3": c3, "C4": c4, "C5": c5}, name=name)


def _conv(x: Tensor, filters: int, kernel: int, name: str, strides: int = 1, padding: int | None = None) -> Tensor:
    x = convolution(x, filters, kernel, strides, padding=padding, use_bias=True, name=name)
    return layers.ReLU(name=f"{name}_relu")(x)

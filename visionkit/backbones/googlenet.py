"""GoogLeNet, Inception v1 (Szegedy et al. 2015, arXiv 1409.4842), as torchvision has it.

Known differences from the paper, kept so that published weights fit: batch normalisation after each convolution, no
local response normalisation, and 3x3 convolutions in the "5x5" branch.
"""

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, images, max_pool
from visionkit.types import Tensor

# Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(
    input_shape: InputShape = (None, None, 3), auxiliary: bool = False, name: str = "googlenet"
) -> keras.Model:
    """Nine Inception modules.

    Args:
        input_shape: (H, W, C), at least 15 pixels; H and W may be None.
        auxiliary: adds the outputs that the two auxiliary classifiers of section 5 use; a Classifier then trains them.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": 64 channels, "C2": 192, "C3": 480, "C4": 832, "C5": 1024}, Cn of stride
        2**n; with `auxiliary` also {"aux1": 512 channels, "aux2": 528}, both of stride 16.
    """
    inputs, x = images(input_shape, mean=(127.5,) * 3, std=(127.5,) * 3)
    levels: dict[str, Tensor] = {}
    x = levels["C1"] = _conv(x, 64, 7, "conv1", strides=2)  # [B, 112, 112, 64] for an image of 224
    x = max_pool(x, 3, 2, ceil=True, name="pool1")
    x = _conv(x, 64, 1, "conv2")
    x = levels["C2"] = _conv(x, 192, 3, "conv3")  # [B, 56, 56, 192]
    x = max_pool(x, 3, 2, ceil=True, name="pool2")
    for module, widths in INCEPTIONS.items():
        if module == "5a":
            x = layers.MaxPooling2D(2, 2, padding="same", name="pool4")(x)  # "same" is ceil_mode for 2x2
        x = _inception(x, *widths, f"inception{module}")
        if module == "3b":
            levels["C3"] = x  # [B, 28, 28, 480]
            x = max_pool(x, 3, 2, ceil=True, name="pool3")
        elif module in ("4a", "4d") and auxiliary:
            levels["aux1" if module == "4a" else "aux2"] = x
        elif module == "4e":
            levels["C4"] = x  # [B, 14, 14, 832]
    levels["C5"] = x  # [B, 7, 7, 1024]
    return keras.Model(inputs, levels, name=name)


def _inception(
    x: Tensor, n1x1: int, n3x3_reduce: int, n3x3: int, n5x5_reduce: int, n5x5: int, pool_proj: int, name: str
) -> Tensor:
    """Figure 2(b): four branches of the same size, concatenated."""
    pooled = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}_pool")(x)
    branches = [
        _conv(x, n1x1, 1, f"{name}_1x1"),
        _conv(_conv(x, n3x3_reduce, 1, f"{name}_3x3_reduce"), n3x3, 3, f"{name}_3x3"),
        _conv(_conv(x, n5x5_reduce, 1, f"{name}_5x5_reduce"), n5x5, 3, f"{name}_5x5"),
        _conv(pooled, pool_proj, 1, f"{name}_pool_proj"),
    ]
    return layers.Concatenate(name=name)(branches)


def _conv(x: Tensor, filters: int, kernel: int, name: str, strides: int = 1) -> Tensor:
    x = convolution(x, filters, kernel, strides, initializer=_initializer(), name=name)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _initializer() -> keras.initializers.Initializer:
    # A new one for each layer, because one initializer draws the same values every time.
    return keras.initializers.TruncatedNormal(stddev=0.01)

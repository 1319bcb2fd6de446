"""Densely connected networks, DenseNet-BC (Huang et al. 2017, arXiv 1608.06993, Table 1)."""

from collections.abc import Sequence

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, images, max_pool
from visionkit.types import Tensor


def densenet(
    repeats: Sequence[int],
    growth: int,
    stem: int,
    input_shape: InputShape = (None, None, 3),
    name: str = "densenet",
) -> keras.Model:
    """Four dense blocks, in which each layer gets the outputs of all earlier layers of its block.

    Args:
        repeats: layers in each of the four dense blocks.
        growth: channels that a layer adds (k in the paper).
        stem: channels of the first convolution, 2 * growth in the paper.
        input_shape: (H, W, C); H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": `stem` channels, "C2", "C3", "C4": outputs of the first three dense
        blocks, not yet normalised, "C5": output of the last, normalised and rectified}, Cn of stride 2**n.
    """
    inputs, x = images(input_shape)
    x = _norm_relu(convolution(x, stem, 7, 2, name="conv0"), "norm0")  # [B, H/2, W/2, stem]
    levels: dict[str, Tensor] = {"C1": x}
    x = max_pool(x, 3, 2, padding=1, name="pool0")  # [B, H/4, W/4, stem]
    for block, count in enumerate(repeats, 1):
        for i in range(1, count + 1):
            x = _dense_layer(x, growth, f"block{block}_layer{i}")
        if block < 4:
            levels[f"C{block + 1}"] = x
            x = _transition(x, f"transition{block}")
    levels["C5"] = _norm_relu(x, "norm5")
    return keras.Model(inputs, levels, name=name)


def densenet121(input_shape: InputShape = (None, None, 3), name: str = "densenet121") -> keras.Model:
    """121 layers. See `densenet`."""
    return densenet((6, 12, 24, 16), 32, 64, input_shape, name)


def densenet161(input_shape: InputShape = (None, None, 3), name: str = "densenet161") -> keras.Model:
    """161 layers. See `densenet`."""
    return densenet((6, 12, 36, 24), 48, 96, input_shape, name)


def densenet169(input_shape: InputShape = (None, None, 3), name: str = "densenet169") -> keras.Model:
    """169 layers. See `densenet`."""
    return densenet((6, 12, 32, 32), 32, 64, input_shape, name)


def densenet201(input_shape: InputShape = (None, None, 3), name: str = "densenet201") -> keras.Model:
    """201 layers. See `densenet`."""
    return densenet((6, 12, 48, 32), 32, 64, input_shape, name)


def _dense_layer(x: Tensor, growth: int, name: str) -> Tensor:
    """Section 3, "Bottleneck layers": norm, ReLU, 1x1 to 4k, norm, ReLU, 3x3 to k channels, appended to the input."""
    new = convolution(_norm_relu(x, f"{name}_norm1"), 4 * growth, 1, name=f"{name}_conv1")
    new = convolution(_norm_relu(new, f"{name}_norm2"), growth, 3, name=f"{name}_conv2")
    return layers.Concatenate(name=name)([x, new])


def _transition(x: Tensor, name: str) -> Tensor:
    """Between two blocks: halves the channels and the size."""
    x = convolution(_norm_relu(x, f"{name}_norm"), x.shape[-1] // 2, 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, 2, name=f"{name}_pool")(x)


def _norm_relu(x: Tensor, name: str) -> Tensor:
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
    return layers.ReLU(name=name.replace("norm", "relu"))(x)

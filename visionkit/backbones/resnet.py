"""Residual networks (He et al. 2016, arXiv 1512.03385), for ImageNet and for CIFAR."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, fan_out_normal, images, max_pool
from visionkit.types import Tensor

# Makes a shortcut that fits the block's output: (x, channels, stride, name) -> x.
_Shorten: TypeAlias = Callable[[Tensor, int, int, str], Tensor]


def resnet(
    repeats: Sequence[int],
    bottleneck: bool,
    input_shape: InputShape = (None, None, 3),
    name: str = "resnet",
    dilated: bool = False,
) -> keras.Model:
    """The ImageNet networks of Table 1.

    The stride of a bottleneck is in its 3x3 convolution, as in torchvision ("v1.5"); in the paper it is in the first
    1x1.

    Args:
        repeats: blocks in each of the four stages.
        bottleneck: three convolutions per block (50 layers and more) instead of two.
        input_shape: (H, W, C); H and W may be None.
        dilated: for segmentation. The last two stages keep the stride 8 of the second, and dilation gives their 3x3
            convolutions the field of view that the stride would have given: torchvision's
            `replace_stride_with_dilation` (arXiv 1706.05587, section 3).

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": 64 channels, "C2" .. "C5"}, Cn of stride 2**n; C2 .. C5 have 64, 128,
        256, 512 channels, with bottlenecks four times as many. If `dilated`, {"C1", "C2", "C3", "aux"}: C3 is the last
        stage, the deepest map of stride 8, and "aux" is the stage before, of the same stride, for an auxiliary head in
        training.
    """
    inputs, x = images(input_shape)
    x = _conv_bn(x, 64, 7, 2, "conv1", "bn1")  # [B, H/2, W/2, 64]
    levels: dict[str, Tensor] = {"C1": layers.ReLU(name="relu1")(x)}
    x = max_pool(levels["C1"], 3, 2, padding=1, name="pool1")  # [B, H/4, W/4, 64]
    block = _bottleneck if bottleneck else _basic
    names = ("C2", "C3", "aux", "C3") if dilated else ("C2", "C3", "C4", "C5")
    dilation = 1
    for stage, (count, filters, level) in enumerate(zip(repeats, (64, 128, 256, 512), names, strict=True), 1):
        keep = stage == 1 or (dilated and stage > 2)  # this stage keeps the stride of the one before
        for i in range(1, count + 1):
            x = block(x, filters, 2 if i == 1 and not keep else 1, _projection, f"stage{stage}_block{i}", dilation)
            if i == 1 and keep and stage > 1:
                dilation *= 2  # only now: the first block still has the dilation of the stage before
        levels[level] = x
    return keras.Model(inputs, levels, name=name)


def resnet_cifar(repeats: int, input_shape: InputShape = (None, None, 3), name: str = "resnet_cifar") -> keras.Model:
    """The CIFAR networks of section 4.2: 6 * `repeats` + 2 layers, shortcuts without parameters (option A).

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C0": 16 channels, "C1": 32, "C2": 64}, Cn of stride 2**n.
    """
    inputs, x = images(input_shape)
    x = layers.ReLU(name="relu1")(_conv_bn(x, 16, 3, 1, "conv1", "bn1"))  # [B, H, W, 16]
    levels: dict[str, Tensor] = {}
    for stage, filters in enumerate((16, 32, 64), 1):
        for i in range(1, repeats + 1):
            stride = 2 if i == 1 and stage > 1 else 1
            x = _basic(x, filters, stride, _subsample, f"stage{stage}_block{i}")
        levels[f"C{stage - 1}"] = x
    return keras.Model(inputs, levels, name=name)


def resnet18(input_shape: InputShape = (None, None, 3), name: str = "resnet18") -> keras.Model:
    """18 layers. See `resnet`."""
    return resnet((2, 2, 2, 2), False, input_shape, name)


def resnet34(input_shape: InputShape = (None, None, 3), name: str = "resnet34") -> keras.Model:
    """34 layers. See `resnet`."""
    return resnet((3, 4, 6, 3), False, input_shape, name)


def resnet50(input_shape: InputShape = (None, None, 3), name: str = "resnet50") -> keras.Model:
    """50 layers. See `resnet`."""
    return resnet((3, 4, 6, 3), True, input_shape, name)


def resnet101(input_shape: InputShape = (None, None, 3), name: str = "resnet101") -> keras.Model:
    """101 layers. See `resnet`."""
    return resnet((3, 4, 23, 3), True, input_shape, name)


def resnet152(input_shape: InputShape = (None, None, 3), name: str = "resnet152") -> keras.Model:
    """152 layers. See `resnet`."""
    return resnet((3, 8, 36, 3), True, input_shape, name)


def resnet50_dilated(input_shape: InputShape = (None, None, 3), name: str = "resnet50_dilated") -> keras.Model:
    """50 layers of stride 8. See `resnet`."""
    return resnet((3, 4, 6, 3), True, input_shape, name, dilated=True)


def resnet101_dilated(input_shape: InputShape = (None, None, 3), name: str = "resnet101_dilated") -> keras.Model:
    """101 layers of stride 8. See `resnet`."""
    return resnet((3, 4, 23, 3), True, input_shape, name, dilated=True)


def resnet20_cifar(input_shape: InputShape = (None, None, 3), name: str = "resnet20_cifar") -> keras.Model:
    """The network of section 4.2 for CIFAR, with 20 layers and shortcuts without parameters (option A).

    Args:
        input_shape: (H, W, C); H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C0": 16 channels, "C1": 32, "C2": 64}, Cn of stride 2**n.
    """
    return resnet_cifar(3, input_shape, name)


def resnet32_cifar(input_shape: InputShape = (None, None, 3), name: str = "resnet32_cifar") -> keras.Model:
    """32 layers. See `resnet20_cifar`."""
    return resnet_cifar(5, input_shape, name)


def resnet44_cifar(input_shape: InputShape = (None, None, 3), name: str = "resnet44_cifar") -> keras.Model:
    """44 layers. See `resnet20_cifar`."""
    return resnet_cifar(7, input_shape, name)


def resnet56_cifar(input_shape: InputShape = (None, None, 3), name: str = "resnet56_cifar") -> keras.Model:
    """56 layers. See `resnet20_cifar`."""
    return resnet_cifar(9, input_shape, name)


def _basic(x: Tensor, filters: int, stride: int, shorten: _Shorten, name: str, dilation: int = 1) -> Tensor:
    """Figure 5, left: two 3x3 convolutions."""
    shortcut = x
    x = _conv_bn(x, filters, 3, stride, f"{name}_conv1", f"{name}_bn1", dilation)
    x = _conv_bn(layers.ReLU(name=f"{name}_relu1")(x), filters, 3, 1, f"{name}_conv2", f"{name}_bn2", dilation)
    return _add(shortcut, x, stride, shorten, name)


def _bottleneck(x: Tensor, filters: int, stride: int, shorten: _Shorten, name: str, dilation: int = 1) -> Tensor:
    """Figure 5, right: 1x1 to fewer channels, 3x3, 1x1 to four times as many."""
    shortcut = x
    x = _conv_bn(x, filters, 1, 1, f"{name}_conv1", f"{name}_bn1")
    x = _conv_bn(layers.ReLU(name=f"{name}_relu1")(x), filters, 3, stride, f"{name}_conv2", f"{name}_bn2", dilation)
    x = _conv_bn(layers.ReLU(name=f"{name}_relu2")(x), 4 * filters, 1, 1, f"{name}_conv3", f"{name}_bn3")
    return _add(shortcut, x, stride, shorten, name)


def _add(shortcut: Tensor, x: Tensor, stride: int, shorten: _Shorten, name: str) -> Tensor:
    if stride > 1 or shortcut.shape[-1] != x.shape[-1]:
        shortcut = shorten(shortcut, x.shape[-1], stride, f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _projection(x: Tensor, channels: int, stride: int, name: str) -> Tensor:
    """Option B of section 3.3: a 1x1 convolution."""
    return _conv_bn(x, channels, 1, stride, name, f"{name}_bn")


def _subsample(x: Tensor, channels: int, stride: int, name: str) -> Tensor:
    """Option A of section 3.3: every second pixel, and zeros for the new channels (half on each side)."""
    x = layers.AveragePooling2D(1, stride, name=name)(x)
    zeros = (channels - x.shape[-1]) // 2
    # "channels_first" makes the layer pad the last two axes: here W by nothing and C by `zeros`.
    return layers.ZeroPadding2D(((0, 0), (zeros, zeros)), data_format="channels_first", name=f"{name}_pad")(x)


def _conv_bn(x: Tensor, filters: int, kernel: int, stride: int, conv: str, norm: str, dilation: int = 1) -> Tensor:
    x = convolution(x, filters, kernel, stride, dilation=dilation, initializer=fan_out_normal(), name=conv)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm)(x)

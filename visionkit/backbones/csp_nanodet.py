"""The trunk of NanoDet-g: cross-stage partial blocks (Wang et al. 2019, arXiv 1911.11929) of 3x3 convolutions.

Designed for chips with much computing power and slow memory: few layers, no depthwise convolutions
(github.com/RangiLyu/nanodet, config/legacy_v0.x_configs/nanodet-g.yml, Apache-2.0).
"""

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, convolution, fan_out_normal, images
from visionkit.layers.edge_padding import EdgePadding
from visionkit.types import Tensor

# Channels of a block's first convolution, residual units, stride, and the level, which has twice the channels.
BLOCKS = ((32, 1, 1, "C2"), (64, 2, 2, "C3"), (128, 2, 2, "C4"), (256, 3, 2, "C5"))
SLOPE = 0.1  # of LeakyReLU for negative values


def csp_nanodet(
    input_shape: InputShape = (None, None, 3), batch_norm: bool = True, name: str = "csp_nanodet"
) -> keras.Model:
    """Four cross-stage partial blocks, padded as in torch.

    Args:
        input_shape: (H, W, C); H and W may be None.
        batch_norm: batch normalisation after every convolution. False gives the convolutions a bias instead, as in the
            published weights, where the normalisation is folded into the kernels.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1": 32 channels, "C2": 64, "C3": 128, "C4": 256, "C5": 512}, Cn of stride
        2**n.
    """
    inputs, x = images(input_shape)

    def conv(x: Tensor, filters: int, name: str, stride: int = 1) -> Tensor:
        x = convolution(x, filters, 3, stride, name=name, use_bias=not batch_norm, initializer=fan_out_normal())
        if batch_norm:
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
        return layers.LeakyReLU(negative_slope=SLOPE, name=f"{name}_relu")(x)

    levels: dict[str, Tensor] = {"C1": conv(x, 32, "stem", 2)}  # [B, H/2, W/2, 32]
    x = EdgePadding(name="pool_pad")(levels["C1"])
    x = layers.MaxPooling2D(3, 2, name="pool")(x)  # [B, H/4, W/4, 32]
    for number, (filters, units, stride, level) in enumerate(BLOCKS, 1):
        shortcut = x = conv(x, filters, f"block{number}_in", stride)
        for unit in range(1, units + 1):
            half = conv(x, filters // 2, f"block{number}_unit{unit}_conv1")
            x = conv(half, filters // 2, f"block{number}_unit{unit}_conv2")
            x = layers.Concatenate(name=f"block{number}_unit{unit}")([x, half])  # `filters` channels again
        x = conv(x, filters, f"block{number}_out")
        x = levels[level] = layers.Concatenate(name=f"block{number}")([x, shortcut])
    return keras.Model(inputs, levels, name=name)

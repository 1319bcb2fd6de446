"""MobileNetV3 as SSDLite uses it (Howard et al. 2019, arXiv 1905.02244, section 6.3), with four levels on top."""

from typing import Any

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, depthwise_convolution
from visionkit.backbones.mobilenet_v2 import conv_norm
from visionkit.backbones.mobilenet_v3 import LARGE, SWISH, Row, batch_norm, mobilenet_v3

EXTRAS = (512, 256, 256, 128)  # channels of the levels on top
HALF = (127.5,) * 3  # images become -1..1
# Table 6: half the channels from C4 on, since 80 classes need fewer than 1000 do.
REDUCED: tuple[Row, ...] = (
    *LARGE[:12],
    (5, 672, 80, True, SWISH, 2),
    (5, 480, 80, True, SWISH, 1),
    (5, 480, 80, True, SWISH, 1),
)


def ssdlite_mobilenet_v3(input_shape: InputShape = (None, None, 3), name: str = "ssdlite_mobilenet_v3") -> keras.Model:
    """MobileNetV3 large with half the channels in its last stage.

    Args:
        input_shape: (H, W, C); H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C4": the expansion of the first block of the last stage, 672 channels, "C5":
        480, "C6": 512, "C7": 256, "C8": 256, "C9": 128}, Cn of stride 2**n.
    """
    trunk = mobilenet_v3(REDUCED, input_shape, mean=HALF, std=HALF)
    outputs: Any = trunk.output
    x = outputs["C5"]
    levels = {"C4": trunk.get_layer("block13_expand_relu").output, "C5": x}
    for number, channels in enumerate(EXTRAS, 6):
        extra = f"extra{number}"
        x = conv_norm(x, channels // 2, 1, 1, f"{extra}_reduce", batch_norm, "relu6", _normal())
        x = depthwise_convolution(x, 3, 2, initializer=_normal(), name=f"{extra}_depthwise")
        x = layers.Activation("relu6", name=f"{extra}_depthwise_relu")(batch_norm(name=f"{extra}_depthwise_bn")(x))
        x = levels[f"C{number}"] = conv_norm(x, channels, 1, 1, f"{extra}_expand", batch_norm, "relu6", _normal())
    return keras.Model(trunk.input, levels, name=name)


def _normal() -> Any:
    # A new one for each layer, because one initializer draws the same values every time.
    return keras.initializers.RandomNormal(stddev=0.03)

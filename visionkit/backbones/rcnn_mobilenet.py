"""MobileNetV3 as torchvision's Faster R-CNN uses it: with both ends of its last stage (arXiv 1905.02244, Table 1)."""

from typing import Any

import keras

from visionkit.backbones.blocks import InputShape
from visionkit.backbones.mobilenet_v3 import LARGE, mobilenet_v3


def rcnn_mobilenet_v3(input_shape: InputShape = (None, None, 3), name: str = "rcnn_mobilenet_v3") -> keras.Model:
    """MobileNetV3 large, with two maps of stride 32.

    Args:
        input_shape: (H, W, C); H and W may be None.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C1" .. "C4": as in `mobilenet_v3_large`, "C5": the first block of the last
        stage, 160 channels, "C5b": the last convolution, 960}.
    """
    # torchvision builds its detectors with torch's epsilon, not with that of MobileNetV3's own weights.
    trunk = mobilenet_v3(LARGE, input_shape, norm_epsilon=1e-5)
    levels: Any = trunk.output
    levels = levels | {"C5": trunk.get_layer("block13_project_bn").output, "C5b": levels["C5"]}
    return keras.Model(trunk.input, levels, name=name)

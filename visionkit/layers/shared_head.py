"""A head that is shared by all levels of a pyramid (RetinaNet, arXiv 1708.02002, section 4; FCOS, arXiv 1904.01355)."""

import math
from typing import Any

import keras
from keras import layers

from visionkit.types import Tensor

GROUPS = 32  # of group normalisation, as in its paper (arXiv 1803.08494)
PRIOR = 0.01  # the probability of every class before training (arXiv 1708.02002, section 4.1)


def tower(features: dict[str, Tensor], count: int, *, group_norm: bool, use_bias: bool, name: str) -> dict[str, Tensor]:
    """3x3 convolutions that keep the channels, each followed by a ReLU, the same on every level.

    Args:
        features: {"P3": `[B, h, w, C]`, ...}.
        count: how many convolutions.
        group_norm: group normalisation before each ReLU.
        use_bias: of the convolutions.
        name: of the layers, to which 1, 2, ... is appended.

    Returns:
        Maps of the same shapes.
    """
    for i in range(1, count + 1):
        channels = next(iter(features.values())).shape[-1]
        convolution = layers.Conv2D(
            channels, 3, padding="same", use_bias=use_bias, kernel_initializer=_normal(), name=f"{name}{i}"
        )
        features = {level: convolution(x) for level, x in features.items()}
        if group_norm:
            norm = layers.GroupNormalization(math.gcd(GROUPS, channels), epsilon=1e-5, name=f"{name}{i}_norm")
            features = {level: norm(x) for level, x in features.items()}
        features = {level: layers.ReLU(name=f"{name}{i}_relu_{level}")(x) for level, x in features.items()}
    return features


def rows(features: dict[str, Tensor], anchors: int, width: int, name: str, *, prior: bool = False) -> Tensor:
    """The last 3x3 convolution of a head, the same on every level: one row for each anchor.

    Args:
        features: {"P3": `[B, h, w, C]`, ...}.
        anchors: per cell.
        width: values of a row.
        name: of the convolution.
        prior: its bias begins where a sigmoid gives `PRIOR`. Without it the many places of background would drown out
            everything else in the first steps of a focal loss.

    Returns:
        float32 `[B, A, width]`, level by level and cell by cell.
    """
    bias: Any = keras.initializers.Constant(-math.log(1 / PRIOR - 1) if prior else 0.0)
    convolution = layers.Conv2D(
        anchors * width, 3, padding="same", kernel_initializer=_normal(), bias_initializer=bias, name=name
    )
    parts: list[Tensor] = []
    for level, x in features.items():
        parts.append(layers.Reshape((-1, width), name=f"{name}_{level}")(convolution(x)))  # [B, h * w * anchors, width]
    return layers.Concatenate(axis=1, dtype="float32", name=f"{name}_rows")(parts)


def _normal() -> Any:
    """The initial kernels of both papers; a new one for each layer, because one initializer repeats its values."""
    return keras.initializers.RandomNormal(stddev=0.01)

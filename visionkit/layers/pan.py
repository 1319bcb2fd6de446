"""The path-aggregation pyramid (Liu et al. 2018, arXiv 1803.01534, section 3.1) in NanoDet's form."""

import itertools

from keras import layers

from visionkit.layers.upsample import Interpolate
from visionkit.types import Tensor


def path_aggregation(features: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Merges a backbone's levels from coarse to fine, then from fine to coarse, without convolutions in between.

    Args:
        features: {"C3": `[B, H/8, W/8, ...]`, ...}, fine levels first, of static size.
        channels: channels of every output level.

    Returns:
        {"P3": `[B, H/8, W/8, channels]`, ...} with the same strides.
    """
    merged = {
        level[1:]: layers.Conv2D(channels, 1, kernel_initializer="glorot_uniform", name=f"lateral{level[1:]}")(feature)
        for level, feature in features.items()
    }
    numbers = list(merged)
    for order, direction in ((numbers[::-1], "down"), (numbers, "up")):
        for source, target in itertools.pairwise(order):
            size = merged[target].shape[1:3]
            resized = Interpolate(size, name=f"{direction}{source}_{target}")(merged[source])
            merged[target] = layers.Add(name=f"merge_{direction}{target}")([merged[target], resized])
    return {f"P{number}": feature for number, feature in merged.items()}

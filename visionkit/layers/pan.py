"""The path-aggregation pyramid (Liu et al. 2018, arXiv 1803.01534, section 3.1) as NanoDet has it."""

import itertools

from keras import layers

from visionkit.layers.upsample import Interpolate


def path_aggregation(features, channels):
    """Merges a backbone's levels from the top down, then from the bottom up, with no convolutions in between.

    Args:
        features: {"C3": `[B, H/8, W/8, ...]`, ...}, fine levels first, of static size.
        channels: of every output level.

    Returns:
        {"P3": `[B, H/8, W/8, channels]`, ...} for the same strides.
    """
    merged = {
        level[1:]: layers.Conv2D(channels, 1, kernel_initializer="glorot_uniform", name=f"lateral{level[1:]}")(feature)
        for level, feature in features.items()
    }
    numbers = list(merged)
    for order, what in ((numbers[::-1], "down"), (numbers, "up")):
        for source, target in itertools.pairwise(order):
            size = merged[target].shape[1:3]
            resized = Interpolate(size, name=f"{what}{source}_{target}")(merged[source])
            merged[target] = layers.Add(name=f"merge_{what}{target}")([merged[target], resized])
    return {f"P{number}": feature for number, feature in merged.items()}

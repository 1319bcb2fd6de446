"""What makes a picture have a content and a style (Gatys et al. 2016, "Image style transfer using CNNs", section 2).

Each loss is relative: the squared distance to a target over the target's own squared length. So 1 means "as far off as
an all-zero answer", a weight means the same for every network, level, painting and size, and the levels count alike
without weights of their own. The paper's losses are these times a constant for each level and target.
"""

from collections.abc import Sequence

import keras
from keras import ops

STYLE_LEVELS = ("C0", "C1", "C2", "C3")  # of VGG16: relu1_2, relu2_2, relu3_3, relu4_3, as Johnson et al. (2016)
CONTENT_LEVELS = ("C2",)  # relu3_3


def take_features(backbone: keras.Model, levels: Sequence[str] = STYLE_LEVELS + CONTENT_LEVELS) -> keras.Model:
    """The part of a backbone that computes `levels`, FROZEN, and the backbone's layers with it.

    Returns:
        images 0..255 `[B, H, W, 3]` -> {"C0": `[B, H, W, 64]`, ...}.

    Raises:
        ValueError: the backbone has no such level.
    """
    if missing := set(levels) - set(backbone.output):
        raise ValueError(f"backbone {backbone.name!r} has no level {sorted(missing)}; it has {sorted(backbone.output)}")
    features = keras.Model(backbone.input, {level: backbone.output[level] for level in sorted(set(levels))})
    features.trainable = False
    features.jit_compile = (
        keras.backend.backend() == "jax"
    )  # XLA over convolutions compiles long and runs slower on CPU
    return features


def gram(features, mask=None):
    """The mean product of every two channels over all places: which features come together, not where.

    Args:
        features: `[B, h, w, C]`.
        mask: float `[B, h, w, 1]`, how much each place counts; None counts all alike.

    Returns:
        `[B, C, C]`. It is a mean, so it does not grow with the picture's size as the paper's does.
    """
    channels, places = features.shape[-1], ops.shape(features)[1] * ops.shape(features)[2]
    flat = ops.reshape(features, (-1, places, channels))  # [B, h*w, C]
    if mask is None:
        return ops.matmul(ops.transpose(flat, (0, 2, 1)), flat) / ops.cast(places, flat.dtype)
    weights = ops.reshape(mask, (-1, places, 1))
    return ops.matmul(ops.transpose(flat * weights, (0, 2, 1)), flat) / (ops.sum(weights, axis=1, keepdims=True) + 1e-6)


def grams(features: dict, levels: Sequence[str] = STYLE_LEVELS, masks: dict | None = None) -> dict:
    """{level: its Gram matrices `[B, C, C]`}; `masks` are {level: `[B, h, w, 1]`}."""
    return {level: gram(features[level], masks and masks[level]) for level in levels}


def style_loss(found: dict, target: dict):
    """How far Gram matrices `found` are from `target`, both {level: `[B, C, C]`}: `[B]`, the mean over the levels."""
    return _mean([_relative(found[level], target[level]) for level in target])


def content_loss(found: dict, target: dict):
    """How far features are from `target`'s, for target's levels: {level: `[B, h, w, C]`} twice -> `[B]`."""
    return _mean([_relative(found[level], target[level]) for level in target])


def total_variation(images):
    """The mean squared difference of neighbouring pixels, images 0..255 `[B, H, W, C]` -> `[B]`, 1 = black to white."""
    down, across = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
    return (ops.mean(down * down, axis=(1, 2, 3)) + ops.mean(across * across, axis=(1, 2, 3))) / 255.0**2


def _relative(found, target):
    axes = tuple(range(1, len(target.shape)))
    distance = ops.sum((found - target) ** 2, axis=axes)
    return distance / (ops.sum(target * target, axis=axes) + 1e-12)


def _mean(losses):
    return sum(losses) / len(losses)

"""The losses of content and style (Gatys et al. 2016, "Image style transfer using CNNs", section 2).

Each loss is relative: the squared distance to a target over the target's own squared length. So 1 means "as far off as
an all-zero answer", a weight means the same for every network, level, painting and size, and all levels count equally
without weights of their own. The paper's losses are these times a constant for each level and target.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import keras
from keras import ops

from visionkit.types import Tensor

STYLE_LEVELS = ("C0", "C1", "C2", "C3")  # of VGG16: relu1_2, relu2_2, relu3_3, relu4_3, as Johnson et al. (2016)
CONTENT_LEVELS = ("C2",)  # relu3_3
AXES = [[1 / 3, 1.0, -0.5], [1 / 3, 0.0, 1.0], [1 / 3, -1.0, -0.5]]  # RGB -> lightness, red - blue, green - others
FLAT = 4.0  # levels of 255: a photo whose colours deviate less than this is stretched less


def take_features(backbone: keras.Model, levels: Sequence[str] = STYLE_LEVELS + CONTENT_LEVELS) -> keras.Model:
    """The part of a backbone that computes `levels`, frozen. The layers are shared: the backbone is frozen with it.

    Args:
        backbone: a model with a dict output.
        levels: names of its outputs; by default all that the losses need.

    Returns:
        images 0..255 `[B, H, W, 3]` -> {"C0": `[B, H, W, 64]`, ...}.

    Raises:
        ValueError: the backbone has no such level.
    """
    outputs = cast(dict[str, Tensor], backbone.output)
    if missing := set(levels) - set(outputs):
        raise ValueError(f"backbone {backbone.name!r} has no level {sorted(missing)}; it has {sorted(outputs)}")
    features = keras.Model(backbone.input, {level: outputs[level] for level in sorted(set(levels))})
    features.trainable = False
    # For convolutions on a CPU, XLA compiles for long and runs slower; but without it JAX compiles nothing.
    features.jit_compile = keras.backend.backend() == "jax"
    return features


def with_constants(features: keras.Model) -> Callable[[Tensor], dict[str, Tensor]]:
    """Frozen `features` as a function of images, with its weights as constants of the surrounding graph.

    On a CPU, TensorFlow rearranges constants for its convolutions once, but variables at every call.
    """
    weights = [ops.convert_to_numpy(weight) for weight in features.non_trainable_variables]

    def see(images: Tensor) -> dict[str, Tensor]:
        return features.stateless_call([], [ops.convert_to_tensor(weight) for weight in weights], images)[0]

    return see


def gram(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """The Gram matrix: the mean product of every two channels over all places. It tells which features occur together.

    Args:
        features: `[B, h, w, C]`, of any precision.
        mask: float `[B, h, w, 1]`, how much each place counts; None means equally.

    Returns:
        `[B, C, C]`, float32 or better. Being a mean, it does not grow with the size of the picture as in the paper.
    """
    kind = keras.backend.standardize_dtype(features.dtype)
    precise = "float32" if kind in ("float16", "bfloat16") else kind
    if kind == "float16" or mask is not None:  # the sums overflow float16, but not bfloat16
        features = ops.cast(features, precise)
    channels = features.shape[-1]
    places = ops.shape(features)[1] * ops.shape(features)[2]
    flat = ops.reshape(features, (-1, places, channels))  # [B, h*w, C]
    if mask is None:
        products = ops.matmul(ops.transpose(flat, (0, 2, 1)), flat)
        return ops.cast(products, precise) / ops.cast(places, precise)
    weights = ops.reshape(mask, (-1, places, 1))
    return ops.matmul(ops.transpose(flat * weights, (0, 2, 1)), flat) / (ops.sum(weights, axis=1, keepdims=True) + 1e-6)


def grams(
    features: Mapping[str, Tensor],
    levels: Sequence[str] = STYLE_LEVELS,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """{level: its Gram matrices `[B, C, C]`}; `masks` are {level: `[B, h, w, 1]`}."""
    return {level: gram(features[level], None if masks is None else masks[level]) for level in levels}


def style_loss(matrices: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """How far Gram matrices are from those of a style, both {level: `[B, C, C]`}: `[B]`, the mean over the levels."""
    return _mean([_relative(matrices[level], target[level]) for level in target])


def content_loss(features: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    """How far features are from those of a photo, both {level: `[B, h, w, C]`}: `[B]`, the mean over the levels."""
    return _mean([_relative(features[level], target[level]) for level in target])


def palette(images: Tensor) -> Tensor:
    """Mean and spread of the colours of images 0..255 `[B, H, W, C]`.

    Returns:
        `[B, 2, 1, C]`: mean and standard deviation over places; for C = 3 of lightness, red to blue, green to purple.
    """
    colours = _colours(images)
    mean = ops.mean(colours, axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
    deviation = ops.std(colours, axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
    return ops.concatenate([mean, deviation], axis=1)


def palette_loss(images: Tensor, content: Tensor, target: Tensor) -> Tensor:
    """How far the colours of `images` are from those of `content`, once these are adapted to the palette `target`.

    Each colour channel of the content is shifted and stretched until its mean and deviation are the target's (Reinhard
    et al. 2001, "Color transfer between images"); both sides are blurred before they are compared. The loss is needed
    because a VGG hardly sees which of two places is lighter, or how light the whole is. An optimisation that starts
    from the photo keeps that; a network must be told.

    Args:
        images, content: 0..255 `[B, H, W, C]`.
        target: `[B, 2, 1, C]`, see `palette`.

    Returns:
        `[B]`: the mean squared distance over the target's variance.
    """
    colours, wanted, own = _colours(images, blur=16), _colours(content, blur=16), palette(content)
    mean, deviation = target[:, :1], target[:, 1:]  # [B, 1, 1, C]
    own_mean, own_deviation = own[:, :1], own[:, 1:]  # [B, 1, 1, C]
    wanted = mean + deviation * (wanted - own_mean) / ops.sqrt(own_deviation**2 + FLAT**2)
    distance = ops.mean(ops.sum((colours - wanted) ** 2, axis=-1), axis=(1, 2))
    return distance / (ops.sum(deviation**2, axis=(1, 2, 3)) + FLAT**2)


def total_variation(images: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels, 1 for black next to white.

    Args:
        images: 0..255 `[B, H, W, C]`.

    Returns:
        `[B]`.
    """
    down, across = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
    return (ops.mean(down * down, axis=(1, 2, 3)) + ops.mean(across * across, axis=(1, 2, 3))) / 255.0**2


def _colours(images: Tensor, blur: int | None = None) -> Tensor:
    """RGB as lightness, red to blue, green to purple, which are nearly independent in photos; other images unchanged.

    Args:
        images: 0..255 `[B, H, W, C]`.
        blur: side in pixels of squares that are averaged, each overlapping its neighbours by half.

    Returns:
        `[B, H, W, C]`, or `[B, 2H/blur, 2W/blur, C]`.
    """
    if images.shape[-1] == 3:
        images = ops.matmul(images, ops.convert_to_tensor(AXES, images.dtype))
    if blur is None:
        return images
    return ops.average_pool(images, blur, blur // 2, "same", "channels_last")


def _relative(values: Tensor, target: Tensor) -> Tensor:
    """Squared distance over the target's squared length, over all axes but the first: `[B]`."""
    axes = tuple(range(1, len(target.shape)))
    distance = ops.sum((values - target) ** 2, axis=axes)
    return distance / (ops.sum(target * target, axis=axes) + 1e-12)


def _mean(losses: Sequence[Tensor]) -> Tensor:
    return sum(losses) / len(losses)

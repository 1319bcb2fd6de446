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
AXES = [[1 / 3, 1.0, -0.5], [1 / 3, 0.0, 1.0], [1 / 3, -1.0, -0.5]]  # RGB -> lightness, red - blue, green - both
FLAT = 4.0  # levels of 255: a photo whose colours deviate less is not stretched as far


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


def with_constants(features: keras.Model):
    """FROZEN `features` as a function of images whose weights are constants of the graph that it becomes part of.

    TensorFlow on a CPU arranges constants once, but variables anew at every call, for each of its convolutions.
    """
    weights = [ops.convert_to_numpy(weight) for weight in features.non_trainable_variables]

    def see(images):
        return features.stateless_call([], [ops.convert_to_tensor(weight) for weight in weights], images)[0]

    return see


def gram(features, mask=None):
    """The mean product of every two channels over all places: which features come together, not where.

    Args:
        features: `[B, h, w, C]`, of any precision.
        mask: float `[B, h, w, 1]`, how much each place counts; None counts all alike.

    Returns:
        `[B, C, C]`, float32 or better. It is a mean, so it does not grow with the picture's size as the paper's does.
    """
    kind = keras.backend.standardize_dtype(features.dtype)
    precise = "float32" if kind in ("float16", "bfloat16") else kind
    if kind == "float16" or mask is not None:  # float16's largest number is below the sums, bfloat16's is not
        features = ops.cast(features, precise)
    channels, places = features.shape[-1], ops.shape(features)[1] * ops.shape(features)[2]
    flat = ops.reshape(features, (-1, places, channels))  # [B, h*w, C]
    if mask is None:
        products = ops.matmul(ops.transpose(flat, (0, 2, 1)), flat)
        return ops.cast(products, precise) / ops.cast(places, precise)
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


def palette(images):
    """The colours that images 0..255 `[B, H, W, C]` are made of.

    Returns:
        `[B, 2, 1, C]`: mean and standard deviation over places; for C = 3 of lightness, red to blue, green to purple.
    """
    colours = _colours(images)
    return ops.concatenate([f(colours, axis=(1, 2), keepdims=True) for f in (ops.mean, ops.std)], axis=1)


def palette_loss(images, content, target):
    """How far the blurred colours of `images` are from those of `content`, both 0..255 `[B, H, W, C]`, in the palette
    `target`, `[B, 2, 1, C]`: each colour moved and stretched until its mean and deviation are the target's (Reinhard
    et al. 2001, "Color transfer between images").

    A VGG hardly sees which of two places is lighter, nor how light the whole is. An optimisation that begins at the
    photo keeps that; a network must be told.

    Returns:
        `[B]`: the mean squared distance over the target's variance.
    """
    found, wanted, own = _colours(images, blur=16), _colours(content, blur=16), palette(content)
    mean, deviation, own_mean, own_deviation = target[:, :1], target[:, 1:], own[:, :1], own[:, 1:]  # [B, 1, 1, C]
    wanted = mean + deviation * (wanted - own_mean) / ops.sqrt(own_deviation**2 + FLAT**2)
    distance = ops.mean(ops.sum((found - wanted) ** 2, axis=-1), axis=(1, 2))
    return distance / (ops.sum(deviation**2, axis=(1, 2, 3)) + FLAT**2)


def total_variation(images):
    """The mean squared difference of neighbouring pixels, images 0..255 `[B, H, W, C]` -> `[B]`, 1 = black to white."""
    down, across = images[:, 1:] - images[:, :-1], images[:, :, 1:] - images[:, :, :-1]
    return (ops.mean(down * down, axis=(1, 2, 3)) + ops.mean(across * across, axis=(1, 2, 3))) / 255.0**2


def _colours(images, blur=None):
    """RGB as lightness, red to blue, green to purple, which photos mix freely; means of `blur` pixels, each half over
    the one before: `[B, H, W, C]` -> the same, or `[B, 2H/blur, 2W/blur, C]`."""
    if images.shape[-1] == 3:
        images = ops.matmul(images, ops.convert_to_tensor(AXES, images.dtype))
    return images if blur is None else ops.average_pool(images, blur, blur // 2, "same", "channels_last")


def _relative(found, target):
    axes = tuple(range(1, len(target.shape)))
    distance = ops.sum((found - target) ** 2, axis=axes)
    return distance / (ops.sum(target * target, axis=axes) + 1e-12)


def _mean(losses):
    return sum(losses) / len(losses)

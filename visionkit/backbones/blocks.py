"""What several backbones share: torch-style convolution and pooling, normalisation, and freezing by level."""

import keras
from keras import layers

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB 0..255: torchvision's 0.485, 0.456, 0.406
IMAGENET_STD = (58.395, 57.12, 57.375)  # 0.229, 0.224, 0.225


def images(input_shape, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Returns the input `[B, H, W, C]` (0..255) and the normalised images (x - mean) / std.

    The layer is called `normalize`, and the loader of weights sets it to what the weights were trained with. With
    other than `len(mean)` channels, every channel gets the average of `mean` and of `std`.
    """
    inputs = keras.Input(input_shape, name="images")
    if len(mean) != input_shape[-1]:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    scale = [1 / s for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    # float32 whatever the precision of the rest: 0..255 does not fit half precision without loss.
    return inputs, layers.Rescaling(scale, offset, dtype="float32", name="normalize")(inputs)


def fan_out_normal():
    """He et al. 2015 (arXiv 1502.01852), equation 14: the first weights of ResNet's and EfficientNet's convolutions.

    A new initializer for each layer: what one draws once, it draws every time.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def convolution(
    x, filters, kernel_size, strides=1, *, name, dilation=1, use_bias=False, padding=None, initializer="he_normal"
):
    """A convolution padded as torch does: the same number of zeros on both sides, also at stride 2.

    Args:
        dilation: cells from one of the kernel's rows to the next.
        padding: zeros on each side; by default `dilation * (kernel_size // 2)`.
    """
    padding = dilation * (kernel_size // 2) if padding is None else padding
    same = strides == 1 and 2 * padding == dilation * (kernel_size - 1)
    if padding and not same:
        x = layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same" if same else "valid",
        dilation_rate=dilation,
        use_bias=use_bias,
        kernel_initializer=initializer,
        name=name,
    )(x)


def max_pool(x, size, strides, *, name, padding=0, ceil=False):
    """Max pooling as torch does. `x` must not be negative (pool behind the ReLU): the padding is zeros.

    Args:
        padding: zeros on each side.
        ceil: torch's `ceil_mode`: a last window that hangs over the edge counts too (for `strides == 2`).
    """
    if padding or ceil:
        sides = (padding, padding + ceil)
        x = layers.ZeroPadding2D((sides, sides), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides, name=name)(x)


def freeze(backbone: keras.Model, up_to: str | None) -> None:
    """Freezes every layer that level `up_to` ("C3") is computed from, and unfreezes the others.

    Frozen batch normalisation also stops updating its statistics and uses them in training. None freezes nothing, and
    so does a level below the backbone's first, such as C1 of AlexNet.

    Raises:
        ValueError: the backbone has no such level.
    """
    if up_to is not None and "C0" <= up_to < min(backbone.output):
        up_to = None
    if up_to is not None and up_to not in backbone.output:
        raise ValueError(f"backbone {backbone.name!r} has no level {up_to!r}; it has {sorted(backbone.output)}")
    below = keras.Model(backbone.input, backbone.output[up_to]).layers if up_to is not None else []
    frozen = {layer.name for layer in below}
    for layer in backbone.layers:  # one by one: `backbone.trainable = True` does nothing where it was True already
        layer.trainable = layer.name not in frozen


def freeze_batch_norm(backbone: keras.Model) -> None:
    """Runs every batch normalisation with its pretrained statistics while the convolutions go on learning.

    What detectors do, whose few images a step say little of an average (torchvision's FrozenBatchNorm2d): scale and
    offset stay as they are too. Call it after `freeze`, which decides over every layer anew.
    """
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False

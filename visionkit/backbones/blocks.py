"""What several backbones share: torch-style convolution and pooling, normalisation, and freezing by level."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
from keras import layers

from visionkit.types import Tensor

InputShape: TypeAlias = tuple[int | None, int | None, int]  # (H, W, C)

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # of RGB 0..255: torchvision's 0.485, 0.456, 0.406
IMAGENET_STD = (58.395, 57.12, 57.375)  # 0.229, 0.224, 0.225


def images(
    input_shape: InputShape, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> tuple[Tensor, Tensor]:
    """Returns the input `[B, H, W, C]` (0..255) and the normalised images (x - mean) / std.

    The layer is called `normalize`; the loader of weights sets it to the normalisation that they were trained with. If
    the number of channels is not `len(mean)`, every channel gets the average of `mean` and of `std`.
    """
    inputs = keras.Input(input_shape, name="images")
    if len(mean) != input_shape[-1]:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    # Any, because Keras' source makes a type checker expect one number.
    scale: Any = [1 / s for s in std]
    offset: Any = [-m / s for m, s in zip(mean, std, strict=True)]
    # float32 whatever the precision of the rest: 0..255 loses digits in half precision.
    return inputs, layers.Rescaling(scale, offset, dtype="float32", name="normalize")(inputs)


def fan_out_normal() -> Any:
    """He et al. 2015 (arXiv 1502.01852), equation 14: the initial weights of ResNet's and EfficientNet's convolutions.

    Every layer needs its own initializer, because one initializer draws the same values every time.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def convolution(
    x: Tensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    name: str,
    dilation: int = 1,
    use_bias: bool = False,
    padding: int | None = None,
    initializer: Any = "he_normal",
) -> Tensor:
    """A convolution padded as in torch: with the same number of zeros on both sides, also at stride 2.

    Args:
        dilation: cells between neighbouring rows of the kernel.
        padding: zeros on each side; by default `dilation * (kernel_size // 2)`.
        initializer: of the kernel, a Keras initializer or the name of one.
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


def depthwise_convolution(
    x: Tensor,
    kernel_size: int,
    strides: int = 1,
    *,
    name: str,
    dilation: int = 1,
    use_bias: bool = False,
    initializer: Any = "he_normal",
) -> Tensor:
    """A convolution of each channel alone, padded as in torch; see `convolution`."""
    if strides > 1:
        x = layers.ZeroPadding2D(dilation * (kernel_size // 2), name=f"{name}_pad")(x)
    return layers.DepthwiseConv2D(
        kernel_size,
        strides,
        padding="same" if strides == 1 else "valid",
        dilation_rate=dilation,
        use_bias=use_bias,
        depthwise_initializer=initializer,
        name=name,
    )(x)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is at most 10 % smaller than `channels`, as the MobileNets and EfficientNet do."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def max_pool(x: Tensor, size: int, strides: int, *, name: str, padding: int = 0, ceil: bool = False) -> Tensor:
    """Max pooling as in torch. `x` must not be negative (pool after the ReLU), because the padding is zeros.

    Args:
        padding: zeros on each side.
        ceil: torch's `ceil_mode`: a last window that reaches over the edge counts too (for `strides == 2`).
    """
    if padding or ceil:
        sides = (padding, padding + 1 if ceil else padding)
        x = layers.ZeroPadding2D((sides, sides), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides, name=name)(x)


def freeze(backbone: keras.Model, up_to: str | None) -> None:
    """Freezes every layer that level `up_to` ("C3") is computed from, and unfreezes the others.

    Models within the backbone are looked into, such as one of keras.applications behind a `Rescaling` layer. Frozen
    batch normalisation also stops updating its statistics and uses them in training. None freezes nothing, and so does
    a level below the backbone's first, such as C1 of AlexNet.

    Raises:
        ValueError: the backbone has no such level, or is not a functional model, or hides the layers in a part that
            gives several outputs and is not a functional model.
    """
    frozen = _layers_behind(backbone, up_to) if up_to is not None else []
    for layer in backbone._flatten_layers():  # one by one: on TensorFlow, setting True where it was True does nothing
        layer.trainable = True
    for layer in frozen:
        layer.trainable = False


def freeze_batch_norm(backbone: keras.Model) -> None:
    """Makes every batch normalisation keep its pretrained statistics while the convolutions are trained.

    Detectors do this because the few images of a step give poor averages (torchvision's FrozenBatchNorm2d). Scale and
    offset are frozen too. Models within the backbone are looked into. Call it after `freeze`, which sets every layer
    anew.
    """
    for layer in backbone._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def _layers_behind(backbone: keras.Model, level: str) -> list[layers.Layer]:
    """The layers that a level of the backbone is computed from, also those within models within it."""
    outputs: Any = backbone.output if _is_graph(backbone) else None  # None: built by a `call` of its own
    if not isinstance(outputs, dict):
        found = "a model with a call() of its own" if outputs is None else f"a model that returns {outputs}"
        raise ValueError(
            f"backbone {backbone.name!r} is {found}, so level {level!r} cannot be frozen; "
            f'give a functional model, keras.Model(images, {{"{level}": features, ...}})'
        )
    if "C0" <= level < min(outputs):
        return []
    if level not in outputs:
        raise ValueError(f"backbone {backbone.name!r} has no level {level!r}; it has {sorted(outputs)}")
    behind: list[layers.Layer] = []
    todo, seen = [outputs[level]], set()
    while todo:
        part, call, output = todo.pop()._keras_history  # which output of which call of which layer the tensor is
        if (id(part), call, output) in seen:
            continue
        seen.add((id(part), call, output))
        todo += part._inbound_nodes[call].input_tensors
        if _is_graph(part):
            todo.append(part.outputs[output])
        elif isinstance(part, layers.Layer):
            if part.weights and len(part._inbound_nodes[call].output_tensors) > 1:
                raise ValueError(
                    f"backbone {backbone.name!r}: which layers of {part.name!r} level {level!r} is computed from "
                    f"cannot be told, because {type(part).__name__} is not a functional model; "
                    "set their `trainable` yourself"
                )
            behind.append(part)
    return behind


def _is_graph(part: Any) -> bool:
    """Whether `part` is a functional or sequential model, whose layers are known."""
    return isinstance(part, keras.Model) and hasattr(part, "outputs")

"""Networks of dense layers: the multilayer perceptron (Rumelhart, Hinton and Williams 1986), and softmax regression."""

from collections.abc import Sequence

import keras
from keras import layers

from visionkit.backbones.blocks import images


def mlp(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    widths: Sequence[int] = (256,),
    activation: str = "relu",
    dropout: float = 0.0,
    name: str = "mlp",
) -> keras.Model:
    """Hidden dense layers over all pixels of an image.

    Args:
        input_shape: (H, W, C); the dense layers need H and W.
        widths: neurons of each hidden layer, from the image upwards.
        activation: of the hidden layers; the course's notes use "sigmoid".
        dropout: probability after each hidden layer.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"features": `[B, widths[-1]]`}. There are no levels because there is no stride.
    """
    inputs, x = images(input_shape, mean=(0.0,), std=(255.0,))
    x = layers.Flatten(name="flatten")(x)  # [B, H*W*C]
    for i, width in enumerate(widths, 1):
        x = layers.Dense(width, activation=activation, name=f"hidden{i}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return keras.Model(inputs, {"features": x}, name=name)


def softmax_regression(
    input_shape: tuple[int, int, int] = (28, 28, 1), name: str = "softmax_regression"
) -> keras.Model:
    """No hidden layer: with it, `MODELS["classifier"]` is one dense layer from pixels to classes.

    Args:
        input_shape: (H, W, C).

    Returns:
        images 0..255 `[B, H, W, C]` -> {"features": the pixels, `[B, H * W * C]`}.
    """
    return mlp(input_shape, widths=(), name=name)

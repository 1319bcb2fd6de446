"""Networks of dense layers: the multilayer perceptron, and softmax regression, which has no hidden layer."""

import keras
from keras import layers

from visionkit.backbones.blocks import images


def mlp(input_shape=(28, 28, 1), widths=(256,), activation="relu", dropout=0.0, name="mlp"):
    """Hidden dense layers over all pixels of an image.

    Args:
        input_shape: (H, W, C); the dense layers need H and W.
        widths: neurons of each hidden layer, from the image upwards.
        activation: of the hidden layers; the course's notes use "sigmoid".
        dropout: probability behind each hidden layer.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"features": `[B, widths[-1]]`}. It has no levels: nothing in it has a stride.
    """
    inputs, x = images(input_shape, mean=(0.0,), std=(255.0,))
    x = layers.Flatten(name="flatten")(x)  # [B, H*W*C]
    for i, width in enumerate(widths, 1):
        x = layers.Dense(width, activation=activation, name=f"hidden{i}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return keras.Model(inputs, {"features": x}, name=name)


def softmax_regression(input_shape=(28, 28, 1), name="softmax_regression"):
    """No hidden layer: `MODELS["classifier"]` on it is one dense layer from pixels to classes."""
    return mlp(input_shape, widths=(), name=name)

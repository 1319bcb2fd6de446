"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B)."""

import keras
from keras import layers

from visionkit.backbones.blocks import InputShape, images


def lenet(
    input_shape: InputShape = (28, 28, 1), activation: str = "sigmoid", padding: int = 2, name: str = "lenet"
) -> keras.Model:
    """Two 5x5 convolutions, each followed by average pooling, and dense layers of 120 and 84.

    Args:
        input_shape: (H, W, C), at least 13 pixels. For other sizes than the paper's the last map is averaged to 5x5
            before the dense layers.
        activation: "sigmoid" as in the course; the paper uses a scaled "tanh".
        padding: zeros around the image: 2 gives a 28x28 digit the paper's 32x32.

    Returns:
        images 0..255 `[B, H, W, C]` -> {"C0": `[B, H, W, 6]`, "C1": `[B, H/2, W/2, 16]`, "C2": `[B, H/4, W/4, 16]`,
        "features": `[B, 84]`}.
    """
    inputs, x = images(input_shape, mean=(127.5,), std=(127.5,))
    x = layers.ZeroPadding2D(padding, name="pad")(x)
    c0 = layers.Conv2D(6, 5, activation=activation, name="conv1")(x)  # [B, 28, 28, 6] for a digit
    x = layers.AveragePooling2D(2, name="pool1")(c0)  # [B, 14, 14, 6]
    c1 = layers.Conv2D(16, 5, activation=activation, name="conv2")(x)  # [B, 10, 10, 16]
    c2 = layers.AveragePooling2D(2, name="pool2")(c1)  # [B, 5, 5, 16]
    x = layers.Flatten(name="flatten")(layers.AdaptiveAveragePooling2D((5, 5), name="pool")(c2))  # [B, 400]
    x = layers.Dense(120, activation=activation, name="fc1")(x)
    x = layers.Dense(84, activation=activation, name="fc2")(x)
    return keras.Model(inputs, {"C0": c0, "C1": c1, "C2": c2, "features": x}, name=name)

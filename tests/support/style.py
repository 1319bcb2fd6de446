"""A drawn network of style features, and pictures for it."""

import keras
import numpy as np
from PIL import Image

from visionkit.style import losses
from visionkit.style.canvas import Canvas, Weights, gradient_of


def tiny_features(seed=0):
    """A drawn network of three levels with the names and strides of VGG's."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, None, 3))
    x, levels = keras.layers.Rescaling(1 / 127.5, -1.0)(inputs), {}
    for n in range(4):
        x = keras.layers.Conv2D(6, 3, strides=1 + (n > 0), padding="same", activation="softplus")(x)
        levels[f"C{n}"] = x
    return losses.take_features(keras.Model(inputs, levels))


def photo(size=(40, 60), seed=0):
    """Large soft spots."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def stripes(size=(48, 48)):
    image = np.zeros((*size, 3), np.uint8)
    image[:, ::4] = image[:, 1::4] = (250, 200, 20)
    return image


def one_gradient(weights):
    features = tiny_features()
    features.set_weights(weights)
    start = photo((24, 20)).astype(np.float32)
    mask = np.linspace(0, 1, 24 * 20, dtype=np.float32).reshape(24, 20, 1)
    canvas = Canvas(features, start[::-1].copy(), start, [stripes((16, 16))], [1.0], Weights(palette=3.0), mask)
    return gradient_of(canvas)(canvas.paint())

"""A segmenter without weights: it reads the class of a pixel from its red value, 100 a class."""

import keras
import numpy as np


class Painter:
    """Stands where a Predictor expects a Task."""

    image_size, resize, class_names, task = (48, 64), "letterbox", ["a", "b", "c"], "segment"

    def serving(self):
        images = keras.Input((*self.image_size, 3))
        near = [keras.ops.exp(-(((images[..., 0] - 100.0 * k) / 30.0) ** 2)) for k in range(3)]
        return keras.Model(images, {"probabilities": keras.ops.stack(near, axis=-1)})


def painted(classes):
    """uint8 `[H, W, 3]` that Painter reads as `classes` `[H, W]`."""
    image = np.zeros((*classes.shape, 3), np.uint8)
    image[..., 0] = classes * 100
    return image

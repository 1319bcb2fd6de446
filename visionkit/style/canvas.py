"""The picture as the one trainable weight of a Keras model, and its gradient on any backend."""

from dataclasses import dataclass, fields

import keras
import numpy as np
from keras import ops

from visionkit.style.losses import (
    CONTENT_LEVELS,
    STYLE_LEVELS,
    content_loss,
    grams,
    palette,
    palette_loss,
    style_loss,
    total_variation,
)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What counts how much; see `losses` for the units."""

    content: float = 1.0
    style: float = 20.0
    smooth: float = 0.5
    palette: float = 0.0  # an optimisation begins at the photo and keeps its colours; a network must be told to


LOSSES = tuple(field.name for field in fields(Weights))


class Canvas(keras.Model):
    """A picture, and how far it is from a content and a style.

    Args:
        features: of `losses.take_features`.
        start: float32 `[H, W, C]`, 0..255, what is on the canvas at first; C is 3 (RGB) or 1 (brightness).
        content: float32 `[H, W, C]`.
        styles: paintings, `[h, w, C]` 0..255; they need not have one size.
        shares: how much of each of them, summing to 1.
        weights: of the losses.
        mask: float32 `[H, W, 1]` 0..1, or None: where there is paint. Elsewhere the content shows, and the style is
            not measured.
    """

    def __init__(self, features, start, content, styles, shares, weights: Weights, mask=None):
        super().__init__()
        self.features, self.weigh = features, weights
        self.image = self.add_weight(shape=(1, *start.shape), initializer="zeros", constraint=_levels, name="image")
        self.put(start)
        self.content, self.mask = ops.convert_to_tensor(content[None]), None
        if mask is not None:
            self.mask = ops.convert_to_tensor(mask[None])
            shown = features.compute_output_shape((1, *content.shape[:2], 3))
            self.masks = {
                level: ops.image.resize(self.mask, shown[level][1:3], antialias=True, data_format="channels_last")
                for level in STYLE_LEVELS
            }
        seen = self._see(content)
        self.target_content = {level: ops.convert_to_tensor(seen[level]) for level in CONTENT_LEVELS}
        self.target_style, self.target_palette = dict.fromkeys(STYLE_LEVELS, 0.0), 0.0
        for style, share in zip(styles, shares, strict=True):
            self.target_palette = self.target_palette + float(share) * palette(np.asarray(style, content.dtype)[None])
            for level, found in grams(self._see(style)).items():
                self.target_style[level] = self.target_style[level] + float(share) * found
        self.built = True
        self.trackers = {name: keras.metrics.Mean(name=name) for name in LOSSES}

    def _see(self, image):
        return self.features.predict_on_batch(_rgb(np.asarray(image, np.float32)[None]))

    def put(self, image: np.ndarray) -> None:
        """Replaces what is on the canvas: float `[H, W, C]` or flat."""
        self.image.assign(np.asarray(image, self.image.dtype).reshape(self.image.shape))

    def paint(self) -> np.ndarray:
        """What is on the canvas, float64 and flat; where a mask is 0 it is not seen."""
        return ops.convert_to_numpy(self.image).astype(np.float64).ravel()

    def picture(self) -> np.ndarray:
        """What is seen: float32 `[H, W, C]`, 0..255."""
        return np.asarray(ops.convert_to_numpy(self._composed()))[0]

    def _composed(self):
        image = ops.convert_to_tensor(self.image)
        return image if self.mask is None else self.content + self.mask * (image - self.content)

    def call(self, _):
        """{level: features of the picture}; what is put in does not count."""
        return self.features(_rgb(self._composed()))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        masks = None if self.mask is None else self.masks
        losses = {
            "content": content_loss(y_pred, self.target_content)[0],
            "style": style_loss(grams(y_pred, STYLE_LEVELS, masks), self.target_style)[0],
            "smooth": total_variation(self._composed())[0],
            "palette": palette_loss(self._composed(), self.content, self.target_palette)[0],
        }
        for name, value in losses.items():
            self.trackers[name].update_state(value)
        return sum(getattr(self.weigh, name) * value for name, value in losses.items())

    def step(self) -> dict[str, float]:
        """One step of the compiled optimizer: the losses BEFORE it: "loss", the sum, and those of `LOSSES`."""
        self.reset_metrics()
        found = self.train_on_batch(np.zeros((1, 1), np.float32), return_dict=True)
        return {name: float(found[name]) for name in ("loss", *self.trackers)}

    def measure(self) -> dict[str, float]:
        """The losses as they stand, without a step."""
        self.reset_metrics()
        found = self.test_on_batch(np.zeros((1, 1), np.float32), return_dict=True)
        return {name: float(found[name]) for name in ("loss", *self.trackers)}


class WriteDown(keras.optimizers.Optimizer):
    """Changes nothing and keeps the gradient: Keras' way, on every backend, to ask for one."""

    def __init__(self):
        super().__init__(learning_rate=1.0)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.gradients = self.add_optimizer_variables(variables, "gradient")

    def update_step(self, gradient, variable, learning_rate):
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)


def gradient_of(canvas: Canvas):
    """Compiles `canvas` for gradients.

    Returns:
        image float `[H, W, C]` or flat -> (the losses of `Canvas.step`, gradient float64, flat).
    """
    keep = WriteDown()
    canvas.compile(optimizer=keep, jit_compile=keras.backend.backend() == "jax")

    def evaluate(image):
        canvas.put(image)
        losses = canvas.step()
        return losses, ops.convert_to_numpy(keep.gradients[0]).astype(np.float64).ravel()

    return evaluate


def _levels(image):
    return ops.clip(image, 0.0, 255.0)


def _rgb(image):
    return image if image.shape[-1] == 3 else ops.repeat(image, 3, axis=-1)

"""The picture as the only trainable weight of a Keras model, and its gradient on any backend."""

from collections.abc import Callable, Sequence
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
from visionkit.types import Tensor


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weight of each loss; see `losses` for the units."""

    content: float = 1.0
    style: float = 20.0
    smooth: float = 0.5
    palette: float = 0.0  # for networks only: an optimisation starts from the photo and keeps its colours anyway


LOSSES = tuple(field.name for field in fields(Weights))


class Canvas(keras.Model):
    """A picture that can be optimised, and its distance from a content and a style.

    Args:
        features: from `losses.take_features`.
        start: float32 `[H, W, C]`, 0..255, the picture at the start; C is 3 (RGB) or 1 (brightness).
        content: float32 `[H, W, C]`, 0..255.
        styles: paintings, `[h, w, C]`, 0..255, of any sizes.
        shares: how much of each painting, summing to 1.
        weights: of the losses.
        mask: float32 `[H, W, 1]`, 0..1: where the picture is painted. Elsewhere the content shows through and the style
            is not measured. None paints everywhere.
    """

    def __init__(
        self,
        features: keras.Model,
        start: np.ndarray,
        content: np.ndarray,
        styles: Sequence[np.ndarray],
        shares: Sequence[float] | np.ndarray,
        weights: Weights,
        mask: np.ndarray | None = None,
    ):
        super().__init__()
        self.features, self.weigh = features, weights
        self.image = self.add_weight(shape=(1, *start.shape), initializer="zeros", constraint=_levels, name="image")
        self.put(start)
        self.content = ops.convert_to_tensor(content[None])  # [1, H, W, C]
        self.mask, self.masks = None, None  # [1, H, W, 1]; {level: the same at its size}
        if mask is not None:
            self.mask = ops.convert_to_tensor(mask[None])
            shapes = features.compute_output_shape((1, *content.shape[:2], 3))
            self.masks = {
                level: ops.image.resize(self.mask, shapes[level][1:3], antialias=True, data_format="channels_last")
                for level in STYLE_LEVELS
            }
        seen = self._see(content)
        self.target_content = {level: ops.convert_to_tensor(seen[level]) for level in CONTENT_LEVELS}
        self.target_style: dict[str, Tensor] = dict.fromkeys(STYLE_LEVELS, 0.0)
        self.target_palette: Tensor = 0.0
        for style, share in zip(styles, shares, strict=True):
            self.target_palette = self.target_palette + float(share) * palette(np.asarray(style, content.dtype)[None])
            for level, matrix in grams(self._see(style)).items():
                self.target_style[level] = self.target_style[level] + float(share) * matrix
        self.built = True
        self.trackers = {name: keras.metrics.Mean(name=name) for name in LOSSES}

    def _see(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """{level: features of an image `[H, W, C]`}."""
        return self.features.predict_on_batch(_rgb(np.asarray(image, np.float32)[None]))

    def put(self, image: np.ndarray) -> None:
        """Replaces the picture on the canvas with float `[H, W, C]`, which may be flattened."""
        self.image.assign(np.asarray(image, self.image.dtype).reshape(self.image.shape))

    def paint(self) -> np.ndarray:
        """What is on the canvas, float64 and flattened, including what the mask hides."""
        return ops.convert_to_numpy(self.image).astype(np.float64).ravel()

    def picture(self) -> np.ndarray:
        """What can be seen: float32 `[H, W, C]`, 0..255."""
        return np.asarray(ops.convert_to_numpy(self._composed()))[0]

    def _composed(self) -> Tensor:
        image = ops.convert_to_tensor(self.image)
        return image if self.mask is None else self.content + self.mask * (image - self.content)

    def call(self, _: Tensor) -> dict[str, Tensor]:
        """{level: features of the picture}; the input is ignored."""
        return self.features(_rgb(self._composed()))

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        losses = {
            "content": content_loss(y_pred, self.target_content)[0],
            "style": style_loss(grams(y_pred, STYLE_LEVELS, self.masks), self.target_style)[0],
            "smooth": total_variation(self._composed())[0],
            "palette": palette_loss(self._composed(), self.content, self.target_palette)[0],
        }
        for name, value in losses.items():
            self.trackers[name].update_state(value)
        return sum(getattr(self.weigh, name) * value for name, value in losses.items())

    def step(self) -> dict[str, float]:
        """Takes one step of the compiled optimizer.

        Returns:
            the losses BEFORE the step: "loss", the weighted sum, and those of `LOSSES`.
        """
        self.reset_metrics()
        values = self.train_on_batch(np.zeros((1, 1), np.float32), return_dict=True)
        return {name: float(values[name]) for name in ("loss", *self.trackers)}

    def measure(self) -> dict[str, float]:
        """The losses of the present picture, without a step; names as in `step`."""
        self.reset_metrics()
        values = self.test_on_batch(np.zeros((1, 1), np.float32), return_dict=True)
        return {name: float(values[name]) for name in ("loss", *self.trackers)}


class GradientRecorder(keras.optimizers.Optimizer):
    """Changes nothing and stores the gradient; in Keras this is how to get a gradient on every backend."""

    def __init__(self):
        super().__init__(learning_rate=1.0)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            super().build(variables)
            self.gradients = self.add_optimizer_variables(variables, "gradient")

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)


def gradient_of(canvas: Canvas) -> Callable[[np.ndarray], tuple[dict[str, float], np.ndarray]]:
    """Compiles `canvas` for gradients.

    Returns:
        a function: image float `[H, W, C]` or flattened -> (losses as from `Canvas.step`, gradient float64, flattened).
    """
    recorder = GradientRecorder()
    compile_for_backend(canvas, recorder)

    def evaluate(image: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        canvas.put(image)
        losses = canvas.step()
        return losses, ops.convert_to_numpy(recorder.gradients[0]).astype(np.float64).ravel()

    return evaluate


def compile_for_backend(canvas: Canvas, optimizer: keras.optimizers.Optimizer) -> None:
    """Compiles with XLA only for JAX, which compiles nothing without it; see `losses.take_features`."""
    use_xla = keras.backend.backend() == "jax"
    canvas.compile(optimizer=optimizer, jit_compile=use_xla)  # pyright: ignore[reportArgumentType]  ("auto" or a bool)


def _levels(image: Tensor) -> Tensor:
    return ops.clip(image, 0.0, 255.0)


def _rgb(image: Tensor) -> Tensor:
    return image if image.shape[-1] == 3 else ops.repeat(image, 3, axis=-1)

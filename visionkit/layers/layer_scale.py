"""A learned factor for each channel."""

from typing import Any

import keras
from keras import layers

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class LayerScale(layers.Layer):
    """Multiplies each channel of `[..., C]` by a factor that is learned (Touvron et al. 2021, arXiv 2103.17239, 2.2).

    Args:
        initial: the factor at the start; a small one lets a residual block begin as the identity.
    """

    def __init__(self, initial: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, shape: tuple) -> None:
        self.scale = self.add_weight(
            shape=(shape[-1],), initializer=keras.initializers.Constant(self.initial), name="scale"
        )

    def call(self, x: Tensor) -> Tensor:
        return x * self.scale

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"initial": self.initial}

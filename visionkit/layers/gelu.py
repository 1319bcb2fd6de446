"""The Gaussian error linear unit (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""

import keras
from keras import layers, ops

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class Gelu(layers.Layer):
    """x times the standard normal distribution function of x, exactly.

    Keras' own consists of the function erfc on TensorFlow, which the converter to ONNX does not know; it knows erf.
    """

    def call(self, x: Tensor) -> Tensor:
        return (0.5 * x) * (1.0 + ops.erf(x * 0.5**0.5))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape

"""Muon, an optimizer of matrices, for the kernels of convolutions."""

import re

import keras
from keras import ops


@keras.saving.register_keras_serializable("visionkit")
class ConvolutionMuon(keras.optimizers.Muon):
    """Keras' Muon with kernels `[h, w, in, out]` seen as matrices `[h * w * in, out]`, as its author does.

    Every other weight is Adam's, and so is what `exclude_layers` match; a network's last layer is best named there. A
    step is scaled to be about as long as Adam's (Liu et al. 2025, arXiv 2502.16982, section 2.2). Arguments are those
    of `keras.optimizers.Muon`.
    """

    def _should_use_adamw(self, variable):
        return len(variable.shape) != 4 or any(re.search(layer, variable.path) for layer in self.exclude_layers)

    def zeropower_via_newtonschulz5(self, x, steps):
        matrix = ops.reshape(x, (-1, x.shape[-1]))  # [h*w*in, out]
        return ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x):
        if self.rms_rate is None:
            return x
        h, w, channels, filters = x.shape
        return x * (self.rms_rate * max(h * w * channels, filters) ** 0.5)

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
        tall = matrix.shape[0] > matrix.shape[1]
        matrix = matrix / (ops.norm(matrix) + 1e-7)
        # Keras multiplies X by aI + bA + cA^2 in each step, A = XX' or X'X. These commute, so some can follow A alone,
        # the smaller side squared, and multiply X once: 1.7 times fewer multiplications at 864 x 96. Not all of them:
        # round-off (of GPUs in TensorFloat-32) makes A indefinite, and a step makes what is below 0 12 times as large.
        for count in (steps // 2, steps - steps // 2):
            a = ops.matmul(ops.transpose(matrix), matrix) if tall else ops.matmul(matrix, ops.transpose(matrix))
            one = product = ops.eye(a.shape[0], dtype=a.dtype)
            for _ in range(count):
                factor = self.muon_a * one + ops.matmul(self.muon_b * one + self.muon_c * a, a)
                product = ops.matmul(product, factor)
                a = ops.matmul(ops.matmul(factor, a), factor)
            matrix = ops.matmul(matrix, product) if tall else ops.matmul(product, matrix)
        return ops.reshape(matrix, x.shape)

    def lr_adjust(self, x):
        if self.rms_rate is None:
            return x
        h, w, channels, filters = x.shape
        return x * (self.rms_rate * max(h * w * channels, filters) ** 0.5)

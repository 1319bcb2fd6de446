"""Muon, an optimizer for matrices, applied to the kernels of convolutions."""

import re

import keras
from keras import ops

from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class ConvolutionMuon(keras.optimizers.Muon):
    """Keras' Muon with kernels `[h, w, in, out]` seen as matrices `[h * w * in, out]`, as its author does.

    All other weights are left to Adam, and so are those whose paths match `exclude_layers`; a network's last layer is
    best named there. A step is scaled to be about as long as Adam's (Liu et al. 2025, arXiv 2502.16982, section 2.2).
    The arguments are those of `keras.optimizers.Muon`.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 4 or any(re.search(layer, variable.path) for layer in self.exclude_layers)

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        matrix: Tensor = ops.reshape(x, (-1, x.shape[-1]))  # [h*w*in, out]
        tall = matrix.shape[0] > matrix.shape[1]
        length: Tensor = ops.norm(matrix)
        matrix = matrix / (length + 1e-7)
        # Keras multiplies X by aI + bA + cA^2 in each step, with A = XX' or X'X. These factors commute, so several
        # steps can be taken on A alone, which is as small as the shorter side, and X multiplied once by their product:
        # 1.7 times fewer multiplications at 864 x 96. Half of the steps at a time, not all: round-off (of GPUs in
        # TensorFloat-32) makes A indefinite, and every step makes an eigenvalue below 0 twelve times as large.
        for count in (steps // 2, steps - steps // 2):
            a: Tensor = ops.matmul(ops.transpose(matrix), matrix) if tall else ops.matmul(matrix, ops.transpose(matrix))
            identity: Tensor = ops.eye(a.shape[0], dtype=a.dtype)
            product = identity
            for _ in range(count):
                factor = self.muon_a * identity + ops.matmul(self.muon_b * identity + self.muon_c * a, a)
                product = ops.matmul(product, factor)
                a = ops.matmul(ops.matmul(factor, a), factor)
            matrix = ops.matmul(matrix, product) if tall else ops.matmul(product, matrix)
        return ops.reshape(matrix, x.shape)

    def lr_adjust(self, x: Tensor) -> Tensor:
        if self.rms_rate is None:
            return x
        h, w, channels, filters = x.shape
        return x * (self.rms_rate * max(h * w * channels, filters) ** 0.5)

"""What the zoo is checked by."""

import contextlib
from unittest import mock

import keras
import numpy as np
from support.drawn import drawn_image, drawn_tensor

from visionkit.backbones import BACKBONES


class Watch(keras.optimizers.SGD):
    """Changes nothing and remembers the gradients."""

    def apply(self, grads, trainable_variables=None):
        self.seen = dict(zip((v.path for v in trainable_variables), grads, strict=True))


# Weights that are trained, with the paper's head. torchvision's are in test_goldens.py. Sources: akamaster's
# README (0.27, 0.46, 0.66, 0.85 M; exact numbers by counting its checkpoints), the EfficientNet-Lite README (4.7, 5.4,
# 6.1 M), arithmetic for the small ones: LeNet 156 + 2416 + 48120 + 10164 + 850; NiN, by blocks of kernel**2 in * out
# + out: 53,568 + 746,240 + 1,180,800 + 5,459,000; csp_nanodet: 928 + 25,536 + 129,536 + 517,120 + 2,509,312, a block of
# f channels and u units having 18 f**2 + 4 f + u (6.75 f**2 + 2 f), + 513,000.
PARAMETERS = {
    "softmax_regression": (10, 7_850),
    "mlp": (10, 784 * 256 + 256 + 2570),
    "lenet": (10, 61_706),
    "nin": (1000, 7_439_608),
    "resnet20_cifar": (10, 269_722),
    "resnet32_cifar": (10, 464_154),
    "resnet44_cifar": (10, 658_586),
    "resnet56_cifar": (10, 853_018),
    "csp_nanodet": (1000, 3_695_432),
    "efficientnet_lite0": (1000, 4_652_008),
    "efficientnet_lite1": (1000, 5_416_680),
    "efficientnet_lite2": (1000, 6_092_072),
}


def answers(name):
    """{level: features} of the backbone with weights drawn by their paths, for a drawn image.

    On JAX nothing is run outside one compiled program: it would compile every operation for every shape.
    """
    with first_weights_of_zero():
        backbone = BACKBONES[name]()
    for weight in backbone.weights:
        weight.assign(drawn(weight))
    height, width, channels = backbone.input.shape[1:]
    image = drawn_image((height or 67, width or 75))[..., :channels]
    run = backbone.predict_on_batch if keras.backend.backend() == "jax" else backbone
    return {level: np.asarray(out) for level, out in run(image).items()}


@contextlib.contextmanager
def first_weights_of_zero():
    """Layers built within have kernels of zeros, for those whose weights are assigned next."""
    with contextlib.ExitStack() as stack:
        drawing = keras.initializers
        for kind in (drawing.VarianceScaling, drawing.TruncatedNormal, drawing.RandomNormal):
            stack.enter_context(mock.patch.object(kind, "__call__", _zeros))
        yield


def _zeros(initializer, shape, dtype="float32", **_):
    return np.zeros(shape, dtype)


def drawn(weight):
    """He-scaled kernels; gammas and variances near 1, everything else near 0."""
    shape = tuple(weight.shape)
    if len(shape) > 1:  # drawn as torch has it, outputs first
        return np.moveaxis(drawn_tensor(weight.path, (shape[-1], *shape[:-1])), 0, -1)
    near_one = weight.name in ("gamma", "moving_variance")
    return drawn_tensor(f"{weight.path}.{'running_var' if near_one else 'bias'}", shape)


def save_answers(file, names):
    np.savez(file, **{f"{name}/{level}": out for name in names for level, out in answers(name).items()})

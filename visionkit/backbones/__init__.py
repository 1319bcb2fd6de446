"""Backbones by name: functions that return a `keras.Model` from images to {"Cn": features of stride 2**n}.

    >>> from visionkit.backbones import BACKBONES
    >>> backbone = BACKBONES["efficientnet_lite0"](input_shape=(None, None, 3))

Images are float32 `[B, H, W, C]` RGB 0..255; the first layer normalises them. `visionkit.models` adds heads, and
`visionkit.weights.load.load_weights` loads published weights.
"""

import functools
from collections.abc import Callable

import keras

from visionkit.backbones.alexnet import alexnet
from visionkit.backbones.convnext import convnext_small, convnext_tiny
from visionkit.backbones.csp_nanodet import csp_nanodet
from visionkit.backbones.densenet import densenet121, densenet161, densenet169, densenet201
from visionkit.backbones.efficientnet_lite import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from visionkit.backbones.googlenet import googlenet
from visionkit.backbones.lenet import lenet
from visionkit.backbones.mlp import mlp, softmax_regression
from visionkit.backbones.mobilenet_v2 import mobilenet_v2
from visionkit.backbones.mobilenet_v3 import (
    mobilenet_v3_large,
    mobilenet_v3_large_dilated,
    mobilenet_v3_small,
    mobilenet_v3_small_dilated,
)
from visionkit.backbones.nin import nin
from visionkit.backbones.resnet import (
    resnet18,
    resnet20_cifar,
    resnet32_cifar,
    resnet34,
    resnet44_cifar,
    resnet50,
    resnet50_dilated,
    resnet56_cifar,
    resnet101,
    resnet101_dilated,
    resnet152,
)
from visionkit.backbones.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from visionkit.by_name import ByName

BACKBONES: dict[str, Callable[..., keras.Model]] = ByName(
    "backbone",
    {
        "softmax_regression": softmax_regression,
        "mlp": mlp,
        "lenet": lenet,
        "alexnet": alexnet,
        "vgg11": vgg11,
        "vgg11_bn": vgg11_bn,
        "vgg13": vgg13,
        "vgg13_bn": vgg13_bn,
        "vgg16": vgg16,
        "vgg16_bn": vgg16_bn,
        "vgg19": vgg19,
        "vgg19_bn": vgg19_bn,
        "nin": nin,
        "googlenet": googlenet,
        "resnet18": resnet18,
        "resnet34": resnet34,
        "resnet50": resnet50,
        "resnet101": resnet101,
        "resnet152": resnet152,
        "resnet20_cifar": resnet20_cifar,
        "resnet32_cifar": resnet32_cifar,
        "resnet44_cifar": resnet44_cifar,
        "resnet56_cifar": resnet56_cifar,
        "densenet121": densenet121,
        "densenet161": densenet161,
        "densenet169": densenet169,
        "densenet201": densenet201,
        "csp_nanodet": csp_nanodet,
        "efficientnet_lite0": efficientnet_lite0,
        "efficientnet_lite1": efficientnet_lite1,
        "efficientnet_lite2": efficientnet_lite2,
        "mobilenet_v2": mobilenet_v2,
        "mobilenet_v3_large": mobilenet_v3_large,
        "mobilenet_v3_small": mobilenet_v3_small,
        "convnext_tiny": convnext_tiny,
        "convnext_small": convnext_small,
    },
)

# Forms with finer deep levels, for segmentation, by the backbones whose weights fit them.
DILATED: dict[str, Callable[..., keras.Model]] = {
    "resnet50": resnet50_dilated,
    "resnet101": resnet101_dilated,
    "efficientnet_lite0": functools.partial(efficientnet_lite0, dilated=True),
    "efficientnet_lite1": functools.partial(efficientnet_lite1, dilated=True),
    "efficientnet_lite2": functools.partial(efficientnet_lite2, dilated=True),
    "mobilenet_v3_large": mobilenet_v3_large_dilated,
    "mobilenet_v3_small": mobilenet_v3_small_dilated,
}

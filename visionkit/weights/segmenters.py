"""The segmentation networks whose weights torchvision publishes, built here as published.

The weights come from `load_weights`.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras

from visionkit.backbones.mobilenet_v3 import mobilenet_v3_large_dilated
from visionkit.backbones.resnet import resnet50_dilated, resnet101_dilated
from visionkit.models.deeplabv3 import DEEPLABV3_TORCHVISION, DeepLabV3
from visionkit.models.fcn import FCN, FCN_RESNET
from visionkit.models.lraspp import LRASPP, LRASPP_TORCHVISION
from visionkit.models.task import Task
from visionkit.weights.detectors import load_published


def _fcn(backbone: Callable[[], keras.Model], num_classes: int, **options: Any) -> FCN:
    return FCN(backbone(), num_classes, **(FCN_RESNET | options))


def _deeplabv3(backbone: Callable[[], keras.Model], num_classes: int, **options: Any) -> DeepLabV3:
    return DeepLabV3(backbone(), num_classes, **(DEEPLABV3_TORCHVISION | options))


def _lraspp(backbone: Callable[[], keras.Model], num_classes: int, **options: Any) -> LRASPP:
    return LRASPP(backbone(), num_classes, **(LRASPP_TORCHVISION | options))


# Functions of num_classes and, by keyword, any argument of the model.
SEGMENTERS: dict[str, Callable[..., Task]] = {
    "fcn_resnet50": functools.partial(_fcn, resnet50_dilated),
    "fcn_resnet101": functools.partial(_fcn, resnet101_dilated),
    "deeplabv3_resnet50": functools.partial(_deeplabv3, resnet50_dilated),
    "deeplabv3_resnet101": functools.partial(_deeplabv3, resnet101_dilated),
    "deeplabv3_mobilenet_v3_large": functools.partial(_deeplabv3, mobilenet_v3_large_dilated),
    "lraspp_mobilenet_v3_large": functools.partial(_lraspp, mobilenet_v3_large_dilated),
}


def load_segmenter(name: str, *, offline: bool = False, verbose: bool = True) -> Task:
    """A published segmenter, for example "fcn_resnet50_coco", with its weights and its class names.

    Args:
        name: of a card with an architecture in `SEGMENTERS`.
        offline, verbose: see `load_weights`.

    Raises:
        DataError: there is no such segmenter, or its file is not available.
    """
    return load_published(SEGMENTERS, name, offline=offline, verbose=verbose)

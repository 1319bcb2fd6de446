"""The segmentation networks whose weights torchvision publishes: built here as published, filled by `load_weights`."""

import functools

from visionkit.backbones.resnet import resnet50_dilated, resnet101_dilated
from visionkit.models.fcn import FCN, FCN_RESNET
from visionkit.models.task import Task
from visionkit.weights.detectors import load_published


def _fcn(backbone, num_classes, **knobs):
    return FCN(backbone(), num_classes, **(FCN_RESNET | knobs))


# Functions of num_classes and any argument of the model.
SEGMENTERS = {
    "fcn_resnet50": functools.partial(_fcn, resnet50_dilated),
    "fcn_resnet101": functools.partial(_fcn, resnet101_dilated),
}


def load_segmenter(name: str, *, offline: bool = False, verbose: bool = True) -> Task:
    """A published segmenter by the name of its card, "fcn_resnet50_coco", with its weights and its class names.

    Args:
        name: a card with an architecture in `SEGMENTERS`.
        offline, verbose: see `load_weights`.

    Raises:
        DataError: there is no such segmenter, or its file cannot be had.
    """
    return load_published(SEGMENTERS, name, offline=offline, verbose=verbose)

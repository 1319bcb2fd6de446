"""The detectors with published weights, built here as published; `load_weights` loads the weights."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from visionkit.backbones.csp_nanodet import csp_nanodet
from visionkit.backbones.rcnn_mobilenet import rcnn_mobilenet_v3
from visionkit.backbones.resnet import resnet50
from visionkit.backbones.ssd_mobilenet import ssdlite_mobilenet_v3
from visionkit.backbones.ssd_vgg import ssd300_vgg16
from visionkit.models.faster_rcnn import RCNN_MOBILE, RCNN_MOBILE_320, RCNN_V2, FasterRCNN
from visionkit.models.fcos import FCOS
from visionkit.models.keypoint_rcnn import KeypointRCNN
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.nanodet import NANODET_G, NanoDet
from visionkit.models.retinanet import RETINANET_V2, RetinaNet
from visionkit.models.ssd import SSD, SSD300_COCO, SSDLITE320
from visionkit.models.task import Task
from visionkit.types import DataError
from visionkit.weights.cards import CARDS
from visionkit.weights.load import load_weights


def _ssd300(num_classes: int, **options: Any) -> SSD:
    return SSD(ssd300_vgg16(), num_classes, **(SSD300_COCO | options))


def _ssdlite320(num_classes: int, **options: Any) -> SSD:
    return SSD(ssdlite_mobilenet_v3(), num_classes, **(SSDLITE320 | options))


def _nanodet_g(num_classes: int, **options: Any) -> NanoDet:
    settings: dict[str, Any] = {**NANODET_G, "batch_norm": False, **options}
    return NanoDet(csp_nanodet(batch_norm=False), num_classes, **settings)


def _on_resnet50(model: type[Task], num_classes: int, **options: Any) -> Task:
    kind: Any = model
    return kind(resnet50(), num_classes, **options)


def _rcnn_mobile(settings: Mapping[str, Any], num_classes: int, **options: Any) -> FasterRCNN:
    return FasterRCNN(rcnn_mobilenet_v3(), num_classes, **{**settings, **options})


# Functions of num_classes and, by keyword, any argument of the model.
DETECTORS: dict[str, Callable[..., Task]] = {
    "ssd300_vgg16": _ssd300,
    "ssdlite320_mobilenet_v3_large": _ssdlite320,
    "nanodet_g": _nanodet_g,
    "retinanet_resnet50_fpn": functools.partial(_on_resnet50, RetinaNet),
    "retinanet_resnet50_fpn_v2": functools.partial(_on_resnet50, RetinaNet, **RETINANET_V2),
    "fcos_resnet50_fpn": functools.partial(_on_resnet50, FCOS),
    "fasterrcnn_resnet50_fpn": functools.partial(_on_resnet50, FasterRCNN),
    "fasterrcnn_resnet50_fpn_v2": functools.partial(_on_resnet50, FasterRCNN, **RCNN_V2),
    "fasterrcnn_mobilenet_v3_large_fpn": functools.partial(_rcnn_mobile, RCNN_MOBILE),
    "fasterrcnn_mobilenet_v3_large_320_fpn": functools.partial(_rcnn_mobile, RCNN_MOBILE_320),
    "maskrcnn_resnet50_fpn": functools.partial(_on_resnet50, MaskRCNN),
    "maskrcnn_resnet50_fpn_v2": functools.partial(_on_resnet50, MaskRCNN, **RCNN_V2),
    "keypointrcnn_resnet50_fpn": functools.partial(_on_resnet50, KeypointRCNN),
}


def load_detector(name: str, *, offline: bool = False, verbose: bool = True) -> Task:
    """A published detector, for example "ssd300_vgg16_coco", with its weights and its class names.

    Args:
        name: of a card with an architecture in `DETECTORS`.
        offline, verbose: see `load_weights`.

    Raises:
        DataError: there is no such detector, or its file is not available.
    """
    return load_published(DETECTORS, name, offline=offline, verbose=verbose)


def load_published(builders: Mapping[str, Callable[..., Task]], name: str, *, offline: bool, verbose: bool) -> Task:
    """Builds the model of the card `name` with its architecture's function in `builders` and loads its weights."""
    card = CARDS.get(name)
    if card is None or card.architecture not in builders:
        names = [card.name for card in CARDS.values() if card.architecture in builders]
        raise DataError(f"there is no published model {name!r} of this kind; there are {', '.join(names)}")
    class_names = card.class_names
    model = builders[card.architecture](len(class_names), class_names=class_names, image_size=card.image_size)
    load_weights(model, name, offline=offline, verbose=verbose)
    return model

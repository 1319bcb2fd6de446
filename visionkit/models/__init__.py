"""The task models, by name."""

from collections.abc import Callable

from visionkit.models.classifier import Classifier
from visionkit.models.faster_rcnn import FasterRCNN
from visionkit.models.fcn import FCN
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.ssd import SSD
from visionkit.models.task import Task

MODELS: dict[str, Callable[..., Task]] = {
    "classifier": Classifier,
    "ssd": SSD,
    "faster_rcnn": FasterRCNN,
    "mask_rcnn": MaskRCNN,
    "fcn": FCN,
}

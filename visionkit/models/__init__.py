"""The task models, by name."""

from collections.abc import Callable

from visionkit.by_name import ByName

# Keras finds a layer of a .keras file only if its module was imported, and some layers are used by backbones only.
from visionkit.layers import edge_padding, gelu, l2_normalize, layer_scale  # noqa: F401
from visionkit.models.classifier import Classifier
from visionkit.models.deeplabv3 import DeepLabV3
from visionkit.models.faster_rcnn import FasterRCNN
from visionkit.models.fcn import FCN
from visionkit.models.fcos import FCOS
from visionkit.models.keypoint_rcnn import KeypointRCNN
from visionkit.models.lraspp import LRASPP
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.nanodet import NanoDet
from visionkit.models.retinanet import RetinaNet
from visionkit.models.ssd import SSD
from visionkit.models.task import Task
from visionkit.models.unet import UNet

MODELS: dict[str, Callable[..., Task]] = ByName(
    "model",
    {
        "classifier": Classifier,
        "ssd": SSD,
        "nanodet": NanoDet,
        "retinanet": RetinaNet,
        "fcos": FCOS,
        "faster_rcnn": FasterRCNN,
        "mask_rcnn": MaskRCNN,
        "keypoint_rcnn": KeypointRCNN,
        "fcn": FCN,
        "deeplabv3": DeepLabV3,
        "lraspp": LRASPP,
        "unet": UNet,
    },
)

"""The task models, by name."""

# Keras knows a layer in a .keras file only once its module is imported: those that only backbones use, too.
from visionkit.layers import edge_padding, l2_normalize  # noqa: F401
from visionkit.models.classifier import Classifier
from visionkit.models.faster_rcnn import FasterRCNN
from visionkit.models.fcn import FCN
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.nanodet import NanoDet
from visionkit.models.ssd import SSD

MODELS = {
    "classifier": Classifier,
    "ssd": SSD,
    "nanodet": NanoDet,
    "faster_rcnn": FasterRCNN,
    "mask_rcnn": MaskRCNN,
    "fcn": FCN,
}

"""visionkit: image classification, object detection, segmentation and style transfer on Keras 3.

    >>> import visionkit as vk
    >>> predictor = vk.open_predictor("runs/first")

The names in `__all__` are the public API, as are the parameters and attributes that their docstrings describe.
Everything else may change with any version. Importing visionkit loads neither Keras nor a backend: each name is
imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from visionkit.saved_classes import offer_once_keras_is_loaded

__version__ = "0.1.0"

if TYPE_CHECKING:  # what editors and type checkers see; `_PLACES` says the same to Python
    from visionkit.backbones import BACKBONES as BACKBONES
    from visionkit.backbones import DILATED as DILATED
    from visionkit.backbones.alexnet import alexnet as alexnet
    from visionkit.backbones.blocks import freeze as freeze
    from visionkit.backbones.convnext import convnext_small as convnext_small
    from visionkit.backbones.convnext import convnext_tiny as convnext_tiny
    from visionkit.backbones.csp_nanodet import csp_nanodet as csp_nanodet
    from visionkit.backbones.densenet import densenet as densenet
    from visionkit.backbones.densenet import densenet121 as densenet121
    from visionkit.backbones.densenet import densenet161 as densenet161
    from visionkit.backbones.densenet import densenet169 as densenet169
    from visionkit.backbones.densenet import densenet201 as densenet201
    from visionkit.backbones.efficientnet_lite import efficientnet_lite0 as efficientnet_lite0
    from visionkit.backbones.efficientnet_lite import efficientnet_lite1 as efficientnet_lite1
    from visionkit.backbones.efficientnet_lite import efficientnet_lite2 as efficientnet_lite2
    from visionkit.backbones.googlenet import googlenet as googlenet
    from visionkit.backbones.lenet import lenet as lenet
    from visionkit.backbones.mlp import mlp as mlp
    from visionkit.backbones.mlp import softmax_regression as softmax_regression
    from visionkit.backbones.mobilenet_v2 import mobilenet_v2 as mobilenet_v2
    from visionkit.backbones.mobilenet_v3 import mobilenet_v3_large as mobilenet_v3_large
    from visionkit.backbones.mobilenet_v3 import mobilenet_v3_small as mobilenet_v3_small
    from visionkit.backbones.nin import nin as nin
    from visionkit.backbones.resnet import resnet as resnet
    from visionkit.backbones.resnet import resnet18 as resnet18
    from visionkit.backbones.resnet import resnet20_cifar as resnet20_cifar
    from visionkit.backbones.resnet import resnet32_cifar as resnet32_cifar
    from visionkit.backbones.resnet import resnet34 as resnet34
    from visionkit.backbones.resnet import resnet44_cifar as resnet44_cifar
    from visionkit.backbones.resnet import resnet50 as resnet50
    from visionkit.backbones.resnet import resnet56_cifar as resnet56_cifar
    from visionkit.backbones.resnet import resnet101 as resnet101
    from visionkit.backbones.resnet import resnet152 as resnet152
    from visionkit.backbones.vgg import vgg as vgg
    from visionkit.backbones.vgg import vgg11 as vgg11
    from visionkit.backbones.vgg import vgg11_bn as vgg11_bn
    from visionkit.backbones.vgg import vgg13 as vgg13
    from visionkit.backbones.vgg import vgg13_bn as vgg13_bn
    from visionkit.backbones.vgg import vgg16 as vgg16
    from visionkit.backbones.vgg import vgg16_bn as vgg16_bn
    from visionkit.backbones.vgg import vgg19 as vgg19
    from visionkit.backbones.vgg import vgg19_bn as vgg19_bn
    from visionkit.calibrate.find import calibrate as calibrate
    from visionkit.compare.contest import compare_models as compare  # noqa: F401
    from visionkit.data.arrays import arrays as arrays
    from visionkit.data.augment import Augment as Augment
    from visionkit.data.balance import median_frequency as median_frequency
    from visionkit.data.batches import batches as batches
    from visionkit.data.batches import steps_per_epoch as steps_per_epoch
    from visionkit.data.dataset import Dataset as Dataset
    from visionkit.data.readers import READERS as READERS
    from visionkit.data.readers import Reader as Reader
    from visionkit.data.recognise import open_dataset as open_dataset
    from visionkit.data.recognise import splits as splits
    from visionkit.doctor.examine import examine as doctor  # noqa: F401
    from visionkit.evaluate.scores import evaluate as evaluate
    from visionkit.export import EXPORTERS as EXPORTERS
    from visionkit.export.export_model import export_model as export  # noqa: F401
    from visionkit.guarantee.calibrate import guarantee as guarantee
    from visionkit.hub.push import push as push
    from visionkit.models import MODELS as MODELS
    from visionkit.models.classifier import Classifier as Classifier
    from visionkit.models.deeplabv3 import DeepLabV3 as DeepLabV3
    from visionkit.models.faster_rcnn import FasterRCNN as FasterRCNN
    from visionkit.models.fcn import FCN as FCN
    from visionkit.models.fcos import FCOS as FCOS
    from visionkit.models.keypoint_rcnn import KeypointRCNN as KeypointRCNN
    from visionkit.models.lraspp import LRASPP as LRASPP
    from visionkit.models.mask_rcnn import MaskRCNN as MaskRCNN
    from visionkit.models.nanodet import NanoDet as NanoDet
    from visionkit.models.retinanet import RetinaNet as RetinaNet
    from visionkit.models.ssd import SSD as SSD
    from visionkit.models.task import Task as Task
    from visionkit.models.unet import UNet as UNet
    from visionkit.next_photos.find import next_photos as next_photos
    from visionkit.open_model import open_predictor as open_predictor
    from visionkit.predict.predictor import Failure as Failure
    from visionkit.predict.predictor import Predictor as Predictor
    from visionkit.recipes import RECIPES as RECIPES
    from visionkit.recipes.finetune import finetune as finetune
    from visionkit.suspects.find import suspects as suspects
    from visionkit.train.options import Options as Options
    from visionkit.train.recipe import Phase as Phase
    from visionkit.train.recipe import Recipe as Recipe
    from visionkit.train.recipe import schedule as schedule
    from visionkit.train.run import resume as resume
    from visionkit.train.run import run as train  # noqa: F401
    from visionkit.types import Classification as Classification
    from visionkit.types import DataError as DataError
    from visionkit.types import Detections as Detections
    from visionkit.types import Sample as Sample
    from visionkit.types import SegmentationMap as SegmentationMap
    from visionkit.types import Skeleton as Skeleton
    from visionkit.weights.cards import list_models as list_models
    from visionkit.weights.load import load_weights as load_weights

_BACKBONES = (
    "softmax_regression",
    "mlp",
    "lenet",
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "nin",
    "googlenet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet20_cifar",
    "resnet32_cifar",
    "resnet44_cifar",
    "resnet56_cifar",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "csp_nanodet",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "convnext_tiny",
    "convnext_small",
)
# Each public name and the module that has it; "" stands for a package that is called like a function.
_PLACES = {
    **dict.fromkeys(_BACKBONES, "visionkit.backbones"),
    "calibrate": "",
    "compare": "",
    "doctor": "",
    "evaluate": "",
    "export": "",
    "guarantee": "",
    "next_photos": "",
    "suspects": "",
    "train": "",
    "BACKBONES": "visionkit.backbones",
    "DILATED": "visionkit.backbones",
    "freeze": "visionkit.backbones.blocks",
    "densenet": "visionkit.backbones.densenet",
    "resnet": "visionkit.backbones.resnet",
    "vgg": "visionkit.backbones.vgg",
    "arrays": "visionkit.data.arrays",
    "Augment": "visionkit.data.augment",
    "median_frequency": "visionkit.data.balance",
    "batches": "visionkit.data.batches",
    "steps_per_epoch": "visionkit.data.batches",
    "Dataset": "visionkit.data.dataset",
    "READERS": "visionkit.data.readers",
    "Reader": "visionkit.data.readers",
    "open_dataset": "visionkit.data.recognise",
    "splits": "visionkit.data.recognise",
    "EXPORTERS": "visionkit.export",
    "push": "visionkit.hub.push",
    "MODELS": "visionkit.models",
    "Classifier": "visionkit.models.classifier",
    "DeepLabV3": "visionkit.models.deeplabv3",
    "FasterRCNN": "visionkit.models.faster_rcnn",
    "FCN": "visionkit.models.fcn",
    "FCOS": "visionkit.models.fcos",
    "KeypointRCNN": "visionkit.models.keypoint_rcnn",
    "LRASPP": "visionkit.models.lraspp",
    "MaskRCNN": "visionkit.models.mask_rcnn",
    "NanoDet": "visionkit.models.nanodet",
    "RetinaNet": "visionkit.models.retinanet",
    "SSD": "visionkit.models.ssd",
    "Task": "visionkit.models.task",
    "UNet": "visionkit.models.unet",
    "open_predictor": "visionkit.open_model",
    "Failure": "visionkit.predict.predictor",
    "Predictor": "visionkit.predict.predictor",
    "RECIPES": "visionkit.recipes",
    "finetune": "visionkit.recipes.finetune",
    "Options": "visionkit.train.options",
    "Phase": "visionkit.train.recipe",
    "Recipe": "visionkit.train.recipe",
    "schedule": "visionkit.train.recipe",
    "resume": "visionkit.train.run",
    "Classification": "visionkit.types",
    "DataError": "visionkit.types",
    "Detections": "visionkit.types",
    "Sample": "visionkit.types",
    "Skeleton": "visionkit.types",
    "SegmentationMap": "visionkit.types",
    "list_models": "visionkit.weights.cards",
    "load_weights": "visionkit.weights.load",
}

__all__ = sorted([*_PLACES, "__version__"])


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in _PLACES:
        from visionkit.by_name import nearest

        raise AttributeError(f"module 'visionkit' has no attribute {name!r}{nearest(name, __all__)}")
    place = _PLACES[name]
    found = getattr(importlib.import_module(place), name) if place else importlib.import_module(f"visionkit.{name}")
    globals()[name] = found  # found at once from now on
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


offer_once_keras_is_loaded()

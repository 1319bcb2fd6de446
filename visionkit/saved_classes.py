"""Lets Keras find visionkit's classes in a `.keras` file without loading Keras, or them, ahead of time.

Keras instantiates only registered classes, and a class registers itself when its module is imported. So Keras gets
a stand-in for each class, which imports the real one when a file asks for it. If Keras is not loaded yet, the
stand-ins are handed over right after it is.
"""

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "visionkit"
# The registered classes by the module that defines them; tests/test_public_api.py compares this with what registers.
CLASSES = {
    "visionkit.layers.calibrate": ("Calibrate",),
    "visionkit.layers.decode": ("DecodeDetections", "DecodeRegions"),
    "visionkit.layers.decode_distances": ("DecodeDistances",),
    "visionkit.layers.decode_levels": ("DecodeAnchors", "DecodePoints"),
    "visionkit.layers.edge_padding": ("EdgePadding",),
    "visionkit.layers.fpn": ("NearestLike",),
    "visionkit.layers.gelu": ("Gelu",),
    "visionkit.layers.l2_normalize": ("L2Normalize",),
    "visionkit.layers.layer_scale": ("LayerScale",),
    "visionkit.layers.proposals": ("Proposals",),
    "visionkit.layers.roi_align": ("RoIAlign", "PerRegion"),
    "visionkit.layers.upsample": ("Interpolate", "Bilinear", "CropOrPad"),
    "visionkit.models.classifier": ("Classifier",),
    "visionkit.models.deeplabv3": ("DeepLabV3",),
    "visionkit.models.faster_rcnn": ("FasterRCNN",),
    "visionkit.models.fcn": ("FCN",),
    "visionkit.models.fcos": ("FCOS",),
    "visionkit.models.keypoint_rcnn": ("KeypointRCNN",),
    "visionkit.models.lraspp": ("LRASPP",),
    "visionkit.models.mask_rcnn": ("PickMasks", "MaskRCNN"),
    "visionkit.models.nanodet": ("NanoDet",),
    "visionkit.models.retinanet": ("RetinaNet",),
    "visionkit.models.ssd": ("SSD",),
    "visionkit.models.unet": ("UNet",),
    "visionkit.style.layers": ("Moments", "Restyle", "Grain", "Reflect", "StyleOfRow"),
    "visionkit.style.network": ("StyleNetwork",),
    "visionkit.train.muon": ("ConvolutionMuon",),
}


class StandIn:
    """Takes the place of a class until a file asks for it.

    Args:
        module: where the class is defined.
        name: of the class.
    """

    def __init__(self, module: str, name: str):
        self.module = module
        self.__name__ = name

    def from_config(self, config: dict[str, Any], **options: Any) -> Any:
        """What the real class makes of `config`."""
        return getattr(importlib.import_module(self.module), self.__name__).from_config(config, **options)


def offer(keras: ModuleType) -> None:
    """Registers a stand-in for each class that Keras does not know yet."""
    known: dict[str, Any] = keras.saving.get_custom_objects()
    for module, names in CLASSES.items():
        for name in names:
            known.setdefault(f"{PACKAGE}>{name}", StandIn(module, name))


def offer_once_keras_is_loaded() -> None:
    """Registers the stand-ins now if Keras is loaded, and otherwise as soon as it is."""
    if keras := sys.modules.get("keras"):
        offer(keras)
    elif not any(isinstance(finder, _AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterKeras())


class _AfterKeras:
    """A finder that lets the other finders find Keras, and has `offer` called once Keras is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "keras" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)  # it may be installed later
            return spec
        loader: Any = spec.loader
        load = loader.exec_module

        def load_and_offer(module: ModuleType) -> None:
            del loader.exec_module  # the class's own again
            try:
                load(module)
            except BaseException:
                sys.meta_path.insert(0, self)  # the next attempt may succeed
                raise
            offer(module)

        loader.exec_module = load_and_offer
        return spec

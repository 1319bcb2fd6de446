"""Takes the steps of a certificate with one of our models, and compares losses and weights with torchvision's."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import keras
import numpy as np

from visionkit.backbones.blocks import freeze_batch_norm
from visionkit.backbones.rcnn_mobilenet import rcnn_mobilenet_v3
from visionkit.backbones.resnet import resnet
from visionkit.certify import scenes
from visionkit.certify.scenes import CHANNELS, COURSES, NUM_CLASSES, OBJECTS, PROPOSALS, Course
from visionkit.models.deeplabv3 import DeepLabV3
from visionkit.models.faster_rcnn import RCNN_MOBILE, FasterRCNN
from visionkit.models.fcn import FCN, FCN_RESNET
from visionkit.models.fcos import FCOS
from visionkit.models.keypoint_rcnn import KeypointRCNN
from visionkit.models.lraspp import LRASPP
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.retinanet import RETINANET_V2, RetinaNet
from visionkit.models.ssd import SSD
from visionkit.models.task import Task
from visionkit.types import Tensor
from visionkit.weights.convert import assign, fit, our_layers, our_names

TOLERANCE = 1e-3  # relative, of each loss at the last step and of the norm of every tensor
# Smaller norms are of biases before a normalisation, which only round-off moves: differences count against this.
LEAST_NORM = 1e-5
LOSSES = {  # torchvision's name -> ours
    "classification": "class_loss",
    "bbox_regression": "box_loss",
    "bbox_ctrness": "centerness_loss",
    "loss_classifier": "class_loss",
    "loss_box_reg": "box_loss",
    "loss_objectness": "rpn_class_loss",
    "loss_rpn_box_reg": "rpn_box_loss",
    "loss_mask": "mask_loss",
    "loss_keypoint": "keypoint_loss",
    "loss": "loss",
}
_BOXES = ("boxes", "labels", "ignore")
TARGETS = {
    "detect": _BOXES,
    "instance": (*_BOXES, "masks"),
    "keypoints": (*_BOXES, "keypoints"),
    "segment": ("segmentation",),
}
_MORE = (1.0, 2.0, 0.5, 3.0, 1 / 3)
_SSD: dict[str, Any] = {
    "extra_levels": 0,
    "pyramid_channels": 0,
    "clip_anchors": True,
    "aspect_ratios": (_MORE[:3], _MORE, _MORE),
}
_REGIONS: dict[str, Any] = {
    "pyramid_channels": CHANNELS,
    "head_units": 2 * CHANNELS,
    "rpn_samples": scenes.RPN_SAMPLES,
    "roi_samples": 4 * (PROPOSALS + OBJECTS),  # a quarter of them may be positive: all there are
    "train_proposals": PROPOSALS,
}
_KEYPOINTS: dict[str, Any] = {
    "keypoint_names": [str(i) for i in range(len(scenes.KEYPOINTS))],
    "keypoint_channels": CHANNELS,
}
_DEEPLABV3: dict[str, Any] = {"rates": (2, 4, 6), "units": CHANNELS, "upsampling": "stretched"}
# Running statistics that are not compared, as patterns: torch's variance is that of a sample, Keras' of a population.
STATISTICS = {"fcn": "running", "deeplabv3": "running", "lraspp": "running", "ssdlite": "head.*running"}


def _trunk(dilated: bool = False) -> keras.Model:
    return resnet((1, 1, 1, 1), True, name="resnet14", dilated=dilated)


def _ssd(size: tuple[int, int], **options: Any) -> SSD:
    sizes = tuple(share * size[0] for share in (0.2, 0.4, 0.7, 0.95))
    return SSD(_trunk(), NUM_CLASSES, image_size=size, anchor_sizes=sizes, **_SSD, **options)


def _on_pyramid(kind: Any, **options: Any) -> Callable[[tuple[int, int]], Task]:
    return lambda size: kind(_trunk(), NUM_CLASSES, image_size=size, **options)


def _mobile(size: tuple[int, int]) -> FasterRCNN:
    return FasterRCNN(rcnn_mobilenet_v3(), NUM_CLASSES, image_size=size, **_REGIONS, **RCNN_MOBILE)


def _segmenter(kind: Any, **options: Any) -> Callable[[tuple[int, int]], Task]:
    return lambda size: kind(_trunk(dilated=True), NUM_CLASSES + 1, image_size=size, **options)


# The name of a certificate -> (the family of rules that convert torchvision's names, the model for images of a size).
BUILD: dict[str, tuple[str, Callable[[tuple[int, int]], Task]]] = {
    "ssd": ("ssd_resnet", _ssd),
    "ssdlite": ("ssdlite_resnet", lambda size: _ssd(size, separable_heads=True)),
    "retinanet": ("retinanet_resnet", _on_pyramid(RetinaNet, pyramid_channels=CHANNELS)),
    "retinanet_v2": ("retinanet_resnet", _on_pyramid(RetinaNet, pyramid_channels=CHANNELS, **RETINANET_V2)),
    "fcos": ("fcos_resnet", _on_pyramid(FCOS, pyramid_channels=CHANNELS)),
    "faster_rcnn": ("fasterrcnn_resnet", _on_pyramid(FasterRCNN, **_REGIONS)),
    "faster_rcnn_mobile": ("fasterrcnn_mobilenet_v3", _mobile),
    "mask_rcnn": ("maskrcnn_resnet", _on_pyramid(MaskRCNN, mask_channels=CHANNELS, **_REGIONS)),
    "keypoint_rcnn": ("keypointrcnn_resnet", _on_pyramid(KeypointRCNN, **_KEYPOINTS, **_REGIONS)),
    "fcn": ("fcn_resnet", _segmenter(FCN, **FCN_RESNET)),
    "deeplabv3": ("deeplabv3_resnet", _segmenter(DeepLabV3, **_DEEPLABV3)),
    "lraspp": ("lraspp_resnet", _segmenter(LRASPP, low="C2", upsampling="stretched", auxiliary=False)),
}


@dataclass(frozen=True)
class Comparison:
    """How far our training went from torchvision's.

    Args:
        name: of the certificate.
        steps: that were taken.
        losses: our name of a loss -> its relative difference at the last step.
        norms: torchvision's name of a tensor -> the relative difference of its norm after the last step.
        allowed: the greatest difference of a norm that is within the tolerance.
    """

    name: str
    steps: int
    losses: dict[str, float]
    norms: dict[str, float]
    allowed: float = TOLERANCE

    @property
    def ok(self) -> bool:
        """Whether every difference is within the tolerance; a NaN is not."""
        near = all(difference <= TOLERANCE for difference in self.losses.values())
        return near and all(difference <= self.allowed for difference in self.norms.values())

    def __str__(self) -> str:
        loss = max(self.losses, key=lambda name: _size(self.losses[name]))
        norm = max(self.norms, key=lambda name: _size(self.norms[name]))
        return (
            f"after {self.steps} steps the losses differ by {self.losses[loss]:.1e} at most ({loss}), "
            f"the norms of {len(self.norms)} tensors by {self.norms[norm]:.1e} ({norm})"
        )


def read_record(name: str) -> dict[str, Any]:
    """torchvision's course: "losses" {name: one value a step}, "norms_after" steps, "tensors" {name: shape, norms}."""
    return json.loads(files("visionkit.certify").joinpath("records", f"{name}.json").read_text(encoding="utf-8"))


def build(name: str, record: Mapping[str, Any]) -> Task:
    """Our model of a certificate, with the drawn weights where `scenes.is_drawn` says so.

    Raises:
        ValueError: a tensor of the record has no counterpart.
    """
    family, make = BUILD[name]
    model: Any = make(COURSES[name].image_size)
    if model.task != "segment":  # torchvision trains segmenters with statistics of the batch
        freeze_batch_norm(model.backbone)
    if isinstance(model, FasterRCNN):
        model.noise = _known_noise
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # each program would draw its own numbers
    shapes = {tensor: tuple(entry["shape"]) for tensor, entry in record["tensors"].items()}
    drawn = {tensor: scenes.drawn(tensor, shape) for tensor, shape in shapes.items() if scenes.is_drawn(tensor, shape)}
    report = assign(model, drawn, family)
    if report.skipped or report.new:
        raise ValueError(f"{name}: these tensors have no counterpart in our model: {report.skipped + report.new}")
    return model


def prepare(model: Task, course: Course) -> None:
    """Compiles a model for its course."""
    optimizer: Any = keras.optimizers.SGD(course.lr, momentum=scenes.MOMENTUM)
    compiled: Any = keras.backend.backend() == "jax"  # which otherwise runs operation by operation
    model.compile(optimizer=optimizer, jit_compile=compiled)
    optimizer.build(model.trainable_variables)


def train(model: Task, course: Course, steps: int) -> list[dict[str, float]]:
    """Takes the first steps of a course with a model that `prepare` compiled: the losses of each by our names."""
    losses: list[dict[str, float]] = []
    for step in range(steps):
        images, y = scenes.batch(course, step)
        found: Any = model.train_on_batch(images, {key: y[key] for key in TARGETS[model.task]}, return_dict=True)
        losses.append({key: float(value) for key, value in found.items()})
        model.reset_metrics()
    return losses


def compare(model: Task, losses: list[dict[str, float]], name: str, record: Mapping[str, Any]) -> Comparison:
    """Compares a training with the record of the certificate `name`, after as many steps."""
    steps = len(losses)
    column = record["norms_after"].index(steps)
    expected = {LOSSES[theirs]: values[steps - 1] for theirs, values in record["losses"].items()}
    tensors = record["tensors"]
    found = norms(model, {tensor: tuple(entry["shape"]) for tensor, entry in tensors.items()}, BUILD[name][0])
    return Comparison(
        name=name,
        steps=steps,
        losses={ours: _difference(losses[-1][ours], value) for ours, value in expected.items()},
        norms={
            tensor: _difference(norm, tensors[tensor]["norms"][column], LEAST_NORM)
            for tensor, norm in found.items()
            if not (name in STATISTICS and re.search(STATISTICS[name], tensor))
        },
        allowed=max(TOLERANCE, 2 * COURSES[name].spread),
    )


def norms(model: Task, shapes: Mapping[str, tuple[int, ...]], family: str) -> dict[str, float]:
    """The norms of our weights by torchvision's names of them."""
    layers = our_layers(model)
    empty = {tensor: np.broadcast_to(np.float32(0), shape) for tensor, shape in shapes.items()}
    found: dict[str, float] = {}
    for tensor, ours in our_names(empty, family, layers).items():
        layer, _, parameter = ours.rpartition(".")
        weight = getattr(layers[layer], fit(empty[tensor], parameter, layers[layer])[0])
        found[tensor] = float(np.linalg.norm(keras.ops.convert_to_numpy(weight)))
    return found


def certify(name: str, steps: int = scenes.STEPS) -> Comparison:
    """Trains our model of the certificate `name` for 5 or 30 steps and compares it with torchvision's."""
    record = read_record(name)
    model = build(name, record)
    prepare(model, COURSES[name])
    return compare(model, train(model, COURSES[name], steps), name, record)


def _known_noise(shape: tuple[Any, ...]) -> Tensor:
    """What replaces `FasterRCNN.noise`: the same for every image and every step, `[1, A]`."""
    return keras.ops.convert_to_tensor(scenes.sampling_noise(shape[1])[None])


def _difference(found: float, expected: float, least: float = 1e-6) -> float:
    return abs(found - expected) / max(abs(expected), least)


def _size(difference: float) -> float:
    """For sorting: NaN is the largest."""
    return float("inf") if np.isnan(difference) else difference

"""Fine-tunes a detector on a pretrained backbone, or one that was trained before; Mask R-CNN shares `detector`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.backbones.blocks import freeze_batch_norm
from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.data.keypoints import skeleton_of_data
from visionkit.data.transforms import detection_train
from visionkit.models import MODELS
from visionkit.models.faster_rcnn import FasterRCNN
from visionkit.models.fcos import FCOS
from visionkit.models.keypoint_rcnn import KeypointRCNN
from visionkit.models.mask_rcnn import MaskRCNN
from visionkit.models.nanodet import NanoDet
from visionkit.models.retinanet import RETINANET_V2, RetinaNet
from visionkit.models.ssd import SSD
from visionkit.models.task import Task
from visionkit.recipes.shared import (
    BACKBONE,
    augmented,
    check_model,
    network_size,
    peak_rate,
    pretrained,
    refuse_with_start,
    start_model,
    training_data,
)
from visionkit.train.learning import Learning
from visionkit.train.options import From, Map
from visionkit.train.recipe import Phase, Recipe
from visionkit.types import BOX_TASKS

IMAGES = 9600  # seen in all when epochs is None: what small data sets need to stop improving
# A two-stage detector for images of some 400 pixels, half of the papers' size: levels from stride 8 on, anchors of 32
# to 256 pixels, and fewer samples than the papers, which draw theirs from 2,000 proposals.
SMALL: dict[str, Any] = {
    "levels": ("C3", "C4", "C5"),
    "pyramid_channels": 128,
    "anchor_scales": (4.0,),
    "rpn_samples": 128,
    "roi_samples": 64,
    "train_proposals": 300,
}
LIGHT: dict[str, Any] = {"pyramid_channels": 128, "head_convs": 2}  # heads for such images, too
DETECTORS: dict[str, dict[str, Any]] = {
    "ssd": {},
    "ssdlite": {"separable_heads": True},
    "nanodet": {},
    "retinanet": RETINANET_V2 | LIGHT,
    "fcos": LIGHT,
    "faster_rcnn": SMALL,
    "mask_rcnn": SMALL | {"mask_channels": 128},
    "keypoint_rcnn": SMALL | {"keypoint_channels": 128},
}
CALLED = {"ssdlite": "ssd"}  # where the name in MODELS is another
# What a model of that name may start from.
KINDS: dict[str, tuple[type[Task], ...]] = {
    "ssd": (SSD,),
    "nanodet": (NanoDet,),
    "retinanet": (RetinaNet,),
    "fcos": (FCOS,),
    "faster_rcnn": (FasterRCNN,),
    "mask_rcnn": (FasterRCNN, MaskRCNN),
    "keypoint_rcnn": (FasterRCNN, KeypointRCNN),
}
BUILT: dict[str, type[Task]] = {"mask_rcnn": MaskRCNN, "keypoint_rcnn": KeypointRCNN}  # whatever it starts from
MASKS = 100  # objects per image whose masks are learned; an image of 1,000 would make every batch of 8 a gigabyte


def detect(
    data: Path,
    model: str | None = None,
    backbone: str = BACKBONE,
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int | None = None,
    lr: float | None = None,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    start: From = None,
    renamed: Map = (),
    learn_from: str | None = None,
    augment: dict[str, Any] | None = None,
    seed: int = 0,
) -> Recipe:
    """A detector with a feature pyramid on a pretrained backbone, or one that goes on from a trained detector.

    Args:
        data: a folder in any layout that `open_dataset` recognises.
        model: SSD; SSDLite, the same with the heads split for phones; Faster R-CNN, which takes longer and usually
            finds small objects better; NanoDet, which is small and has no anchors; RetinaNet or FCOS, with and without
            anchors. By default SSD, or what `start` is. Any other name in `MODELS` is taken as well.
        backbone: the name of one with published ImageNet weights, or that you added to `BACKBONES`.
        epochs: by default enough to see about 9,600 images, 10 to 60.
        image_size: the long side of the network's input; the short side follows the images' usual aspect ratio.
        batch_size: by default 16, and 8 for Faster R-CNN.
        lr: the peak learning rate for 16 images per step; it is scaled in proportion to the images per step. By default
            1e-3, and 3e-4 from a trained detector.
        freeze: the backbone's levels up to this one keep their pretrained weights; None trains all.
        patience: training stops after this many epochs without a better score on val.
        learning: how the weights are updated; without a `clip` of its own, gradients are clipped at 10.
        start: a trained detector to begin with, in place of `model` and `backbone`: the name of a published one, a run
            folder or a .keras file. Classes of equal names keep what they know.
        renamed: "person=pedestrian": the start's class person becomes the data's class pedestrian.
        learn_from: the splits to learn from, such as "train+val"; see `training_data`.
        augment: an albumentations pipeline as `data.augment_file.saved_form` gives it, in place of our augmentation.
        seed: of the split and the training.

    Raises:
        DataError: see `training_data`, or there is no such backbone.
    """
    task = getattr(MODELS.get(CALLED.get(model or "", model or "")), "task", "detect")  # of Mask R-CNN "instance"
    train, val = training_data(data, task if task in BOX_TASKS else "detect", seed, learn_from=learn_from)
    return detector(
        model,
        train,
        val,
        backbone=backbone,
        epochs=epochs,
        image_size=image_size,
        batch_size=batch_size,
        lr=lr,
        freeze=freeze,
        patience=patience,
        learning=learning,
        start=start,
        renamed=renamed,
        augment=augment,
        seed=seed,
    )


def detector(
    model: str | None,
    train: Dataset,
    val: Dataset | None,
    *,
    backbone: str = BACKBONE,
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int | None = None,
    lr: float | None = None,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    start: From = None,
    renamed: Map = (),
    augment: dict[str, Any] | None = None,
    seed: int = 0,
) -> Recipe:
    """What `detect`, `instance` and `keypoints` do once the data are split; the other arguments are those of `detect`.

    Args:
        model: a name in `DETECTORS`; None is "ssd", or what `start` is.
        train, val: with boxes, and masks for Mask R-CNN or keypoints for Keypoint R-CNN; the last epoch is kept if
            there is no `val`.
    """
    if model:
        check_model(CALLED.get(model, model), *BOX_TASKS)
    size = network_size(train, image_size)
    skeleton = skeleton_of_data(train, val) if model == "keypoint_rcnn" else None
    keypoints = {"keypoint_names": list(skeleton.names), "limbs": list(map(list, skeleton.limbs))} if skeleton else {}
    if start is None:
        model = model or "ssd"
        network, name = _on_backbone(model, backbone, size, train.class_names, keypoints), f"{model} on {backbone}"
    else:
        refuse_with_start(start, backbone=(backbone, BACKBONE), model=(CALLED.get(model or "") and model, None))
        kinds = (SSD, NanoDet, RetinaNet, FCOS, FasterRCNN) if model is None else _kinds(model)
        network = start_model(start, kinds, BUILT.get(model or ""), train, size, renamed, **keypoints)
        name = f"{type(network).__name__} from {start}"
    two_stages = isinstance(network, FasterRCNN)
    freeze_levels(network.backbone, freeze)
    if two_stages or isinstance(network, RetinaNet | FCOS):
        freeze_batch_norm(network.backbone)  # a step has too few images for statistics of its own
    if batch_size is None:
        batch_size = 8 if two_stages else 16
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(60, max(10, round(IMAGES / (steps * batch_size))))
    print(f"{name} at {size[0]}x{size[1]}: {len(train)} images, {epochs} epochs of {steps} steps")
    mirrors = skeleton is None or skeleton.mirrored is not None
    if not mirrors and augment is None:
        print("the names of the keypoints do not tell left from right, so images are not mirrored")
    if not learning.clip:
        learning = replace(learning, clip=10.0)
    peak = peak_rate(lr, start)
    rate = peak * batch_size * learning.accumulate / 16
    return Recipe(
        model=network,
        train=train,
        val=val,
        transform=augmented(augment, size, network.resize)
        or detection_train(size, max_expand=2.0, flip=0.5 if mirrors else 0.0),
        phases=[Phase(epochs, learning.optimizer_for(network, epochs * steps, rate))],
        batch_size=batch_size,
        patience=patience,
        max_objects=MASKS if model == "mask_rcnn" else None,
        seed=seed,
    )


def _kinds(model: str) -> tuple[type[Task], ...]:
    """What a model of this name may start from; the user's own only from its like."""
    own: Any = MODELS[model]
    return KINDS.get(model, (own,))


def _on_backbone(
    model: str, backbone: str, size: tuple[int, int], class_names: list[str], keypoints: dict[str, Any]
) -> Task:
    """The detector `model`, untrained, on a backbone with ImageNet weights."""
    trunk, licence = pretrained(backbone)
    options = DETECTORS.get(model, {}) | keypoints  # a model that the user added has none
    kind = MODELS[CALLED.get(model, model)]
    return kind(trunk, len(class_names), image_size=size, class_names=class_names, licence=licence, **options)

"""Fine-tunes a network for segmentation: the class of every pixel."""

from pathlib import Path
from typing import Any, Literal

from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.data.augment import Augment
from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.data.render import Transform
from visionkit.data.transforms import segmentation_train
from visionkit.models import MODELS
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
from visionkit.types import DataError, plain

IMAGES = 9600  # seen in all when epochs is None: what small data sets need to stop improving


def segment(
    data: Path,
    model: str | None = None,
    backbone: str = BACKBONE,
    epochs: int | None = None,
    image_size: int = 480,
    batch_size: int = 8,
    lr: float | None = None,
    freeze: str | None = "C1",
    finest: Literal["C0", "C1", "C2", "C3", "C4"] | None = None,
    dice: float = 0.0,
    min_scale: float = 0.75,
    max_scale: float = 2.0,
    classes: Path | None = None,
    void: int | None = None,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    start: From = None,
    renamed: Map = (),
    learn_from: str | None = None,
    augment: dict[str, Any] | None = None,
    seed: int = 0,
) -> Recipe:
    """A network for segmentation on a pretrained backbone, or one that goes on from a trained one.

    Args:
        data: images with class maps, in any layout that `open_dataset` recognises.
        image_size: the long side of the network's input; the short side follows the images' usual aspect ratio.
        min_scale, max_scale: of the random crops; 1 shows the whole image, 2 half its width and height.
        classes: a file that names the values 0, 1, ... of the maps line by line; by default classes.txt in the data.
        void: the value of the maps that is neither trained on nor scored, besides 255.
        augment: see `recipes.detect`; `min_scale` and `max_scale` are not used with it.

    The other arguments are those of `segmenter`.

    Raises:
        DataError: see `training_data`, or there is no such backbone.
    """
    train, val = training_data(data, "segment", seed, classes, void, learn_from=learn_from)
    size = network_size(train, image_size, multiple=1)
    transform = augmented(augment, size, "letterbox") or segmentation_train(size, scale=(min_scale, max_scale))
    return segmenter(
        train,
        val,
        transform,
        model=model,
        backbone=backbone,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        freeze=freeze,
        finest=finest,
        dice=dice,
        patience=patience,
        learning=learning,
        start=start,
        renamed=renamed,
        seed=seed,
    )


def segmenter(
    train: Dataset,
    val: Dataset | None,
    transform: Transform | Augment,
    *,
    model: str | None = None,
    backbone: str = BACKBONE,
    epochs: int | None = None,
    batch_size: int = 8,
    lr: float | None = None,
    freeze: str | None = "C1",
    finest: str | None = None,
    dice: float = 0.0,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    start: From = None,
    renamed: Map = (),
    seed: int = 0,
) -> Recipe:
    """What `segment` does once the data are split.

    Args:
        train, val: with class maps; the last epoch is kept if there is no `val`.
        transform: for training; its size is the network's.
        model: "fcn", the fastest; "deeplabv3" or "lraspp", on the dilated form of the backbone where it has one; or
            "unet", which draws the finest borders and takes the longest. By default FCN, or what `start` is. Any other
            name of a segmenter in `MODELS` is taken as well.
        backbone: the name of one with published ImageNet weights.
        epochs: by default enough to see about 9,600 images, 10 to 100.
        batch_size: images per step.
        lr: the peak learning rate, by default 1e-3, and 3e-4 from a trained model.
        freeze: the backbone's levels up to this one keep their pretrained weights; None trains all.
        finest: FCN classifies pixels by the levels from this one to C5, by default C3; U-Net goes back to this level,
            by default C0, full resolution. The others have no such choice.
        dice: the weight of the Dice loss beside the cross-entropy; it helps small classes.
        patience: training stops after this many epochs without a better score on val.
        learning: how the weights are updated.
        start, renamed: a trained segmenter to begin with, in place of `backbone`, `finest` and `dice`; see
            `recipes.detect`.
        seed: of the training.
    """
    size = transform.size
    names = train.class_names
    if model:
        check_model(model, "segment")
    if start is None:
        model = model or "fcn"
        network, name = _on_backbone(model, backbone, finest, dice, size, names), f"{model} on {backbone}"
    else:
        refuse_with_start(start, backbone=(backbone, BACKBONE), finest=(finest, None), dice=(dice, 0.0))
        network = start_model(start, _kinds(model), None, train, size, renamed)
        name = f"{type(network).__name__} from {start}"
    freeze_levels(network.backbone, freeze)
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(100, max(10, round(IMAGES / (steps * batch_size))))
    print(f"{name} at {size[0]}x{size[1]}: {len(train)} images, {epochs} epochs of {steps} steps")
    rate = peak_rate(lr, start)
    print(plain(f"{len(names)} classes: {', '.join(names)}"))
    return Recipe(
        model=network,
        train=train,
        val=val,
        transform=transform,
        phases=[Phase(epochs, learning.optimizer_for(network, epochs * steps, rate))],
        batch_size=batch_size,
        patience=patience,
        seed=seed,
    )


def _kinds(model: str | None) -> tuple[type[Task], ...]:
    """What a model of this name may start from: its own kind, or without a name any segmenter."""
    names = [name for name in MODELS if getattr(MODELS[name], "task", "") == "segment"] if model is None else [model]
    kinds: Any = [MODELS[name] for name in names]
    return tuple(kinds)


def _on_backbone(
    model: str, backbone: str, finest: str | None, dice: float, size: tuple[int, int], names: list[str]
) -> Task:
    """The segmenter `model`, untrained, on a backbone with ImageNet weights."""
    if finest and model not in ("fcn", "unet"):
        raise DataError(f"--finest {finest}: {model} has a fixed finest level; leave it out, or take fcn or unet")
    trunk, licence = pretrained(backbone, dilated=model in ("deeplabv3", "lraspp"))
    options: dict[str, Any] = {}
    if model == "fcn":
        options["levels"] = [f"C{n}" for n in range(int((finest or "C3")[1:]), 6)]
    elif finest:
        options["finest"] = finest
    return MODELS[model](trunk, len(names), image_size=size, dice=dice, class_names=names, licence=licence, **options)

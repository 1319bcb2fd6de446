"""The built-in recipes behind `visionkit finetune`: a pretrained backbone, the user's data, defaults that work.

Like a file in configs/, and unlike the rest of train/, this joins a backbone, a model and data.
"""

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from visionkit.backbones import BACKBONES
from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.backbones.blocks import freeze_batch_norm
from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.data.mix import CutMix, Mixup
from visionkit.data.recognise import open_dataset, splits
from visionkit.data.render import Transform
from visionkit.data.transforms import classification_train, detection_train, segmentation_train
from visionkit.models import MODELS
from visionkit.train.learning import Learning
from visionkit.train.recipe import Phase, Recipe
from visionkit.types import DataError
from visionkit.weights.cards import CARDS
from visionkit.weights.load import load_weights

# Of fine-tuning when --epochs is not given: what small data sets need to stop improving.
DETECT_IMAGES, SEGMENT_IMAGES, CLASSIFY_STEPS = 9600, 9600, 200
# A two-stage detector of images of some 400 pixels, half the papers': from the stride of 8 on, with anchors of 32 to
# 256 pixels, and a share of the samples that the papers draw from 2,000 proposals.
SMALL = {
    "levels": ("C3", "C4", "C5"),
    "pyramid_channels": 128,
    "anchor_scales": (4.0,),
    "rpn_samples": 128,
    "roi_samples": 64,
    "train_proposals": 300,
}
MASKS = 100  # objects of an image whose masks are learned; 1,000 in one image would make every batch of 8 a gigabyte


def detect(
    data: Path,
    model: Literal["ssd", "faster_rcnn"] = "ssd",
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int | None = None,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """A detector with a feature pyramid on a pretrained backbone.

    Args:
        data: a folder in any layout that `open_dataset` recognises.
        model: SSD, or Faster R-CNN, which takes longer and usually finds small objects better.
        image_size: the long side of the network's input; the short side follows the images' usual aspect ratio.
        batch_size: by default 16 for SSD and 8 for Faster R-CNN.
        lr: the peak learning rate at 16 images a step; in proportion at others.
        epochs: by default enough to see about 9,600 images, 10 to 60.
        freeze: the backbone's levels up to this one keep their pretrained weights; None trains all.
        patience: epochs without a better score on val after which training stops.
        learning: its rate is for 16 images a step.
    """
    train, val = training_data(data, "detect", seed)
    return detector(model, train, val, backbone, epochs, image_size, batch_size, lr, freeze, patience, learning, seed)


def instance(
    data: Path,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int = 8,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """A Mask R-CNN with a feature pyramid on a pretrained backbone, from boxes with masks; see `detect`."""
    train, val = training_data(data, "instance", seed)
    return detector(
        "mask_rcnn", train, val, backbone, epochs, image_size, batch_size, lr, freeze, patience, learning, seed
    )


def detector(
    model: str,
    train: Dataset,
    val: Dataset | None,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 384,
    batch_size: int | None = None,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """What `detect` and `instance` do, of data that is opened already; `model` is a name in MODELS."""
    size = network_size(train, image_size)
    trunk = backbone_of(backbone)
    load_weights(trunk, f"{backbone}_imagenet", verbose=False)
    freeze_levels(trunk, freeze)
    if model != "ssd":
        freeze_batch_norm(trunk)  # a step holds too few images for statistics of its own
    options = {"ssd": {}, "faster_rcnn": SMALL, "mask_rcnn": SMALL | {"mask_channels": 128}}[model]
    options = options | {"class_names": train.class_names, "licence": CARDS[f"{backbone}_imagenet"].licence}
    network = MODELS[model](trunk, len(train.class_names), image_size=size, **options)
    if batch_size is None:
        batch_size = 16 if model == "ssd" else 8
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(60, max(10, round(DETECT_IMAGES / (steps * batch_size))))
    print(f"{model} on {backbone} at {size[0]}x{size[1]}: {len(train)} images, {epochs} epochs of {steps} steps")
    learning = learning if learning.clip else replace(learning, clip=10.0)
    rate = lr * batch_size * learning.accumulate / 16
    return Recipe(
        model=network,
        train=train,
        val=val,
        transform=detection_train(size, max_expand=2.0),
        phases=[Phase(epochs, learning.optimizer_for(network, epochs * steps, rate))],
        batch_size=batch_size,
        patience=patience,
        max_objects=MASKS if model == "mask_rcnn" else None,
        seed=seed,
    )


def classify(
    data: Path,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 224,
    batch_size: int = 32,
    lr: float = 1e-3,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
    head_share: float = 0.4,
    unfreeze: str = "C3",
    class_weights: bool = False,
    label_smoothing: float = 0.1,
    dropout: float = 0.2,
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> Recipe:
    """The backbone with its paper's head: first the new last layer alone, then the upper levels at a fifth of the rate.

    Args:
        data: class folders.
        epochs: by default enough for about 200 steps, 10 to 40.
        head_share: of the epochs in which only the last layer learns.
        unfreeze: levels up to this one stay frozen to the end; None frees all.
        class_weights: weigh the loss of a class by the inverse of how often it occurs.
        patience: epochs without a better score on val after which training stops.
        mixup, cutmix: the alpha of the one that is above 0; see `data.mix`.

    Raises:
        DataError: both are.
    """
    if mixup and cutmix:
        raise DataError(f"--mixup {mixup:g} and --cutmix {cutmix:g}: a batch is blended in one way; leave one out")
    train, val = training_data(data, "classify", seed)
    size, names = (image_size, image_size), train.class_names
    trunk = backbone_of(backbone)
    counts = np.bincount([record.label for record in train.records], minlength=len(names))
    weights = (len(train) / (len(names) * np.maximum(counts, 1))).tolist() if class_weights else None
    model = MODELS["classifier"](
        trunk,
        len(names),
        class_names=names,
        image_size=size,
        dropout=dropout,
        label_smoothing=label_smoothing,
        class_weights=weights,
    )
    load_weights(model, f"{backbone}_imagenet", verbose=False)
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(40, max(10, round(CLASSIFY_STEPS / steps)))
    first = min(epochs - 1, max(1, round(head_share * epochs)))
    print(f"{backbone} at {size[0]}x{size[1]}: {len(train)} training images, {epochs} epochs of {steps} steps")

    def only_the_last_layer():
        for layer in model.layers:
            layer.trainable = layer.name.startswith("logits")

    def upper_levels():
        for layer in model.layers:  # one by one: Keras passes over `model.trainable = True` where it is True already
            layer.trainable = True
        freeze_levels(trunk, unfreeze)

    def phase(count, peak, prepare):
        return Phase(count, learning.optimizer_for(model, count * steps, peak), prepare)

    phases = (first, 5 * lr, only_the_last_layer), (epochs - first, lr / 5, upper_levels)
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=classification_train(size),
        phases=[phase(*one) for one in phases if one[0]],  # of a single epoch there is the second alone
        batch_size=batch_size,
        evaluate_every=2,
        patience=patience,
        mix=Mixup(mixup) if mixup else CutMix(cutmix) if cutmix else None,
        seed=seed,
    )


def segment(
    data: Path,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 480,
    batch_size: int = 8,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    finest: Literal["C2", "C3", "C4"] = "C3",
    dice: float = 0.0,
    min_scale: float = 0.75,
    max_scale: float = 2.0,
    classes: Path | None = None,
    void: int | None = None,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """A fully convolutional network on a pretrained backbone.

    Args:
        data: images with class maps, in any layout that `open_dataset` recognises.
        image_size: the long side of the network's input; the short side follows the images' usual aspect ratio.
        min_scale, max_scale: of the random crops; 1 shows the whole image, 2 half its width and height.
        classes: a file that names the values 0, 1, ... of the maps line by line; by default classes.txt in the data.
        void: the value of the maps that is neither trained on nor scored, besides 255.
        The others: see `segmenter`.
    """
    train, val = training_data(data, "segment", seed, classes, void)
    size = network_size(train, image_size)
    transform = segmentation_train(size, scale=(min_scale, max_scale))
    return segmenter(
        train, val, transform, backbone, epochs, batch_size, lr, freeze, finest, dice, patience, learning, seed
    )


def segmenter(
    train: Dataset,
    val: Dataset | None,
    transform: Transform,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    batch_size: int = 8,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    finest: str = "C3",
    dice: float = 0.0,
    patience: int | None = None,
    learning: Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> Recipe:
    """What `segment` does once the data are split.

    Args:
        train, val: with class maps; the last epoch is kept where there is no `val`.
        transform: for training; its size is the network's.
        epochs: by default enough to see about 9,600 images, 10 to 100.
        freeze: the backbone's levels up to this one keep their pretrained weights; None trains all.
        finest: the classes are told from the levels between this one and C5.
        dice: the weight of the Dice loss beside the cross-entropy; it cares for small classes.
    """
    size, names = transform.size, train.class_names
    trunk = backbone_of(backbone)
    load_weights(trunk, f"{backbone}_imagenet", verbose=False)
    freeze_levels(trunk, freeze)
    levels = [f"C{n}" for n in range(int(finest[1:]), 6)]
    options = {"class_names": names, "licence": CARDS[f"{backbone}_imagenet"].licence}
    model = MODELS["fcn"](trunk, len(names), image_size=size, levels=levels, dice=dice, **options)
    steps = steps_per_epoch(train, batch_size)
    if epochs is None:
        epochs = min(100, max(10, round(SEGMENT_IMAGES / (steps * batch_size))))
    print(f"fcn on {backbone} at {size[0]}x{size[1]}: {len(train)} images, {epochs} epochs of {steps} steps")
    print(f"{len(names)} classes: {', '.join(names)}")
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=transform,
        phases=[Phase(epochs, learning.optimizer_for(model, epochs * steps, lr))],
        batch_size=batch_size,
        patience=patience,
        seed=seed,
    )


def training_data(
    data: Path, task: str, seed: int, classes: Path | None = None, void: int | None = None
) -> tuple[Dataset, Dataset | None]:
    """Which samples are learned from and which choose the best epoch.

    With a test split there is an honest number to come, so train and val (or trainval) are learned from and nothing is
    chosen; with train and val each does what its name says; else every fifth image, drawn by `seed`, is held back.
    `classes` and `void` are those of `open_dataset`.

    Raises:
        DataError: beside a test split there is none to learn from; or a single image, or what `open_dataset` finds.
    """
    read = partial(open_dataset, data, task=task, classes=classes, void=void)
    names = splits(data, task)
    used = "+".join(name for name in ("train", "val") if name in names)
    if not used and "trainval" in names:
        used = "trainval"
    if used and "test" in names:
        train, val = read(used), None
        meaning = [("--classes", classes), ("--void", void)]
        words = [word for pair in meaning if pair[1] is not None for word in pair]
        score = shlex.join(map(str, ["visionkit", "evaluate", "RUN", data, "--split", "test", *words]))
        print(f"{train.source}: training on {used}; score with: {score}")
    elif "train" in names and "val" in names:
        train, val = read("train"), read("val")
        print(f"{train.source}: training on train, choosing the best epoch on val")
    elif "test" in names:
        raise DataError(f"{data}: has the splits {', '.join(names)}; which is to learn from? call it train or trainval")
    else:
        whole = read(used if used in ("train", "trainval") else None)
        order = np.random.default_rng(seed).permutation(len(whole))
        if len(whole) < 2:
            raise DataError(f"{data}: holds one image; training needs at least one more to be scored on")
        held = max(1, len(whole) // 5)
        val, train = whole.subset(sorted(order[:held])), whole.subset(sorted(order[held:]))
        print(f"{whole.source}: no val split, so {held} of {len(whole)} images are held back to choose the best epoch")
    return train, val


def network_size(dataset: Dataset, long_side: int) -> tuple[int, int]:
    """(height, width) of the network's input with the images' median aspect ratio, so that little is padding.

    In multiples of 32 every level of a backbone lies exactly over the next finer one.
    """
    aspect = np.median([h / w for h, w in (record.image_size for record in dataset.records)])

    def fit(side):
        return max(32, round(side / 32) * 32)

    return (fit(long_side), fit(long_side / aspect)) if aspect > 1 else (fit(long_side * aspect), fit(long_side))


def backbone_of(name: str) -> keras.Model:
    """The backbone `name`, or an error that lists those with published weights."""
    if name not in BACKBONES or f"{name}_imagenet" not in CARDS:
        known = [backbone for backbone in BACKBONES if f"{backbone}_imagenet" in CARDS]
        raise DataError(f"no pretrained backbone {name!r}; there are {', '.join(known)}")
    return BACKBONES[name]()

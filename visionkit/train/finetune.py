"""The built-in recipes behind `visionkit finetune`: a pretrained backbone, the user's data, defaults that work.

Like a file in configs/, and unlike the rest of train/, this joins a backbone, a model and data.
"""

import math
from pathlib import Path

import keras
import numpy as np

from visionkit.backbones import BACKBONES
from visionkit.backbones.blocks import freeze as freeze_levels
from visionkit.data.dataset import Dataset
from visionkit.data.recognise import open_dataset, splits
from visionkit.data.transforms import detection_train
from visionkit.models import MODELS
from visionkit.train.recipe import Recipe, schedule
from visionkit.types import DataError
from visionkit.weights import load_weights

STEPS = 600  # of fine-tuning when --epochs is not given; what small data sets need to stop improving


def detect(
    data: Path,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 320,
    batch_size: int = 16,
    lr: float = 1e-3,
    freeze: str | None = "C1",
    seed: int = 0,
) -> Recipe:
    """An SSD with a feature pyramid on a pretrained backbone.

    Args:
        data: a folder in any layout that `open_dataset` recognises.
        image_size: the long side of the network's input; the short side follows the images' usual aspect ratio.
        freeze: the backbone's levels up to this one keep their pretrained weights; None trains all.
        epochs: by default enough for about 600 steps, 10 to 60.
    """
    train, val = training_data(data, "detect", seed)
    size = network_size(train, image_size)
    trunk = pretrained(backbone, freeze)
    model = MODELS["ssd"](trunk, len(train.class_names), class_names=train.class_names, image_size=size)
    steps = math.ceil(len(train) / batch_size)
    epochs = epochs or min(60, max(10, round(STEPS / steps)))
    print(f"{backbone} at {size[0]}x{size[1]}: {len(train)} training images, {epochs} epochs of {steps} steps")
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=detection_train(size),
        optimizer=keras.optimizers.AdamW(schedule(epochs * steps, lr), weight_decay=1e-4, global_clipnorm=10.0),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
    )


def training_data(data: Path, task: str, seed: int) -> tuple[Dataset, Dataset | None]:
    """Which samples are learned from and which choose the best epoch.

    With a test split there is an honest number to come, so train and val are both learned from and nothing is chosen;
    with train and val each does what its name says; without splits every fifth image, drawn by `seed`, is held back.
    """
    names = splits(data, task)
    used = "+".join(name for name in ("train", "val") if name in names)
    if used and "test" in names:
        train, val = open_dataset(data, used, task), None
        print(f"{train.source}: training on {used}; score with: visionkit evaluate RUN {data.name} --split test")
    elif "train" in names and "val" in names:
        train, val = open_dataset(data, "train", task), open_dataset(data, "val", task)
        print(f"{train.source}: training on train, choosing the best epoch on val")
    else:
        whole = open_dataset(data, "train" if "train" in names else None, task)
        order = np.random.default_rng(seed).permutation(len(whole))
        if len(whole) < 2:
            raise DataError(f"{data}: holds one image; training needs at least one more to be scored on")
        held = max(1, len(whole) // 5)
        val, train = whole.subset(sorted(order[:held])), whole.subset(sorted(order[held:]))
        print(f"{whole.source}: no val split, so {held} of {len(whole)} images are held back to choose the best epoch")
    return train, val


def network_size(dataset: Dataset, long_side: int, multiple: int = 32) -> tuple[int, int]:
    """(height, width) of the network's input with the images' median aspect ratio, so that little is padding."""
    aspect = np.median([h / w for h, w in (record.image_size for record in dataset.records)])

    def fit(side):
        return max(multiple, round(side / multiple) * multiple)

    return (fit(long_side), fit(long_side / aspect)) if aspect > 1 else (fit(long_side * aspect), fit(long_side))


def pretrained(name: str, freeze: str | None = None) -> keras.Model:
    """The backbone `name` with its ImageNet weights and its levels up to `freeze` frozen."""
    if name not in BACKBONES:
        raise DataError(f"there is no backbone {name!r}; there are {', '.join(BACKBONES)}")
    trunk = BACKBONES[name]()
    load_weights(trunk, f"{name}_imagenet", verbose=False)
    freeze_levels(trunk, freeze)
    return trunk

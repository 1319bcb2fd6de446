"""What the built-in recipes share: which images train and which are scored, the size of the network, the backbone."""

import shlex
from functools import partial
from pathlib import Path

import keras
import numpy as np

from visionkit.backbones import BACKBONES
from visionkit.data.dataset import Dataset
from visionkit.data.recognise import open_dataset, splits
from visionkit.types import DataError
from visionkit.weights.cards import CARDS


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

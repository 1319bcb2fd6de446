"""What the built-in recipes share: the split of the data, the size of the network's input, the backbone."""

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
    """(train, val): the samples to learn from, and those that choose the best epoch, None to keep the last epoch.

    If there is a test split, an honest score can be had from it later, so train and val (or trainval) are both learned
    from and no epoch is chosen. Otherwise train and val do what their names say. Without a val split, a fifth of the
    images, drawn by `seed`, is held back.

    Args:
        task, classes, void: see `open_dataset`.

    Raises:
        DataError: there is a test split but none to learn from, or a single image; or see `open_dataset`.
    """
    read = partial(open_dataset, data, task=task, classes=classes, void=void)
    names = splits(data, task)
    used = "+".join(name for name in ("train", "val") if name in names)
    if not used and "trainval" in names:
        used = "trainval"
    if used and "test" in names:
        train, val = read(used), None
        words = ["visionkit", "evaluate", "RUN", str(data), "--split", "test"]
        if classes is not None:
            words += ["--classes", str(classes)]
        if void is not None:
            words += ["--void", str(void)]
        print(f"{train.source}: training on {used}; score with: {shlex.join(words)}")
    elif "train" in names and "val" in names:
        train, val = read("train"), read("val")
        print(f"{train.source}: training on train, choosing the best epoch on val")
    elif "test" in names:
        raise DataError(f"{data}: has the splits {', '.join(names)}; rename the one to learn from to train or trainval")
    else:
        whole = read(used if used in ("train", "trainval") else None)
        order = np.random.default_rng(seed).permutation(len(whole))
        if len(whole) < 2:
            raise DataError(f"{data}: holds one image; training needs at least one more, to be scored on")
        held = max(1, len(whole) // 5)
        val, train = whole.subset(sorted(order[:held])), whole.subset(sorted(order[held:]))
        print(f"{whole.source}: no val split, so {held} of {len(whole)} images are held back to choose the best epoch")
    return train, val


def network_size(dataset: Dataset, long_side: int) -> tuple[int, int]:
    """(height, width) of the network's input: with the images' median aspect ratio, so that little of it is padding.

    Both are multiples of 32, with which every level of a backbone lies exactly over the next finer one.
    """
    aspect = float(np.median([h / w for h, w in (record.image_size for record in dataset.records)]))
    if aspect > 1:
        return _multiple_of_32(long_side), _multiple_of_32(long_side / aspect)
    return _multiple_of_32(long_side * aspect), _multiple_of_32(long_side)


def _multiple_of_32(side: float) -> int:
    return max(32, round(side / 32) * 32)


def backbone_of(name: str) -> keras.Model:
    """The backbone `name`, with weights still to be loaded.

    Raises:
        DataError: there is none with published ImageNet weights; lists those that there are.
    """
    if name not in BACKBONES or f"{name}_imagenet" not in CARDS:
        known = [backbone for backbone in BACKBONES if f"{backbone}_imagenet" in CARDS]
        raise DataError(f"no pretrained backbone {name!r}; there are {', '.join(known)}")
    return BACKBONES[name]()

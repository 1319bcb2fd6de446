"""A classifier of drawn pictures that trains in a second."""

from pathlib import Path

import keras
import numpy as np

from visionkit.backbones import BACKBONES
from visionkit.data.arrays import arrays
from visionkit.data.batches import steps_per_epoch
from visionkit.data.recognise import open_dataset
from visionkit.models import MODELS
from visionkit.train.recipe import Phase, Recipe, schedule


def drawn(count, seed):
    """Grey 6x6 images of three classes, told by which third is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 120, (count, 6, 6))
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 100
    return arrays(images.astype(np.uint8), labels, ["top", "middle", "bottom"], prefix=f"{seed}/")


def of_folder(data: Path, epochs: int = 2, seed: int = 0, learn_from: str | None = None) -> Recipe:
    """The same of a folder of such pictures, as `finetune` would learn from it."""
    train = open_dataset(data, learn_from or "train", "classify")
    backbone = BACKBONES["mlp"]((6, 6, 3), widths=(8,))
    model = MODELS["classifier"](backbone, 3, class_names=train.class_names, image_size=(6, 6), resize="stretch")
    phases = [Phase(epochs, keras.optimizers.Adam(0.02))]
    return Recipe(model=model, train=train, val=None, phases=phases, batch_size=8, evaluate_every=epochs, seed=seed)


def recipe(lr: float = 0.1, epochs: int = 2, val: bool = True, seed: int = 0) -> Recipe:
    train = drawn(24, 0)
    model = MODELS["classifier"](
        BACKBONES["mlp"]((6, 6, 1), widths=(4,)), 3, class_names=train.class_names, image_size=(6, 6), resize="stretch"
    )
    optimizer = keras.optimizers.SGD(schedule(epochs * steps_per_epoch(train, 8), lr))
    return Recipe(
        model=model,
        train=train,
        val=drawn(9, 1) if val else None,
        phases=[Phase(epochs, optimizer)],
        batch_size=8,
        evaluate_every=1,
        seed=seed,
    )

"""Small recipes: a detector of drawn shapes, a classifier of class folders, an untrained model of each kind."""

from pathlib import Path

import keras
from support.tiny import tiny_backbone

from visionkit.data.figures import SKELETON, figures
from visionkit.data.readers.folder import folder
from visionkit.data.render import Transform
from visionkit.data.shapes import shape_maps, shapes
from visionkit.data.transforms import detection_train
from visionkit.models import MODELS
from visionkit.train.recipe import Phase, Recipe, schedule

SIZE = (64, 96)


def recipe(lr: float = 3e-3, epochs: int = 3, seed: int = 0, poison: bool = False) -> Recipe:
    train, val = shapes(16, SIZE, seed=seed), shapes(6, SIZE, seed=seed, split="val")
    optimizer = keras.optimizers.SGD(float("inf")) if poison else keras.optimizers.Adam(schedule(epochs * 4, lr))
    model = MODELS["ssd"](
        tiny_backbone(), len(train.class_names), class_names=train.class_names, image_size=SIZE, pyramid_channels=16
    )
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=detection_train(SIZE, strength="light"),
        phases=[Phase(epochs=1, optimizer=optimizer), Phase(epochs=epochs - 1, optimizer=keras.optimizers.Adam(lr))],
        batch_size=4,
        evaluate_every=2,
        seed=seed,
    )


def sorter(data: Path, patience: int | None = None, val: bool = True) -> Recipe:
    """Class folders in two phases, scored after every epoch: the rate is 0, so no score is better than the first."""
    train = folder(data)
    model = MODELS["classifier"](tiny_backbone(), 2, class_names=train.class_names, image_size=SIZE, resize="stretch")
    return Recipe(
        model=model,
        train=train,
        val=train if val else None,
        transform=Transform(SIZE, "stretch"),
        phases=[Phase(3, keras.optimizers.SGD(0.0)), Phase(5, keras.optimizers.SGD(0.0))],
        batch_size=1,
        evaluate_every=1,
        patience=patience,
    )


def of_kind(kind):
    """A plan for drawn shapes with an untrained model of this kind."""
    data = {"fcn": shape_maps, "keypoint_rcnn": figures}.get(kind, shapes)(4, SIZE)
    knobs = {
        "fcn": {"head_units": 8},
        "nanodet": {"pyramid_channels": 8},
        "faster_rcnn": RCNN,
        "mask_rcnn": RCNN | {"mask_channels": 8},
        "keypoint_rcnn": RCNN | {"keypoint_names": SKELETON.names, "keypoint_channels": 8},
    }[kind]
    backbone, names = tiny_backbone(), data.class_names
    model = MODELS[kind](backbone, len(names), class_names=names, image_size=SIZE, **knobs)
    return Recipe(model=model, train=data, phases=[], batch_size=2)


RCNN = {"levels": ("C3", "C4", "C5"), "anchor_scales": (1.5, 2.5), "pyramid_channels": 8, "head_units": 8}

"""The recipe of `visionkit selftest resume`: everything that a resumed run could get wrong, in the smallest size.

A detector of drawn shapes with batch norm and dropout, full augmentation, momentum, an average of the weights and a
learning rate schedule, in two phases that augment differently, scored every second epoch.
"""

import keras
from keras import layers

from visionkit.data.shapes import shapes
from visionkit.data.transforms import detection_train
from visionkit.models import MODELS
from visionkit.train.recipe import Phase, Recipe, schedule

SIZE = (64, 64)
BATCH = 4
STEPS = 8  # per epoch


def recipe(epochs: int = 6, seed: int = 0) -> Recipe:
    """Two phases with `epochs` epochs in all; in the first only the heads learn."""
    train = shapes(BATCH * STEPS, SIZE, seed=seed, background="noise")
    val = shapes(4, SIZE, seed=seed, split="val", background="noise")
    images = keras.Input((None, None, 3), name="images")
    x = layers.Rescaling(1 / 127.5, -1.0)(images)
    levels = {}
    for n in range(1, 6):
        x = layers.Conv2D(4 * n, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.Dropout(0.2)(layers.ReLU()(layers.BatchNormalization()(x)))
        levels[f"C{n}"] = x
    backbone = keras.Model(images, {level: levels[level] for level in ("C4", "C5")}, name="tiny")
    model = MODELS["ssd"](
        backbone,
        len(train.class_names),
        class_names=train.class_names,
        image_size=SIZE,
        levels=("C4", "C5"),
        extra_levels=0,
        pyramid_channels=8,
    )

    def phase(count: int, trainable: bool, strength: str) -> Phase:
        def prepare() -> None:
            backbone.trainable = trainable

        optimizer = keras.optimizers.SGD(
            schedule(count * STEPS, 0.01), momentum=0.9, use_ema=True, ema_momentum=0.9, global_clipnorm=5.0
        )
        return Phase(count, optimizer, prepare, detection_train(SIZE, strength=strength))

    first = epochs // 2
    return Recipe(
        model=model,
        train=train,
        val=val,
        phases=[phase(first, False, "full"), phase(epochs - first, True, "light")],
        batch_size=BATCH,
        evaluate_every=2,
        seed=seed,
    )

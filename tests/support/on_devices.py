"""Trains the recipes below on CPU devices, in a process of its own: the CPU must be two devices before it is used.

`python on_devices.py train RUN RECIPE DEVICES [RUN RECIPE DEVICES ...]` makes those runs, `python on_devices.py resume
RUN` continues one. With TF_CONFIG, DEVICES is auto and this is one of several processes.
"""

import os
import sys
from pathlib import Path

import keras
from keras import layers

from visionkit.data.shapes import shape_maps, shapes
from visionkit.data.transforms import detection_train, segmentation_train
from visionkit.models import MODELS
from visionkit.train import checkpoint
from visionkit.train.learning import Learning
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.run import resume, run

SIZE, BATCH, STEPS = (64, 64), 4, 4
LEARNING = Learning(optimizer="momentum", ema=0.9, clip=0.5, l2=1e-3)  # the clip does cut


def backbone():
    images = keras.Input((None, None, 3), name="images")
    x, levels = layers.Rescaling(1 / 127.5, -1.0)(images), {}
    for n in range(1, 6):
        x = layers.Conv2D(4 * n, 3, strides=2, padding="same", use_bias=False)(x)
        x = levels[f"C{n}"] = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(images, {level: levels[level] for level in ("C4", "C5")}, name="tiny")


def planned(model, train, val, transform, epochs) -> Recipe:
    count = epochs * STEPS
    phases = [Phase(epochs, LEARNING.optimizer_for(model, count, 0.02))]
    options = {"phases": phases, "batch_size": BATCH, "evaluate_every": epochs}
    return Recipe(model=model, train=train, val=val, transform=transform, **options)


def detect(epochs: int = 2) -> Recipe:
    """Images with one to five objects: devices differ in how many anchors are matched."""
    train = shapes(BATCH * STEPS, SIZE, background="noise")
    options = {"class_names": train.class_names, "levels": ("C4", "C5"), "extra_levels": 0, "pyramid_channels": 8}
    options |= {"anchor_scale": 1.0}
    model = MODELS["ssd"](backbone(), len(train.class_names), image_size=SIZE, **options)
    return planned(model, train, None, detection_train(SIZE), epochs)


def segment(epochs: int = 2, dropout: float = 0.0) -> Recipe:
    """Classes weigh differently, and devices hold different ones; scored at the end."""
    train, val = (shape_maps(count, SIZE, split=split) for count, split in ((BATCH * STEPS, "train"), (3, "val")))
    options = {"class_names": train.class_names, "levels": ("C4", "C5"), "head_units": 8, "dropout": dropout}
    weights = [0.5, 1.0, 2.0, 1.0, 4.0]
    model = MODELS["fcn"](backbone(), 5, image_size=SIZE, dice=0.5, class_weights=weights, **options)
    return planned(model, train, val, segmentation_train(SIZE), epochs)


checkpoint.remove_old = lambda folder, step, keep: None  # so that a run can be resumed from any


def main(verb: str, *words: str):
    if keras.backend.backend() == "tensorflow" and "TF_CONFIG" not in os.environ:
        import tensorflow as tf

        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    if verb == "resume":
        return resume(Path(words[0]))
    for out, name, devices in zip(*[iter(words)] * 3, strict=True):
        knobs = {"dropout": 0.2} if name == "segment" and keras.backend.backend() == "jax" else {}
        devices = devices if devices == "auto" else int(devices)
        options = Options(devices=devices, checkpoint_steps=3)
        run({"detect": detect, "segment": segment}[name], knobs, Path(out), options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])

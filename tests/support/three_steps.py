"""`python -m support.three_steps`: what models saved in the working folder lose on the backend of KERAS_BACKEND."""

import json
from pathlib import Path

import keras
import numpy as np
from support.tiny import random_batch

import visionkit.models  # noqa: F401, so that Keras knows the classes that the files name

# Mask R-CNN has Faster R-CNN in it.
NAMES = ["ssd", "nanodet", "retinanet", "fcos", "mask_rcnn", "keypoint_rcnn", "fcn"]


def losses(folder: Path):
    """{name: the losses of three steps}; under "portraits" what the SSD then says at another size."""
    on_jax = keras.backend.backend() == "jax"  # which compiles operation by operation if it is not to compile it all
    found = {}
    for name in NAMES:
        model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
        model.compile(optimizer=optimizer, jit_compile=on_jax, run_eagerly=not on_jax)
        found[name] = []
        portrait = model.for_size(model.image_size[::-1]) if name == "ssd" else None
        for step in range(3):
            images, y = random_batch(batch=2, seed=step)
            found[name].append(float(model.train_on_batch(images, y, return_dict=True)["loss"]))
            model.reset_metrics()
        if portrait:  # a network of another size that shares the trained weights
            images = np.swapaxes(random_batch(batch=2)[0], 1, 2)
            found["portraits"] = np.abs(portrait.predict_on_batch(images)["logits"]).mean(axis=(1, 2)).tolist()
    return found


if __name__ == "__main__":
    print(json.dumps([keras.backend.backend(), losses(Path.cwd())]))

"""visionkit's part of gpu.py: reads a job as JSON from stdin, and prints a JSON line for each of its measures."""

import contextlib
import json
import sys
from functools import partial
from pathlib import Path

from gpu_cases import CASES, CLASSES, TINY, Case, images, rate, targets

from visionkit.environment import import_keras_quietly

LR = 1e-4  # of the steps whose losses are compared


def main():
    job = json.load(sys.stdin)
    import_keras_quietly()
    for row in {"answers": answers, "speed": speed}[job.pop("what")](**job):
        print(json.dumps(row), flush=True)


def build(name: str, case: Case):
    """The model with drawn weights: the same on every device and backend that loads the file of its first owner."""
    import keras

    from visionkit.backbones import BACKBONES
    from visionkit.models import Classifier
    from visionkit.weights.detectors import DETECTORS
    from visionkit.weights.segmenters import SEGMENTERS

    keras.utils.set_random_seed(0)
    if case.kind == "classify":
        return Classifier(BACKBONES[name](), CLASSES, image_size=case.size)
    return (DETECTORS if case.kind == "detect" else SEGMENTERS)[name](CLASSES, image_size=case.size)


def answers(cases: list[str], tiny: bool, models: str, folder: str):
    """What computes; then each model's outputs for two images, in `folder`, and its losses in three steps.

    The first process that runs writes the models to the folder `models`, and all others load them.
    """
    import keras
    import numpy as np

    import visionkit.models  # noqa: F401, so that Keras knows the classes that the files name
    from visionkit.environment import environment

    yield environment() | {"devices": keras.distribution.list_devices()}
    for name in cases:
        case, file = (TINY if tiny else CASES)[name], Path(models, f"{name}.keras")
        if not file.exists():
            build(name, case).save(file)
        model = keras.saving.load_model(file, compile=False)
        model.compile(keras.optimizers.SGD(LR), jit_compile=keras.backend.backend() == "jax")
        x = images(case.size, 2)
        outputs = model.predict_on_batch(x)
        flat = {key: np.asarray(value, np.float32) for key, value in outputs.items()}
        losses = [float(model.train_on_batch(x, targets(case, 2), return_dict=True)["loss"])]
        for _ in range(2):
            model.reset_metrics()
            losses.append(float(model.train_on_batch(x, targets(case, 2), return_dict=True)["loss"]))
        np.savez(Path(folder, f"{name}.npz"), **flat)
        yield {"case": name, "losses": losses, "outputs": str(Path(folder, f"{name}.npz"))}


def speed(cases: list[str], tiny: bool, precision: str, xla: bool, seconds: float):
    """Images a second of `serving()` and of training steps, from arrays in the host's memory to results there."""
    import keras

    keras.config.set_dtype_policy(precision)
    xla = xla or keras.backend.backend() == "jax"
    for name in cases:
        case = (TINY if tiny else CASES)[name]
        model = build(name, case)
        serving = model.serving()
        serving.jit_compile = xla
        for count in case.inference:
            measured = rate(partial(serving.predict_on_batch, images(case.size, count)), count, seconds)
            yield {"case": name, "measure": f"inference, batch {count}", **measured, **memory()}
        model.compile(keras.optimizers.SGD(LR, momentum=0.9), jit_compile=xla)
        x, y = images(case.size, case.training), targets(case, case.training)
        measured = rate(partial(model.train_on_batch, x, y), case.training, seconds)
        loss = round(float(model.get_metrics_result()["loss"]), 4)
        yield {"case": name, "measure": f"training, batch {case.training}", **measured, "loss": loss, **memory()}


def memory() -> dict[str, int]:
    """The most memory of the first GPU that was in use so far, in MiB; {} without one."""
    import keras

    with contextlib.suppress(Exception):  # each backend has its own errors where there is no such device
        if keras.backend.backend() == "jax":
            import jax

            return {"peak_mb": jax.devices("gpu")[0].memory_stats()["peak_bytes_in_use"] >> 20}
        import tensorflow as tf

        return {"peak_mb": tf.config.experimental.get_memory_info("GPU:0")["peak"] >> 20}
    return {}


if __name__ == "__main__":
    main()

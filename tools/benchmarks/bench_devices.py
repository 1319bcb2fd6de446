"""Measures training steps on one and on several devices, and with --deterministic. A maintenance script, not a verb.

python tools/benchmarks/bench_devices.py --devices 1 2 --out devices.json

A ResNet-20 is trained on random images of 32 x 32, in a separate process for each row of the table; the batch is the
same for any number of devices. Without GPUs the CPU is divided into devices, which shows what sharing costs and cannot
show a gain. The JSON file has the rows and the environment.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from visionkit.environment import environment, import_keras_quietly
from visionkit.processes import run_python
from visionkit.train.options import make_deterministic

STEPS, WARM = 24, 4  # measured, and before them


def main():
    parser = argparse.ArgumentParser(description="Seconds a training step by the number of devices.")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-size", type=int, default=64, help="images a step, of all devices together")
    parser.add_argument("--out", type=Path, help="the JSON file; by default only the table is printed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(**json.loads(options.child))
    rows = []
    for deterministic in (False, True):
        for devices in options.devices:
            row = {"devices": devices, "deterministic": deterministic, "batch_size": options.batch_size}
            ended = run_python([__file__, "--child", json.dumps(row)])
            if ended.failure:
                raise SystemExit(ended.failure)
            rows.append(row | json.loads(ended.output.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    import_keras_quietly()
    if options.out:
        options.out.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=2) + "\n")


def child(devices: int, deterministic: bool, batch_size: int):
    """Prints the medians of a step as JSON; the cores' seconds are little moved by what else the machine does."""
    if deterministic:
        make_deterministic()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    import_keras_quietly()
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            parts = [tf.config.LogicalDeviceConfiguration()] * devices
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    from visionkit.backbones import BACKBONES
    from visionkit.data.arrays import arrays
    from visionkit.data.batches import batches
    from visionkit.models import MODELS
    from visionkit.train.devices import devices_for

    rng, several = np.random.default_rng(0), devices_for(devices)
    images, labels = rng.integers(0, 256, (batch_size, 32, 32, 3)).astype(np.uint8), rng.integers(0, 10, batch_size)
    feed = batches(arrays(images, labels, range(10)), None, batch_size, task="classify", epochs=WARM + STEPS)
    with several.building():
        model = MODELS["classifier"](BACKBONES["resnet20_cifar"](), 10, image_size=(32, 32))
        several.prepare(model)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=keras.backend.backend() == "jax")
        model.optimizer.build(model.trainable_variables)
    several.add_up(model.optimizer)
    ends = []  # of each step: seconds on the clock, and of all processor cores

    def note(batch, logs):
        ends.append((time.perf_counter(), time.process_time()))

    clock = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    shared = several.share(feed, next(iter(feed)))
    with several.fitting():
        model.fit(shared, steps_per_epoch=WARM + STEPS, callbacks=[clock], shuffle=False, verbose=0)
    step, cores = np.median(np.diff(ends, axis=0)[WARM - 1 :], axis=0)
    row = {"seconds_per_step": step, "core_seconds_per_step": cores, "images_per_second": batch_size / step}
    print(json.dumps({name: round(value, 4) for name, value in row.items()}))


if __name__ == "__main__":
    main()

"""What the checks of targets cost: the time of a training step with and without them, on the backend of KERAS_BACKEND.

    python tools/benchmarks/bench_target_checks.py --rounds 10 --steps 40

One SSD is trained in turn by `fit`, which looks at each batch, and by Keras' own `fit`, which does not. The first step
of a call is not counted. Printed are the median step of each and, as the result, the median over the rounds of the
ratio of their medians. Run it on a machine that does nothing else.
"""

import argparse
import json
import statistics
import time

import keras
import numpy as np

import visionkit as vk
from visionkit.data.shapes import shapes


class Clock(keras.callbacks.Callback):
    """The seconds from the end of one step to the end of the next, so that waiting for data is in them."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.perf_counter()
        if batch > 0:
            self.seconds.append(now - self.last)
        self.last = now


def main() -> None:
    """Trains, and prints one line a round and the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="calls of each kind")
    parser.add_argument("--steps", type=int, default=40, help="steps a call")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    given = parser.parse_args()
    size = (given.image_size, given.image_size)
    drawn = shapes(64, size, seed=0)
    samples = [drawn[i] for i in range(64)]  # in memory: reading them is not what is measured
    data = vk.Dataset(samples, drawn.class_names)
    model = vk.SSD(vk.BACKBONES[given.backbone](), len(drawn.class_names), image_size=size)
    model.compile(keras.optimizers.SGD(1e-4))

    def seconds(checked: bool) -> float:
        epochs = -(-given.steps * given.batch_size // len(samples)) + 1
        feed = vk.batches(data, None, batch_size=given.batch_size, epochs=epochs, seed=0)
        clock = Clock()
        options = {"epochs": 1, "steps_per_epoch": given.steps, "shuffle": False, "verbose": 0, "callbacks": [clock]}
        if checked:
            model.fit(feed, **options)
        else:
            keras.Model.fit(model, feed, **options)
        return statistics.median(clock.seconds)

    for checked in (True, False):  # compiles, and warms up
        seconds(checked)
    rows = []
    for turn in range(given.rounds):
        order = (True, False) if turn % 2 == 0 else (False, True)  # neither always has the cooler machine
        measured = {checked: seconds(checked) for checked in order}
        rows.append((measured[True], measured[False]))
        print(f"with {1e3 * measured[True]:.2f} ms, without {1e3 * measured[False]:.2f} ms", flush=True)
    ratios = [with_checks / without for with_checks, without in rows]
    with_checks, without = (float(np.median(column)) for column in zip(*rows, strict=True))
    result = {
        "backend": keras.backend.backend(),
        "with_ms": round(1e3 * with_checks, 3),
        "without_ms": round(1e3 * without, 3),
        "ratio": round(float(np.median(ratios)), 4),
        "ratios": [round(min(ratios), 4), round(max(ratios), 4)],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""What the checks of targets cost: the time of a training step with and without them, on the backend of KERAS_BACKEND.

    python tools/benchmarks/bench_target_checks.py --rounds 30 --steps 10

One SSD is trained in turn by `fit`, which looks at each batch, and by Keras' own `fit`, which does not, in many short
rounds, so that whatever slows the machine down slows both. The first step of a call is not counted. The result is the
median, over the rounds, of the ratio of the two: once in time by the clock, and once in time of the process on all
cores, which the other programs of the machine hardly change. Beside it stands the 95 % bootstrap interval of that
median, and what reading a batch costs with and without the checks when nothing is trained.
"""

import argparse
import gc
import json
import time
from typing import Any

import keras
import numpy as np

import visionkit as vk
from visionkit.data.shapes import shapes

CLOCKS = {"clock": time.perf_counter, "process": time.process_time}


class Clock(keras.callbacks.Callback):
    """The seconds by both clocks from the end of the first step to the end of the last, waiting for data included."""

    def __init__(self):
        super().__init__()
        self.ends: list[list[float]] = []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.ends.append([now() for now in CLOCKS.values()])

    def per_step(self) -> np.ndarray:
        """float64 `[2]`, the mean of the steps; by the clock it is the median, which a pause of the machine spares."""
        steps = np.diff(np.array(self.ends), axis=0)  # [steps - 1, 2]
        return np.array([np.median(steps[:, 0]), steps[:, 1].mean()])


def main() -> None:
    """Trains, and prints one line a round and the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="calls of each kind")
    parser.add_argument("--steps", type=int, default=10, help="steps a call, after the first")
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
    steps = given.steps + 1
    epochs = -(-steps * given.batch_size // len(samples)) + 1

    def feed() -> Any:
        return vk.batches(data, None, batch_size=given.batch_size, epochs=epochs, seed=0)

    def seconds(checked: bool) -> np.ndarray:
        clock = Clock()
        fit = model.fit if checked else keras.Model.fit.__get__(model)
        gc.collect()  # what the call before left is not charged to this one
        fit(feed(), epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[clock])
        return clock.per_step()

    for checked in (True, False):  # compiles, and warms up
        seconds(checked)
    rows = []
    for turn in range(given.rounds):
        order = (True, False) if turn % 2 == 0 else (False, True)  # neither always has the cooler machine
        measured = {checked: seconds(checked) for checked in order}
        rows.append([measured[True], measured[False]])
        both = ", ".join(f"{1e3 * measured[True][i]:.2f} / {1e3 * measured[False][i]:.2f}" for i in range(len(CLOCKS)))
        print(f"ms with / without checks, by the clock and of the process: {both}", flush=True)
    print(
        json.dumps(results(np.array(rows)) | {"reading_ms": reading(model, feed), "backend": keras.backend.backend()})
    )


def results(times: np.ndarray) -> dict[str, Any]:
    """The medians of `times` `[rounds, 2, clocks]`, with checks and without, and of their ratios."""
    ratios = times[:, 0] / times[:, 1]  # [rounds, clocks]
    rng = np.random.default_rng(0)
    drawn = np.median(ratios[rng.integers(0, len(ratios), (2000, len(ratios)))], axis=1)  # [2000, clocks]
    found: dict[str, Any] = {}
    for i, name in enumerate(CLOCKS):
        found[name] = {
            "with_ms": round(1e3 * float(np.median(times[:, 0, i])), 3),
            "without_ms": round(1e3 * float(np.median(times[:, 1, i])), 3),
            "ratio": round(float(np.median(ratios[:, i])), 4),
            "interval": [round(float(end), 4) for end in np.percentile(drawn[:, i], [2.5, 97.5])],
        }
    return found


def reading(model: vk.Task, feed: Any) -> dict[str, float]:
    """Milliseconds that a batch takes when it is only read: the median of 20 turns with the checks and without."""
    from visionkit.models.checked import checked

    times: dict[str, list[float]] = {"with": [], "without": []}
    for turn in range(40):
        name = ("with", "without")[turn % 2]
        source = feed()
        batches = iter(checked(source, None, None, model._target_check({})) if name == "with" else source)
        next(batches)
        start = time.process_time()
        count = sum(1 for _ in batches)
        times[name].append(1e3 * (time.process_time() - start) / count)
    return {name: round(float(np.median(values)), 4) for name, values in times.items()}


if __name__ == "__main__":
    main()

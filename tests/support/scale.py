"""What the tests of visionkit.scale share: drawn images, and predictors that a worker of Ray's can open."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from visionkit import images
from visionkit.predict.predictor import Predictor
from visionkit.scale.run import finish, prepare, run
from visionkit.scale.settings import Settings
from visionkit.scale.shard import run_shard
from visionkit.types import DataError

DEADLY = (255, 0, 255)  # a picture of this colour kills the process that predicts it
NAMES = ["cat", "dög"]


class Brightness(Predictor):
    """A predictor without a network, for which brightness is everything.

    A detector finds one object, the left half of the image, whose score is the image's brightness. For a classifier
    that is the score of the second class, and a segmenter gives that class the right half.

    Args:
        pause: seconds that each batch takes.
        task: detect, classify or segment.
    """

    class Model:
        image_size, resize, class_names = (8, 8), "stretch", NAMES

        def __init__(self, pause, task):
            self.pause, self.task = pause, task

        def serving(self):
            return self

        def predict_on_batch(self, batch):
            time.sleep(self.pause)
            if (batch == np.uint8(DEADLY)).all(axis=(1, 2, 3)).any():
                os.kill(os.getpid(), signal.SIGKILL)
            light = batch.mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255
            if self.task == "classify":
                return {"scores": np.concatenate([1 - light, light], axis=1)}
            if self.task == "segment":
                right = np.tile(np.float32(np.arange(8) >= 4), (len(batch), 8, 1))
                return {"probabilities": np.stack([1 - right, right], axis=-1)}
            boxes = np.tile(np.float32([[[0, 0, 4, 8]]]), (len(batch), 1, 1))
            return {"boxes": boxes, "scores": light, "labels": np.ones((len(batch), 1), np.int32)}

    def __init__(self, pause=0.0, task="detect"):
        super().__init__(self.Model(pause, task), batch_size=2)


class Negative:
    """A painter without a network: it paints the negative."""

    task, runtime, batch_size, class_names = "stylize", "keras", 1, ["negative"]

    def paint(self, image):
        if image.shape[0] == 9:
            raise DataError("expected a picture of another height")
        return 255 - image


def open_brightness(pids=None, pause=0.0):
    """Opens a predictor in a worker; leaves a file named after the process in the folder `pids`."""
    if pids:
        Path(pids, str(os.getpid())).touch()
    return Brightness(pause)


def draw_images(folder, count, seed=0):
    """Writes small JPEGs, each of one colour, to folder/a and folder/b; returns the files."""
    rng = np.random.default_rng(seed)
    files = []
    for number in range(count):
        file = Path(folder) / "ab"[number % 2] / f"{number:03d}.png"
        image = np.full((rng.integers(8, 20), rng.integers(8, 20), 3), rng.integers(60, 250, 3), np.uint8)
        images.write_image(file, image)
        files.append(file)
    return files


def settings(source, score=0.1, shard=4, model="abc", task="detect"):
    """Settings as the command line makes them."""
    return Settings(
        model=model,
        task=task,
        class_names=NAMES,
        options={"score": score, "tile": None} if task == "detect" else {},
        runtime="keras",
        sources=[str(source)],
        shard=shard,
    )


def here(work, names):
    """The engine that runs in this process."""
    predictor = Negative() if work.task == "stylize" else Brightness(task=work.task)
    return (run_shard(predictor, work, name) for name in names)


def run_all(source, out, engine=here, formats=("json", "csv"), relist=False, retry_errors=False, **changes):
    """A whole run; returns its plan and its summary."""
    plan = prepare(str(out), settings(source, **changes), formats, relist, retry_errors)
    run(plan, engine, progress=False)
    return plan, finish(plan, formats)

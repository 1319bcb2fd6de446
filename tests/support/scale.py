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

DEADLY = (255, 0, 255)  # a picture of this colour kills the process that predicts it
NAMES = ["cat", "dög"]


class Brightness(Predictor):
    """A predictor without a network: one object, the left half of the image, whose score is the image's brightness.

    Args:
        pause: seconds that each batch takes.
    """

    class Model:
        image_size, resize, class_names = (8, 8), "stretch", NAMES

        def __init__(self, pause):
            self.pause = pause

        def serving(self):
            return self

        def predict_on_batch(self, batch):
            time.sleep(self.pause)
            if (batch == np.uint8(DEADLY)).all(axis=(1, 2, 3)).any():
                os.kill(os.getpid(), signal.SIGKILL)
            boxes = np.tile(np.float32([[[0, 0, 4, 8]]]), (len(batch), 1, 1))
            scores = batch.mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255
            return {"boxes": boxes, "scores": scores, "labels": np.ones((len(batch), 1), np.int32)}

    def __init__(self, pause=0.0):
        super().__init__(self.Model(pause), batch_size=2)


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


def settings(source, score=0.1, shard=4, model="abc"):
    """Settings as the command line makes them."""
    return Settings(
        model=model,
        task="detect",
        class_names=NAMES,
        score=score,
        tile=None,
        runtime="keras",
        sources=[str(source)],
        shard=shard,
    )


def here(work, names):
    """The engine that runs in this process."""
    predictor = Brightness()
    return (run_shard(predictor, work, name) for name in names)


def run_all(source, out, engine=here, formats=("json", "csv"), relist=False, retry_errors=False, **changes):
    """A whole run; returns its plan and its summary."""
    plan = prepare(str(out), settings(source, **changes), formats, relist, retry_errors)
    run(plan, engine, progress=False)
    return plan, finish(plan, formats)

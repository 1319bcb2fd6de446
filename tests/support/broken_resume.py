"""`python broken_resume.py FAULT...`: the self-test of resuming with one thing broken at a time; JSON {fault: message}.

Every run of the self-test is forked off this process, so what is replaced here is replaced there. The recipe is the
smallest that has dropout, momentum and an average of the weights; there is nothing to learn in its images. The run that
is not interrupted is the same for every fault, so it is made once.
"""

import contextlib
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import keras
import numpy as np

from visionkit.backbones import BACKBONES
from visionkit.checks import selftest
from visionkit.data.arrays import arrays
from visionkit.models import MODELS
from visionkit.train import recipe as recipes
from visionkit.train import training
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.state import state_of
from visionkit.types import DataError

EPOCHS, STEPS, BATCH = 3, 16, 2


def slow(images, labels, rng):
    """As `Recipe.mix`: it only takes its time, so that the kill comes in the middle of an epoch."""
    time.sleep(0.02)
    return images, labels


def recipe() -> Recipe:
    rng, count = np.random.default_rng(0), BATCH * STEPS
    images, labels = rng.integers(0, 256, (count, 8, 8)).astype(np.uint8), rng.integers(0, 3, count)
    train = arrays(images, labels, list("abc"))
    backbone = BACKBONES["mlp"](input_shape=(8, 8, 1), widths=(8,), dropout=0.2)
    model = MODELS["classifier"](backbone, 3, class_names=train.class_names, image_size=(8, 8), resize="stretch")
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_momentum=0.9)
    return Recipe(model=model, train=train, phases=[Phase(EPOCHS, optimizer)], batch_size=BATCH, mix=slow)


real_restore, real_batches, real_run = training.restore, recipes.batches, selftest.run
KEPT = Path(tempfile.mkdtemp()) / "whole"


def run(recipe, knobs, out, options):
    """`run` that copies the uninterrupted run where there is one already."""
    if out.name != "whole":
        return real_run(recipe, knobs, out, options=options)
    if not KEPT.exists():
        real_run(recipe, knobs, KEPT, options=options)
    return shutil.copytree(KEPT, out)


def without(group, chosen=lambda array: True):
    """`restore` that leaves the `chosen` arrays of a group as they are in a process that has just begun."""

    def broken(model, saved, groups=("model", "optimizer")):
        fresh = state_of(model)
        lost = {name: fresh[name] for name, array in saved.items() if name.startswith(group) and chosen(array)}
        assert lost
        real_restore(model, saved | lost, groups)

    return broken


def shifted(*args, start_step=0, **options):
    """`batches` that skips one batch too many where it begins in the middle."""
    return real_batches(*args, start_step=start_step + (start_step > 0), **options)


FAULTS = {
    "none": [],
    "seeds": [(training, "restore", without("model", lambda array: array.dtype.kind in "iu"))],
    "momenta": [(training, "restore", without("optimizer", lambda array: array.ndim > 0))],
    "losses": [(training, "restore", without("metric"))],
    "data": [(recipes, "batches", shifted)],
}


def message(fault: str) -> str:
    """What the self-test says: "" where it found nothing."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(selftest, "recipe", recipe))
        stack.enter_context(mock.patch.object(selftest, "run", run))
        for module, name, broken in FAULTS[fault]:
            stack.enter_context(mock.patch.object(module, name, broken))
        while True:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            try:
                said = selftest.selftest_resume(Path(folder), kills=1)
            except DataError as error:
                return str(error).partition(": ")[2]
            if int(re.search(r"before them \[(\d+)\]", said)[1]) % STEPS:  # at an epoch's end there is less to go wrong
                return ""


if __name__ == "__main__":
    print(json.dumps({fault: message(fault) for fault in sys.argv[1:]}))
    shutil.rmtree(KEPT.parent)

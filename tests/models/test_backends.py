"""One training code, two backends: three steps from the same weights on the same batches lose the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support.models import BUILD
from support.on_jax import ON_JAX
from support.paths import ROOT

NAMES = ["ssd", "nanodet", "retinanet", "fcos", "mask_rcnn", "fcn"]  # Mask R-CNN has Faster R-CNN in it
SCRIPT = f"""
import json, sys
import keras, numpy as np
sys.path.insert(0, {str(ROOT / "tests")!r})
from support.tiny import random_batch
import visionkit.models
jit = keras.backend.backend() == "jax"  # which otherwise compiles operation by operation
losses = {{}}
for name in {NAMES}:
    model = keras.saving.load_model(f"{{name}}.keras", compile=False)
    model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=jit)
    losses[name] = []
    portrait = model.for_size(model.image_size[::-1]) if name == "ssd" else None
    for step in range(3):
        images, y = random_batch(batch=2, seed=step)
        losses[name].append(float(model.train_on_batch(images, y, return_dict=True)["loss"]))
        model.reset_metrics()
    if portrait:  # a network of another size that shares the trained weights
        images = np.swapaxes(random_batch(batch=2)[0], 1, 2)
        portraits = np.abs(portrait.predict_on_batch(images)["logits"]).mean(axis=(1, 2)).tolist()
print(json.dumps([keras.backend.backend(), losses | {{"portraits": portraits}}]))
"""


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """The three losses by backend and model, from one process for each backend."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for name in NAMES:
        BUILD[name]().save(folder / f"{name}.keras")
    for backend in ("tensorflow", "jax"):
        environment = os.environ | ON_JAX | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        assert done.returncode == 0, done.stderr
        ran_on, found[backend] = json.loads(done.stdout.splitlines()[-1])
        assert ran_on == backend
    return found


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_on_tensorflow_and_jax_lose_the_same(losses, name):
    ours, theirs = losses["tensorflow"][name], losses["jax"][name]
    assert ours[2] != pytest.approx(ours[0], rel=0.003)  # it did train
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_a_network_of_another_size_has_the_trained_weights_on_both(losses):
    np.testing.assert_allclose(losses["jax"]["portraits"], losses["tensorflow"]["portraits"], rtol=1e-3)

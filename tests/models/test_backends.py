"""One training code, two backends: three steps from the same weights on the same batches lose the same."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support.models import BUILD
from support.paths import ROOT

SCRIPT = """
import json, sys
import keras, numpy as np
sys.path.insert(0, {tests!r})
from support.tiny import random_batch
import visionkit.models
model = keras.saving.load_model({file!r}, compile=False)
jit = keras.backend.backend() == "jax"  # which otherwise compiles operation by operation
model.compile(optimizer=keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=jit)
losses = []
for step in range(3):
    images, y = random_batch(batch=2, seed=step)
    losses.append(float(model.train_on_batch(images, y, return_dict=True)["loss"]))
    model.reset_metrics()
print(json.dumps([keras.backend.backend(), losses]))
"""


@pytest.mark.parametrize("name", ["ssd", "nanodet", "mask_rcnn", "fcn"])  # Mask R-CNN has Faster R-CNN in it
def test_three_steps_on_tensorflow_and_jax_lose_the_same(name, tmp_path):
    file = tmp_path / "model.keras"
    BUILD[name]().save(file)
    losses = {}
    for backend in ("tensorflow", "jax"):
        code = SCRIPT.format(tests=str(ROOT / "tests"), file=str(file))
        environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        ran_on, losses[backend] = json.loads(done.stdout.splitlines()[-1])
        assert ran_on == backend
    assert losses["tensorflow"][2] != pytest.approx(losses["tensorflow"][0], rel=0.003)  # it did train
    np.testing.assert_allclose(losses["jax"], losses["tensorflow"], atol=1e-3)

"""One training code, two backends: three steps from the same weights on the same batches lose the same."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from support import three_steps
from support.models import BUILD
from support.on_jax import ON_JAX
from support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """What models lose, by backend and model: JAX runs in a process of its own."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)  # from some weights, three steps change the loss by less than is asked for below
    for name in three_steps.NAMES:
        BUILD[name]().save(folder / f"{name}.keras")
    environment = os.environ | ON_JAX | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-m", "support.three_steps"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    ran_on, found = json.loads(done.stdout.splitlines()[-1])
    assert (ran_on, keras.backend.backend()) == ("jax", "tensorflow")
    return {"jax": found, "tensorflow": three_steps.losses(folder)}


@pytest.mark.parametrize("name", three_steps.NAMES)
def test_three_steps_on_tensorflow_and_jax_lose_the_same(losses, name):
    ours, theirs = losses["tensorflow"][name], losses["jax"][name]
    assert ours[2] != pytest.approx(ours[0], rel=0.003)  # it did train
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_a_network_of_another_size_has_the_trained_weights_on_both(losses):
    np.testing.assert_allclose(losses["jax"]["portraits"], losses["tensorflow"]["portraits"], rtol=1e-3)

"""The same weights give the same features on JAX as on TensorFlow."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from support.backbones import answers
from support.on_jax import ON_JAX

# One of each builder, and those among them that JAX compiles in seconds.
FAST = ("lenet", "alexnet", "resnet20_cifar")
REST = (
    *("mlp", "vgg11_bn", "nin", "googlenet", "resnet50", "densenet121", "csp_nanodet", "efficientnet_lite0"),
    *("mobilenet_v2", "mobilenet_v3_small", "convnext_tiny"),
)
TOLERANCE = 1e-4  # of a level's range


@pytest.mark.parametrize("names", [FAST, pytest.param(REST, marks=pytest.mark.slow)], ids=["fast", "rest"])
def test_jax_and_tensorflow_agree(tmp_path, names):
    if keras.backend.backend() == "jax":
        pytest.skip("this process runs on JAX itself")
    pytest.importorskip("jax")
    code = f"from support.backbones import save_answers; save_answers({str(tmp_path / 'jax.npz')!r}, {names})"
    environment = os.environ | ON_JAX | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "jax.npz")
    for name in names:
        for level, ours in answers(name).items():
            error = np.abs(ours - theirs[f"{name}/{level}"]).max() / max(np.ptp(ours), 1e-6)
            assert error <= TOLERANCE, (name, level)

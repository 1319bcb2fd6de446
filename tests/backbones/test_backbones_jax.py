"""The same weights give the same features on JAX as on TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from support.drawn import drawn_image, drawn_tensor

from visionkit.backbones import BACKBONES

# One of each builder, and those among them that JAX compiles in seconds.
FAST = ("lenet", "alexnet", "resnet20_cifar")
REST = ("mlp", "vgg11_bn", "nin", "googlenet", "resnet50", "densenet121", "efficientnet_lite0")
TOLERANCE = 1e-4  # of a level's range


def answers(name):
    """{level: features} of the backbone with weights drawn by their paths, for a drawn image."""
    backbone = BACKBONES[name]()
    for weight in backbone.weights:
        weight.assign(drawn(weight))
    height, width, channels = backbone.input.shape[1:]
    image = drawn_image((height or 67, width or 75))[..., :channels]
    return {level: np.asarray(out) for level, out in backbone(image).items()}


def drawn(weight):
    """He-scaled kernels; gammas and variances near 1, everything else near 0."""
    shape = tuple(weight.shape)
    if len(shape) > 1:  # drawn as torch has it, outputs first
        return np.moveaxis(drawn_tensor(weight.path, (shape[-1], *shape[:-1])), 0, -1)
    near_one = weight.name in ("gamma", "moving_variance")
    return drawn_tensor(f"{weight.path}.{'running_var' if near_one else 'bias'}", shape)


def save_answers(file, names):
    np.savez(file, **{f"{name}/{level}": out for name in names for level, out in answers(name).items()})


@pytest.mark.parametrize("names", [FAST, pytest.param(REST, marks=pytest.mark.slow)], ids=["fast", "rest"])
def test_jax_and_tensorflow_agree(tmp_path, names):
    if keras.backend.backend() == "jax":
        pytest.skip("this process runs on JAX itself")
    pytest.importorskip("jax")
    code = f"import test_backbones_jax; test_backbones_jax.save_answers({str(tmp_path / 'jax.npz')!r}, {names})"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "jax.npz")
    for name in names:
        for level, ours in answers(name).items():
            error = np.abs(ours - theirs[f"{name}/{level}"]).max() / max(np.ptp(ours), 1e-6)
            assert error <= TOLERANCE, (name, level)

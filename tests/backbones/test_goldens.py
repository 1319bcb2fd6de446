"""Our networks answer what torchvision's answer, with the same weights (drawn by name, see drawn.py)."""

import json
import math

import numpy as np
import pytest
from support.backbones import first_weights_of_zero
from support.drawn import DrawnTensors, drawn_image, drawn_places
from support.paths import GOLDEN

from visionkit.backbones import BACKBONES
from visionkit.models import MODELS
from visionkit.weights.convert import assign

TOLERANCE = 1e-4  # of the output's range
SLOW = ("convnext_small",)  # the code of convnext_tiny, with more blocks
NAMES = sorted({file.stem for file in GOLDEN.glob("*.npz")} - set(SLOW))


@pytest.mark.usefixtures("forget_each")
@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_logits_and_levels_equal_torchvisions(name):
    golden = np.load(GOLDEN / f"{name}.npz")
    size = tuple(int(n) for n in golden["image_size"])
    with first_weights_of_zero():
        model = MODELS["classifier"](BACKBONES[name](), num_classes=1000, image_size=size)
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == golden["parameters"]

    shapes = json.loads(golden["tensors"].tobytes())
    tensors = DrawnTensors(shapes)
    report = assign(model, tensors, name)
    assert (len(report.loaded), report.skipped, report.missing) == (len(tensors), (), ())

    image = drawn_image(size)
    levels = {level: np.asarray(out)[0] for level, out in model.backbone(image).items()}
    assert set(levels) == {key for key in golden if key[0] == "C" and "_" not in key}
    for level, out in levels.items():
        assert out.shape == tuple(golden[f"{level}_shape"])
        error = np.abs(out.ravel()[drawn_places(level, out.size)] - golden[level]).max() / golden[f"{level}_range"]
        assert error <= TOLERANCE, (name, level)
    logits = np.asarray(model(image)["logits"])[0]
    assert np.abs(logits - golden["logits"]).max() / np.ptp(golden["logits"]) <= TOLERANCE, (name, "logits")

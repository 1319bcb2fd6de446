"""Our segmenters answer what torchvision's, and a known U-Net, answer with the same weights (drawn by name)."""

import json
import math

import numpy as np
import pytest
from keras import ops
from support.backbones import first_weights_of_zero
from support.drawn import DrawnTensors, drawn_places, drawn_scene
from support.paths import GOLDEN

from visionkit.backbones.resnet import resnet18
from visionkit.models.unet import UNet
from visionkit.weights.convert import assign
from visionkit.weights.segmenters import SEGMENTERS

FOLDER = GOLDEN / "segmenters"
TOLERANCE = 1e-4  # of the map's range
BUILD = SEGMENTERS | {"unet_resnet18": lambda classes, **options: UNet(resnet18(), classes, **options)}
SLOW = ("deeplabv3_resnet101",)  # the code of deeplabv3_resnet50, with more blocks


@pytest.mark.usefixtures("forget_each")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in BUILD]
)
def test_maps_of_two_sizes_equal_the_originals(name):
    golden = np.load(FOLDER / f"{name}.npz")
    sizes = [tuple(int(n) for n in size) for size in golden["image_sizes"]]
    with first_weights_of_zero():
        model = BUILD[name](21, image_size=sizes[0])
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == golden["parameters"]
    shapes = json.loads(golden["tensors"].tobytes())
    tensors = DrawnTensors(shapes)
    report = assign(model, tensors, name)
    assert (len(report.loaded), report.skipped, report.missing, report.new) == (len(tensors), (), (), ())
    for number, size in enumerate(sizes):
        maps = (model if number == 0 else model.for_size(size))(drawn_scene(size))
        assert {f"{key}{number}" for key in maps} == {key for key in golden if key.endswith(str(number))}
        for key, values in maps.items():
            values = ops.convert_to_numpy(values)
            assert values.shape == (1, *size, 21)
            places = drawn_places(key, values.size, 2000)
            error = np.abs(values.ravel()[places] - golden[f"{key}{number}"]).max() / golden[f"{key}{number}_range"]
            print(name, key, size, f"{error:.2g}")  # shown by pytest -s, and written down on the pages of docs
            assert error <= TOLERANCE, (key, size, error)

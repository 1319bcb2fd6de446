"""Recipes: each says how it is run and what it reached; those for classification run on a few images."""

import inspect
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support import tiny_data
from support.paths import ROOT
from support.tiny import tiny_backbone

from visionkit.backbones import BACKBONES, ssd_vgg
from visionkit.models import MODELS
from visionkit.open_model import open_predictor
from visionkit.train.recipe import load_recipe
from visionkit.train.run import run

CONFIGS = ROOT / "configs"


def recipe(name):
    return load_recipe(CONFIGS / f"{name}.py")


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.py")), ids=lambda f: f.stem)
def test_a_recipe_says_how_it_is_run_and_what_it_reached(file):
    function = load_recipe(file)
    doc = function.__globals__["__doc__"]
    data = " --data-dir PATH" if "data_dir" in inspect.signature(function).parameters else ""  # drawn shapes need none
    assert f"\nRun:      visionkit train configs/{file.name}{data}\n" in doc
    assert re.search(r"^Reached:  \S", doc, re.M)


@pytest.mark.parametrize(
    "name", ["mnist_softmax", "mnist_mlp", "mnist_lenet", "mnist_notes", "mnist_compare", "cifar_resnet20"]
)
def test_it_runs_and_its_model_opens(name, tmp_path, capsys):
    if name.startswith("mnist"):
        tiny_data.mnist(tmp_path / "data")
    else:
        for i in range(10):
            tiny_data.picture(tmp_path / "data" / "train" / str(i) / "a.png", (32, 32))
    knobs = {"data_dir": tmp_path / "data", "epochs": 1}
    results = run(recipe(name), knobs, tmp_path / "run")
    assert results["train_images"] == {"mnist_compare": 1, "cifar_resnet20": 10}.get(name, 6)
    assert ("the notes: 8.89 s" in capsys.readouterr().out) == (name == "mnist_notes")
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert type(model) is MODELS["classifier"]
    prediction = open_predictor(tmp_path / "run")(np.zeros((50, 40, 3), np.uint8))
    assert prediction.scores.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["fcn_camvid", "fcn_isbi", pytest.param("fcn_shapes", marks=pytest.mark.slow)])
def test_a_segmenter_runs_and_opens(name, tmp_path, monkeypatch):
    """One on the network that all three are for, the others on a tiny one."""
    if name != "fcn_shapes":
        levels = [f"C{n}" for n in range(1, 6)]
        monkeypatch.setitem(BACKBONES, "efficientnet_lite0", lambda: tiny_backbone(levels=levels))
        monkeypatch.setattr("visionkit.recipes.shared.load_weights", lambda *args, **options: None)
    rng, knobs = np.random.default_rng(0), {"image_size": 64, "epochs": 1, "batch_size": 2, "seed": 0}
    if name == "fcn_shapes":
        knobs |= {"images": 4, "val_images": 2}
    else:
        layout = {"fcn_camvid": ("train", "trainannot", 11), "fcn_isbi": ("image", "label", 255)}[name]
        for i in range(4 if name == "fcn_camvid" else 10):
            values = rng.choice([0, layout[2]], (60, 80))
            tiny_data.pair(tmp_path / layout[0], tmp_path / layout[1], str(i), values)
        if name == "fcn_camvid":
            tiny_data.pair(tmp_path / "val", tmp_path / "valannot", "v", [[0, 5, 11]] * 3)
        knobs["data_dir"] = tmp_path
    results = run(recipe(name), knobs, tmp_path / "run")
    images, classes = {"fcn_camvid": ((4, 1), 11), "fcn_isbi": ((4, 6), 2), "fcn_shapes": ((4, 2), 5)}[name]
    assert (results["train_images"], results["val_images"]) == images
    assert len(results["class_names"]) == classes
    assert 0 <= results["mIoU"] <= 1
    found = open_predictor(tmp_path / "run")(np.zeros((50, 40, 3), np.uint8))
    assert found.segmentation.shape == (50, 40)


def test_the_notes_network_is_network_py(tmp_path):
    """Its steps in one call are as many steps of Keras, by automatic differentiation; it starts from N(0, 1)."""
    tiny_data.mnist(tmp_path)
    make = recipe("mnist_notes")
    plan = make(tmp_path)
    model, weights = plan.model, plan.model.get_weights()
    assert [w.shape for w in weights] == [(784, 30), (30,), (30, 10), (10,)]
    assert (weights[0].mean(), weights[0].std()) == pytest.approx((0, 1), abs=0.02)

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (70, 28, 28, 1)).astype(np.uint8), rng.integers(0, 10, 70)
    model.compile(optimizer=plan.phases[0].optimizer)
    cost = model.train_on_batch(images, {"label": labels}, return_dict=True)["loss"]

    layers = [keras.layers.Dense(n, activation="sigmoid") for n in (30, 10)]
    plain = keras.Sequential([keras.Input((784,)), *layers])
    plain.set_weights(weights)

    def quadratic(y, out):  # mean over the mini-batch of |y - out|**2 / 2
        return keras.ops.sum((out - y) ** 2, axis=-1) / 2

    plain.compile(optimizer=keras.optimizers.SGD(3.0), loss=quadratic)
    x, y = images.reshape(70, 784).astype(np.float32) / 255, np.eye(10)[labels]
    costs = [float(plain.train_on_batch(x[i : i + 10], y[i : i + 10])) for i in range(0, 70, 10)]
    assert float(cost) == pytest.approx(np.mean(costs), abs=1e-4)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("start", "kernel", "bias"),  # standard deviations
    [
        ("normal", 1.0, 1.0),
        ("scaled", (1 / 784) ** 0.5, 1.0),
        ("glorot", (2 / (784 + 100)) ** 0.5, 0.0),
        ("he", (2 / 784) ** 0.5, 0.0),
    ],
)
def test_the_first_weights_are_drawn_as_their_name_says(start, kernel, bias, tmp_path):
    tiny_data.mnist(tmp_path)
    make = recipe("mnist_compare")
    keras.utils.set_random_seed(0)
    weights, biases, *_ = make(tmp_path, start=start).model.get_weights()
    assert (weights.shape, weights.mean()) == ((784, 100), pytest.approx(0, abs=0.02 * kernel))
    assert weights.std() == pytest.approx(kernel, rel=0.02)
    assert biases.std() == pytest.approx(bias, rel=0.3)
    keras.utils.set_random_seed(1)
    assert not np.array_equal(make(tmp_path, start=start).model.get_weights()[0], weights)


def test_the_papers_ssd_takes_two_steps(tmp_path, monkeypatch):
    """With a sixteenth of its channels; test_ssd.py builds it as it is."""
    wide = ssd_vgg.convolution
    monkeypatch.setattr(ssd_vgg, "convolution", lambda x, filters, *args, **more: wide(x, filters // 16, *args, **more))
    conv = lambda filters, *args, **more: keras.layers.Conv2D(filters // 16, *args, **more)  # noqa: E731
    monkeypatch.setattr(ssd_vgg, "layers", SimpleNamespace(**vars(keras.layers) | {"Conv2D": conv}))
    objects = [("cat", 2, 2, 20, 20), ("dog", 10, 5, 30, 20)]
    tiny_data.voc(tmp_path / "VOC2007", {"a": objects, "b": objects[:1]}, {"trainval": "a", "test": "b"})
    tiny_data.voc(tmp_path / "VOC2012", {"c": objects}, {"trainval": "c"})
    knobs = {"data_dir": tmp_path, "iterations": 2, "batch_size": 1, "pretrained": False}
    results = run(recipe("ssd300_voc"), knobs, tmp_path / "run")
    assert (results["train_images"], results["val_images"], results["epoch"]) == (2, 1, 1)
    assert open_predictor(tmp_path / "run").class_names == ["cat", "dog"]


def test_the_overfit_recipe_is_scored_once_and_on_its_training_images(tmp_path):
    tiny_data.voc(tmp_path / "data", {"a": [("cat", 2, 2, 20, 20)], "b": []})
    plan = recipe("ssd_overfit")(tmp_path / "data", epochs=2, image_size=64)
    assert [record.id for record in plan.train.records] == [record.id for record in plan.val.records] == ["a", "b"]
    assert plan.evaluate_every == plan.epochs == 2


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.py")), ids=lambda f: f.stem)
def test_a_run_finds_the_files_that_lie_beside_its_recipe(file, tmp_path):
    """A run is resumed from the copy of its recipe in its folder: what lies beside it is a knob, or would be lost."""
    shutil.copy(file, tmp_path / "recipe.py")
    knobs = {name: p.default for name, p in inspect.signature(load_recipe(file)).parameters.items()}
    kept = [value for value in knobs.values() if isinstance(value, Path)]
    assert all(value.is_absolute() and value.is_file() for value in kept)
    lost = [v for v in load_recipe(tmp_path / "recipe.py").__globals__.values() if isinstance(v, Path)]
    assert {value.name for value in lost if tmp_path in value.parents} <= {value.name for value in kept}

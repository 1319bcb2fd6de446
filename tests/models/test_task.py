"""Contracts that every model in MODELS keeps."""

import inspect
import sys

import keras
import numpy as np
import pytest
from support.models import BUILD, COMMON, TWO_STAGES
from support.paths import ROOT
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.models import MODELS

DETECTORS = ["ssd", "nanodet", "faster_rcnn", "mask_rcnn", "keypoint_rcnn"]


@pytest.mark.parametrize("name", BUILD)
def test_every_argument_is_in_the_config(name):
    model = BUILD[name]()
    arguments = set(inspect.signature(type(model).__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(model.get_config())


@pytest.mark.parametrize("name", BUILD)
def test_saved_and_loaded_it_gives_the_same(name, tmp_path):
    model = BUILD[name]()
    assert model.licence == "unknown"
    model.licence = "MIT"  # as load_weights does
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.licence == "MIT"
    assert (loaded.class_names, loaded.image_size, loaded.resize) == (model.class_names, model.image_size, "letterbox")
    images, _ = random_batch(batch=2)
    # The graph of a two-stage detector ends before the second stage: serving() runs all of it.
    expected, got = (keras.tree.flatten(m.serving()(images)) for m in (model, loaded))
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [*DETECTORS, "fcos"])
def test_serving_keeps_the_conventions(name):
    serving = BUILD[name]().serving(score_threshold=0.1)
    images, _ = random_batch(batch=3)
    (h, w), calls = SIZE, (serving.predict_on_batch, serving)  # as a graph, and at once
    for run, batch in zip(calls, (3, 1), strict=True):
        found = {key: keras.ops.convert_to_numpy(value) for key, value in run(images[:batch]).items()}
        boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
        assert (boxes.dtype, scores.dtype, labels.dtype) == (np.float32, np.float32, np.int32)
        assert len(boxes) == batch
        assert (np.diff(scores, axis=1) <= 0).all()
        assert ((labels >= 0) == (scores > 0)).all()
        assert (labels < 3).all()
        assert (boxes >= 0).all()
        assert (boxes <= [w, h, w, h]).all()


@pytest.mark.parametrize("name", [*DETECTORS, "retinanet", "fcos", "fcn", "deeplabv3", "lraspp", "unet"])
def test_for_another_size_it_is_the_same_network_with_the_same_variables(name):
    model, turned = BUILD[name](), SIZE[::-1]
    assert model.any_size
    portrait = model.for_size(turned)
    assert portrait.image_size == turned and type(portrait) is type(model)
    assert [id(variable) for variable in portrait.weights] == [id(variable) for variable in model.weights]
    images = np.random.default_rng(0).uniform(0, 255, (2, *turned, 3)).astype(np.float32)
    before = portrait.predict_on_batch(images)
    for variable in model.weights:
        variable.assign(variable * 1.05 + 0.01)  # as training does, after the portrait network was made and run
    after = portrait.predict_on_batch(images)
    assert any(np.abs(after[key] - before[key]).max() > 1e-3 for key in after)
    rebuilt = type(model).from_config(model.get_config() | {"image_size": turned})
    rebuilt.set_weights(model.get_weights())
    for key, value in rebuilt(images).items():
        np.testing.assert_allclose(after[key], value, rtol=1e-5, atol=1e-4, err_msg=key)


def test_what_depends_on_the_size_has_one():
    clipped = MODELS["ssd"](tiny_backbone(), clip_anchors=True, **COMMON)
    assert not clipped.any_size
    with pytest.raises(ValueError, match=r"this SSD takes images of \(64, 96\) \(height, width\) only"):
        clipped.for_size(SIZE[::-1])
    inputs = keras.Input((*SIZE, 3))
    fixed = keras.Model(inputs, tiny_backbone()(inputs))
    assert not MODELS["fcn"](fixed, head_units=8, **COMMON).any_size


@pytest.mark.parametrize("name", BUILD)
def test_what_says_where_something_is_must_see_the_whole_image(name):
    with pytest.raises(ValueError, match="resize='crop' is for classifiers"):
        MODELS[name](tiny_backbone(), **(TWO_STAGES if "rcnn" in name else COMMON), resize="crop")


def test_the_models_bring_every_layer_that_a_file_may_name(preloaded):
    """A process that only opens a .keras file imports the models, and no backbone."""
    code = "import sys, visionkit.models; print(*(m for m in sys.modules if m.startswith('visionkit.')))"
    done = preloaded.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    modules = {f"visionkit.layers.{file.stem}" for file in (ROOT / "visionkit" / "layers").glob("[!_]*.py")}
    assert modules <= set(done.stdout.split())
    assert not any(name.startswith("visionkit.backbones") for name in done.stdout.split())


def test_class_names_must_fit_and_have_a_default():
    assert MODELS["ssd"](tiny_backbone(), 2, image_size=SIZE).class_names == ["0", "1"]
    with pytest.raises(ValueError, match="3 classes but 1 class names"):
        MODELS["ssd"](tiny_backbone(), 3, class_names=["cat"], image_size=SIZE)


@pytest.mark.parametrize("name", BUILD)
def test_each_layer_of_a_head_draws_its_own_first_weights(name):
    kernels = [keras.ops.convert_to_numpy(v) for v in BUILD[name]().trainable_weights if len(v.shape) > 1]
    beginnings = [tuple(kernel.ravel()[:20]) for kernel in kernels if np.ptp(kernel) > 0]
    assert len(set(beginnings)) == len(beginnings)

"""Freezing finds its way into models within a backbone: those of keras.applications behind a `Rescaling` layer."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications.efficientnet_v2 import EfficientNetV2
from support.models import detections_of

from visionkit.backbones.blocks import freeze, freeze_batch_norm
from visionkit.export import EXPORTERS
from visionkit.export.compare import TOLERANCES, compare_answers
from visionkit.export.load import load_exported
from visionkit.models import FCN, SSD, FasterRCNN

SIZE = (64, 64)
LEVELS = {
    "MobileNetV2": {"C3": "block_6_expand_relu", "C4": "block_13_expand_relu", "C5": "out_relu"},
    "EfficientNetV2": {"C3": "block4a_expand_activation", "C4": "block6a_expand_activation", "C5": "top_activation"},
}
# B0 has 270 layers; this is what makes it, with one block in each of its stages. Nothing public makes a smaller one.
SMALL = {"width_coefficient": 0.25, "depth_coefficient": 0.1, "default_size": SIZE[0], "name": "efficientnetv2-b0"}
MAKE = {
    "MobileNetV2": partial(keras.applications.MobileNetV2, alpha=0.35),
    "EfficientNetV2": partial(EfficientNetV2, include_preprocessing=False, **SMALL),
}
TASKS = {
    "ssd": lambda backbone: SSD(backbone, 2, image_size=SIZE, pyramid_channels=8, extra_levels=0, levels=("C4", "C5")),
    "faster_rcnn": lambda backbone: FasterRCNN(
        backbone,
        2,
        image_size=SIZE,
        levels=("C4", "C5"),
        pyramid_channels=8,
        anchor_scales=(1.5,),
        head_units=8,
        roi_samples=32,
        train_proposals=32,
    ),
    "fcn": lambda backbone: FCN(backbone, 2, image_size=SIZE, head_units=8),
}


def flat(name):
    """A backbone that is not nested: the network of keras.applications itself, with levels as its outputs."""
    network = MAKE[name](input_shape=(*SIZE, 3), include_top=False, weights=None)
    return keras.Model(network.input, {k: network.get_layer(layer).output for k, layer in LEVELS[name].items()})


def wrapped(name):
    """The same behind a `Rescaling` layer."""
    images = keras.Input((*SIZE, 3), name="images")
    return keras.Model(images, flat(name)(layers.Rescaling(1 / 127.5, -1.0)(images)), name="wrapped")


def trainable(model):
    """Which weights are trained, by the name of the layer and the weight."""
    return {"/".join(weight.path.split("/")[-2:]) for weight in model.trainable_weights}


def batch(count=2):
    rng = np.random.default_rng(0)
    y = {
        "boxes": np.tile(np.array([[8, 8, 40, 40]], np.float32), (count, 1, 1)),
        "labels": np.zeros((count, 1), np.int32),
        "ignore": np.zeros((count, 1), bool),
        "segmentation": rng.integers(0, 2, (count, *SIZE)).astype(np.int32),
    }
    return rng.uniform(0, 255, (count, *SIZE, 3)).astype(np.float32), y


@pytest.mark.parametrize("name", LEVELS)
def test_a_wrapped_backbone_freezes_what_the_bare_one_does(name):
    bare, inside = flat(name), wrapped(name)
    everything = trainable(bare)
    for level in ("C3", "C4", None):
        freeze(bare, level)
        freeze(inside, level)
        assert trainable(inside) == trainable(bare)
    assert trainable(inside) == everything
    freeze(inside, "C3")
    kept = trainable(inside)
    assert 0 < len(kept) < len(everything)
    last = {"MobileNetV2": "block_6_expand_BN/gamma", "EfficientNetV2": "block4a_expand_bn/gamma"}[name]
    first = {"MobileNetV2": "block_6_depthwise_BN/gamma", "EfficientNetV2": "block4a_bn/gamma"}[name]
    assert last in everything - kept and first in kept
    freeze_batch_norm(inside)
    assert trainable(inside) == {path for path in kept if not path.endswith(("gamma", "beta"))}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", LEVELS)
def test_frozen_layers_stay_as_they_were_through_fit_and_a_file(name, task, tmp_path):
    keras.utils.set_random_seed(0)
    model = TASKS[task](wrapped(name))
    freeze(model.backbone, "C3")
    freeze_batch_norm(model.backbone)
    kept = trainable(model)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.backbone.weights]
    images, y = batch()
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)  # one step: tracing it takes longer
    model.fit(images, y, batch_size=2, verbose=0)
    changed = set()
    for weight, value in zip(model.backbone.weights, before, strict=True):
        if np.abs(keras.ops.convert_to_numpy(weight) - value).max() > 0:
            changed.add("/".join(weight.path.split("/")[-2:]))
    assert changed and changed <= kept
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert trainable(loaded) == kept
    got, expected = loaded.predict_on_batch(images), model.predict_on_batch(images)
    for key, value in expected.items():
        np.testing.assert_array_equal(got[key], value)


def fitted(name, task):
    """A model after one step, partly frozen.

    With the statistics of a new batch norm, the features of a deep network fade to 1e-8. Then all scores of a detector
    are equal but for the last bit, and each runtime lists them in an order of its own. So a detector's are replaced by
    those of the step. A map has no order, and EfficientNetV2 with such statistics would make 0.01 of 1e-6 in a pixel.
    """
    keras.utils.set_random_seed(0)
    model = TASKS[task](wrapped(name))
    if task != "fcn":
        for layer in model._flatten_layers():
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = 0.0
    images, y = batch(4)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), run_eagerly=True)
    model.fit(images, y, batch_size=4, verbose=0)
    freeze(model.backbone, "C3")
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, task, to",
    [
        ("MobileNetV2", "ssd", "onnx"),
        ("MobileNetV2", "faster_rcnn", "saved_model"),
        ("EfficientNetV2", "ssd", "saved_model"),
        ("EfficientNetV2", "faster_rcnn", "onnx"),
        ("EfficientNetV2", "fcn", "onnx"),
    ],
)
def test_a_partly_frozen_nested_model_is_exported(name, task, to, tmp_path, monkeypatch):
    monkeypatch.setenv("TF2ONNX_CATCH_ERRORS", "no")  # it need not keep copies of the graph to go back to
    model = fitted(name, task)
    images, _ = batch()
    expected = model.serving().predict_on_batch(images)
    EXPORTERS[to].save(model, tmp_path)
    got = load_exported(tmp_path).serving().predict_on_batch(images)
    if task == "fcn":
        np.testing.assert_allclose(got["probabilities"], expected["probabilities"], atol=1e-4)
        return
    room = expected["scores"].shape[1]
    for i in range(len(images)):
        pair = [detections_of(outputs, i, size=SIZE) for outputs in (expected, got)]
        measures, problems = compare_answers(*pair, TOLERANCES["float32"], room)
        assert not problems and len(measures["iou"]) > 10
        assert max(measures["score_difference"]) < 1e-4 and max(measures["box_difference"]) < 0.01


def test_a_sequence_within_a_backbone_is_looked_into():
    images = keras.Input((*SIZE, 3))
    stem = keras.Sequential([layers.Conv2D(4, 3, 2, padding="same"), layers.BatchNormalization()], name="stem")
    c1 = stem(images)
    backbone = keras.Model(images, {"C1": c1, "C2": layers.Conv2D(4, 3, 2, padding="same", name="last")(c1)})
    freeze(backbone, "C1")
    assert trainable(backbone) == {"last/kernel", "last/bias"}
    freeze(backbone, None)
    freeze_batch_norm(backbone)
    assert len(backbone.trainable_weights) == 4


class Black(keras.Model):
    """Two levels from a `call` of its own, so that nobody knows which layer makes which."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = (layers.Conv2D(4, 3, 2, padding="same") for _ in range(2))

    def call(self, x):
        x = self.first(x)
        return {"C1": x, "C2": self.second(x)}


def test_what_cannot_be_looked_into_is_refused():
    black = Black(name="black")
    with pytest.raises(
        ValueError, match=r"'black' is a model with a call\(\) of its own, so level 'C1' cannot be froz"
    ):
        freeze(black, "C1")
    images = keras.Input((*SIZE, 3))
    backbone = keras.Model(images, black(layers.Rescaling(1 / 255)(images)), name="outer")
    with pytest.raises(
        ValueError, match="which layers of 'black' level 'C1' is computed from cannot be told, because Bl"
    ):
        freeze(backbone, "C1")
    assert len(backbone.trainable_weights) == 4  # nothing was changed

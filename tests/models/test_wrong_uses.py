"""Wrong targets and options are refused in one line, and right ones go through untouched."""

import json
import os
import subprocess
import sys

import grain
import keras
import numpy as np
import pytest
import tensorflow as tf
from support.models import BUILD
from support.on_jax import ON_JAX
from support.paths import ROOT
from support.tiny import random_batch
from support.wrong_uses import answers, classifier, small

from visionkit.models.target_check import TargetCheck


def check(found):
    assert len(found) >= 20
    for what, answer, expected in found:
        assert answer.startswith(expected), f"{what}: {answer}"
        assert "\n" not in answer, what
        assert len(answer) < 200, what


def test_each_wrong_use_is_answered_in_one_line():
    check(answers())


@pytest.mark.slow
def test_on_jax_too():
    environment = os.environ | ON_JAX
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "support.wrong_uses"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    backend, found = json.loads(done.stdout.splitlines()[-1])
    assert backend == "jax"
    check(found)


def test_maps_of_0_and_255_alone_are_warned_of(caplog):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    for values, said in (([0, 255], 1), ([0, 1, 255], 0), ([0, 0], 0)):
        caplog.clear()
        maps = np.resize(values, (2, 8, 8))
        look = TargetCheck("FCN", "segment", 2, (8, 8, 3))
        for _ in range(2):
            look((images, {"segmentation": maps}))
        assert len(caplog.messages) == said
    TargetCheck("FCN", "segment", 2, (8, 8, 3))((images, {"segmentation": np.resize([0, 255], (2, 8, 8))}))
    assert caplog.messages == [
        "FCN: the class maps hold only 0 and 255, and 255 is ignored; if it is a class, give its id in its place"
    ]


def test_a_model_can_be_compiled_again_after_metrics_were_refused():
    net = classifier()
    images, labels = small()
    net.compile("sgd", metrics=["accuracy"])
    with pytest.raises(ValueError, match="leave it out"):
        net.fit(images, {"label": labels}, verbose=0)
    net.compile("sgd", run_eagerly=True)
    assert "loss" in net.fit(images, {"label": labels}, verbose=0).history


class Pairs(keras.utils.PyDataset):
    """Three right batches of two, and how often each was read."""

    num_batches = 3

    def __init__(self):
        super().__init__()
        self.images, self.labels = small(6)

    def __getitem__(self, index):
        rows = slice(2 * index, 2 * index + 2)
        return self.images[rows], {"label": self.labels[rows]}


class Wrong(Pairs):
    def __getitem__(self, index):
        images, targets = super().__getitem__(index)
        return images, {"label": targets["label"] + 7}


@pytest.mark.parametrize(
    "source",
    [Wrong, lambda: (Wrong()[i] for i in range(3)), lambda: grain.MapDataset.range(3).map(Wrong().__getitem__)],
    ids=["PyDataset", "generator", "grain"],
)
def test_a_wrong_first_batch_is_refused_before_anything_is_compiled(source):
    model = classifier()
    with pytest.raises(ValueError) as raised:
        model.fit(source(), shuffle=False, verbose=0)
    assert str(raised.value) == "Classifier: row 0: label must be 0..2, found 7"
    assert model.train_function is None


SOURCES = {
    "arrays": lambda: (Pairs().images, {"label": Pairs().labels}),
    "PyDataset": lambda: (Pairs(), None),
    "generator": lambda: ((Pairs()[i] for i in range(3)), None),
    "grain": lambda: (grain.MapDataset.range(3).map(Pairs().__getitem__), None),
    "tf.data": lambda: (
        tf.data.Dataset.from_tensor_slices((Pairs().images, {"label": Pairs().labels})).batch(2),
        None,
    ),
}


@pytest.fixture(scope="module")
def reference():
    keras.utils.set_random_seed(0)
    model = classifier()
    start = model.get_weights()
    for images, labels in (Pairs()[i] for i in range(3)):
        model.train_on_batch(images, labels)
    return start, model.get_weights()


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_trained_on_once_and_in_its_order(reference, source):
    start, expected = reference
    model = classifier()
    model.set_weights(start)
    x, y = SOURCES[source]()
    steps = 3 if source in ("generator", "grain") else None  # Keras does not know how many batches they have
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0, steps_per_epoch=steps)
    for got, want in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("name", ["ssd", "nanodet", "faster_rcnn"])
def test_ignore_may_be_left_out(name):
    images, y = random_batch(batch=2)
    assert not y["ignore"].any()
    model = BUILD[name]()
    raw = model(images)
    without = {key: value for key, value in y.items() if key != "ignore"}
    losses = [float(model.compute_loss(y=targets, y_pred=raw, training=False)) for targets in (y, without)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)

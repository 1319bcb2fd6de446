"""Batch norm as one operation learns what Keras' own does, and leaves no trace in what is saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.tiny_classifier import recipe

from visionkit.train.devices import Devices, fuse_batch_norm
from visionkit.train.options import Options
from visionkit.train.precision import settled
from visionkit.train.save import save_model

IMAGES = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 8)).astype("float32")


def network(**options):
    """A batch norm between convolutions, with statistics and factors of its own."""
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="norm", **options)
    model = keras.Sequential([keras.Input((5, 6, 8)), norm, keras.layers.Conv2D(2, 3, name="conv")])
    rng = np.random.default_rng(1)
    for weight in norm.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def fused(**options):
    model = network(**options)
    fuse_batch_norm(model)
    return model


def learned(model):
    """The losses and the weights of two steps."""
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    losses = [float(model.train_on_batch(IMAGES, np.ones((4, 3, 4, 2), "float32"))) for _ in range(2)]
    return losses, model.get_weights()


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"trainable": False}])
def test_it_learns_and_answers_as_keras_does(options):
    ours, theirs = fused(**options), network(**options)
    np.testing.assert_allclose(ours.predict_on_batch(IMAGES), theirs.predict_on_batch(IMAGES), rtol=1e-4, atol=1e-5)
    (our_losses, our_weights), (their_losses, their_weights) = learned(ours), learned(theirs)
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-5)
    for mine, other in zip(our_weights, their_weights, strict=True):  # the statistics of the batches among them
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def operations(model):
    step = tf.function(lambda x: model(x, training=True)).get_concrete_function(tf.TensorSpec(IMAGES.shape))
    return {operation.type for operation in step.graph.get_operations()}


def test_it_is_one_operation():
    assert "FusedBatchNormV3" in operations(fused())
    assert "SquaredDifference" not in operations(fused())
    assert "SquaredDifference" in operations(network())  # or this function has no purpose any more


@pytest.mark.parametrize("options", [{"axis": 1}, {"renorm": True}, {"synchronized": True}])
def test_other_forms_are_left_to_keras(options):
    assert "FusedBatchNormV3" not in operations(fused(**options))


def test_half_precision_keeps_statistics_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        ours, theirs = fused(), network()
    finally:
        keras.config.set_dtype_policy("float32")
    (our_losses, our_weights), (their_losses, their_weights) = learned(ours), learned(theirs)
    np.testing.assert_allclose(our_losses, their_losses, rtol=0.02)
    for mine, other in zip(our_weights, their_weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0.02, atol=0.02)


def test_a_run_and_what_is_measured_for_it_use_it(monkeypatch, tmp_path):
    prepared = []
    monkeypatch.setattr("visionkit.train.devices.fuse_batch_norm", prepared.append)
    Devices().prepare(plan := recipe().model)
    assert prepared == [plan]
    monkeypatch.setattr("visionkit.train.precision.computes_in_bfloat16", lambda: True)
    settled(Options(precision="auto"), recipe, {})
    assert len(prepared) == 3


def test_it_is_not_saved(tmp_path):
    model = network()
    config = model.get_config()
    fuse_batch_norm(model)
    assert model.get_config() == config
    save_model(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert "call" not in vars(loaded.get_layer("norm"))
    np.testing.assert_allclose(loaded.predict_on_batch(IMAGES), model.predict_on_batch(IMAGES), rtol=1e-4, atol=1e-5)

"""Muon on kernels: its step is the nearest orthogonal matrix of the momentum, and other weights take Adam's."""

import keras
import numpy as np
import pytest
from keras import ops

from visionkit.train.muon import ConvolutionMuon

RATE, RMS = 0.01, 0.2


def stepped(shape, gradient, name="kernel", rms_rate=RMS, **options):
    variable = keras.Variable(np.zeros(shape, np.float32), name=name)
    optimizer = ConvolutionMuon(RATE, weight_decay=None, adam_weight_decay=None, rms_rate=rms_rate, **options)
    optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    return ops.convert_to_numpy(variable)


def test_the_step_of_a_kernel_is_a_nearly_orthogonal_matrix_along_the_gradient():
    gradient = np.random.default_rng(0).normal(size=(3, 3, 4, 8)).astype(np.float32)
    step = -stepped(gradient.shape, gradient).reshape(36, 8) / (RATE * RMS * 6)  # 6: root of 3 * 3 * 4
    left, _, right = np.linalg.svd(gradient.reshape(36, 8), full_matrices=False)
    assert np.abs(np.linalg.svd(step, compute_uv=False) - 1).max() < 0.35  # Newton-Schulz ends within 0.7..1.2
    along = left.T @ step @ right.T
    assert np.abs(along - np.diag(np.diag(along))).max() < 1e-4  # the same directions
    assert np.diag(along).min() > 0.65


@pytest.mark.parametrize("shape", [(3, 3, 16, 8), (3, 3, 2, 24), (1, 1, 8, 8)], ids=["tall", "wide", "square"])
def test_fewer_multiplications_find_what_keras_finds(shape):
    gradient = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    gradient *= np.geomspace(1e-3, 1, shape[-1], dtype=np.float32)  # singular values far apart
    optimizer = ConvolutionMuon(RATE)
    found = optimizer.zeropower_via_newtonschulz5(ops.convert_to_tensor(gradient), 5)
    matrix = ops.convert_to_tensor(gradient.reshape(-1, shape[-1]))
    expected = keras.optimizers.Muon.zeropower_via_newtonschulz5(optimizer, matrix, 5)
    found, expected = (ops.convert_to_numpy(x).reshape(-1, shape[-1]) for x in (found, expected))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_it_ends_as_it_should_where_products_are_of_ten_bits(monkeypatch):
    """As on GPUs in TensorFloat-32; squared, most singular values are below the round-off."""

    def ten_bits(x):  # Veltkamp's splitting
        large = x * (2**13 + 1)
        return large - (large - x)

    plain = ops.matmul
    monkeypatch.setattr(ops, "matmul", lambda a, b: plain(ten_bits(a), ten_bits(b)))
    left, _, right = np.linalg.svd(np.random.default_rng(4).normal(size=(72, 16)), full_matrices=False)
    gradient = ((left * np.geomspace(1e-4, 1, 16)) @ right).astype(np.float32).reshape(3, 3, 8, 16)
    found = ConvolutionMuon(RATE).zeropower_via_newtonschulz5(ops.convert_to_tensor(gradient), 5)
    singular = np.linalg.svd(ops.convert_to_numpy(found).reshape(72, 16), compute_uv=False)
    assert singular.max() < 1.3
    assert (singular > 0.6).sum() >= 8  # the others are too small to come so far in five steps


def test_its_root_mean_square_is_that_of_adam():
    """A matrix [n, m] with singular values of 1 has a root mean square of 1 / sqrt(max(n, m))."""
    gradient = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32)
    step = stepped(gradient.shape, gradient)
    assert 0.7 * RATE * RMS < np.sqrt(np.mean(step**2)) < 1.2 * RATE * RMS
    plain = stepped(gradient.shape, gradient, rms_rate=None)
    np.testing.assert_allclose(plain * RMS * 12, step, rtol=1e-4, atol=1e-7)  # 12: root of 3 * 3 * 16


def test_other_weights_and_named_layers_are_adams():
    gradient = np.random.default_rng(2).normal(size=(5,)).astype(np.float32)
    np.testing.assert_allclose(stepped((5,), gradient), -RATE * np.sign(gradient), rtol=1e-4)
    gradient = np.random.default_rng(2).normal(size=(3, 3, 2, 3)).astype(np.float32)
    last = stepped(gradient.shape, gradient, name="out_kernel", exclude_layers=["^out"])
    np.testing.assert_allclose(last, -RATE * np.sign(gradient), rtol=1e-3)


def test_it_comes_back_from_its_config():
    made = ConvolutionMuon(RATE, exclude_layers=["^out/"], adam_lr_ratio=0.5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert isinstance(again, ConvolutionMuon)
    assert again.get_config() == made.get_config()

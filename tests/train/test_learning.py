"""The knobs of optimizers and schedules do what their papers' formulas say."""

import keras
import numpy as np
import pytest

from visionkit.train.learning import Learning
from visionkit.train.recipe import schedule
from visionkit.train.state import compute_rate_once_a_step
from visionkit.types import DataError

LR, G = 0.1, np.array([3.0, -4.0], np.float32)
PLAIN = {"schedule": "constant", "warmup": 0.0, "weight_decay": 0.0}


def steps(*gradients, batches=100, **knobs):
    """Where a weight that begins at (1, 1) is after these gradients."""
    weight = keras.Variable(np.ones(2, np.float32))
    optimizer = Learning(**PLAIN | knobs).optimizer_for(None, batches, LR)
    optimizer.build([weight])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    return keras.ops.convert_to_numpy(weight)


@pytest.mark.parametrize(
    ("name", "moved"),  # after two steps of the same gradient
    [
        ("sgd", LR * (G + G)),
        ("momentum", LR * (G + (0.9 * G + G))),
        ("nesterov", LR * ((0.9 * G + G) + (0.9 * (0.9 * G + G) + G))),
        ("adagrad", LR * (G / np.sqrt(0.1 + G**2) + G / np.sqrt(0.1 + 2 * G**2))),  # 0.1: where its sum begins
        # v = 0.1 g^2, then 0.19 g^2; the momentum is of the scaled gradients
        ("rmsprop", LR * np.sign(G) * (1 / np.sqrt(0.1) * 1.9 + 1 / np.sqrt(0.19))),
        ("adam", LR * 2 * np.sign(G)),  # both moments are unbiased, so their ratio is the sign
        ("adamw", LR * 2 * np.sign(G)),
    ],
)
def test_an_optimizer_moves_as_its_formula_says(name, moved):
    np.testing.assert_allclose(steps(G, G, optimizer=name), 1 - moved, rtol=1e-4, atol=1e-5)


def test_weight_decay_takes_its_share_of_the_weight_apart_from_the_gradient():
    for name in ("sgd", "adamw"):
        np.testing.assert_allclose(steps(0 * G, optimizer=name, weight_decay=0.5), 1 - LR * 0.5, rtol=1e-5)


def test_a_long_gradient_is_clipped_as_a_whole():
    np.testing.assert_allclose(steps(G, optimizer="sgd", clip=1.0), 1 - LR * G / 5, rtol=1e-5)
    np.testing.assert_allclose(steps(G, optimizer="sgd", clip=9.0), 1 - LR * G, rtol=1e-5)


def test_accumulated_gradients_make_one_step_of_their_mean():
    np.testing.assert_allclose(steps(G, optimizer="sgd", accumulate=2), 1)
    np.testing.assert_allclose(steps(G, 3 * G, optimizer="sgd", accumulate=2), 1 - LR * 2 * G, rtol=1e-5)


@pytest.mark.parametrize("ema", [-0.9, 1, 999])
def test_an_average_that_would_be_none_is_refused(ema):
    with pytest.raises(DataError, match=f"--ema: expected 0 to below 1, such as 0.999, found {ema}"):
        steps(G, optimizer="sgd", ema=ema)


def test_a_schedule_is_as_long_as_the_training_where_gradients_are_accumulated():
    """Of 9 batches 6 come before the rate drops, which are 3 steps by twos."""
    moved = 1 - steps(*[G] * 8, optimizer="sgd", schedule="step", accumulate=2, batches=9)
    np.testing.assert_allclose(moved, LR * G * (1 + 1 + 1 + 0.1), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "step", "rate"),
    [
        ("cosine", 10, 1.0),  # the warm-up's end
        ("cosine", 55, 0.5),
        ("cosine", 100, 0.0),
        ("step", 0, 0.01),
        ("step", 5, 0.505),
        ("step", 65, 1.0),
        ("step", 66, 0.1),
        ("step", 88, 0.01),
        ("constant", 99, 1.0),
    ],
)
def test_a_schedule_has_its_shape(shape, step, rate):
    assert float(schedule(100, 1.0, 0.1, shape)(step)) == pytest.approx(rate, abs=1e-6)


def test_kernels_pay_for_their_size_and_biases_do_not():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, bias_initializer="ones")(inputs))
    model.set_weights([np.array([[1.0, -2.0], [3.0, 0.0]]), np.ones(2)])
    Learning(l1=0.5, l2=0.01).optimizer_for(model, 10, LR)
    assert float(sum(model.losses)) == pytest.approx(0.5 * 6 + 0.01 * 14)


def test_an_average_of_the_weights_is_kept():
    optimizer = Learning(ema=0.9).optimizer_for(None, 100, LR)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)
    assert Learning(ema=0.81, accumulate=2).optimizer_for(None, 200, LR).ema_momentum == pytest.approx(0.9)
    short = Learning(ema=0.999).optimizer_for(None, 200, LR).ema_momentum
    assert short**20 < 0.4 and short**200 < 1e-4  # hardly anything of the weights that it began with
    assert not Learning().optimizer_for(None, 10, LR).use_ema


@pytest.mark.parametrize("accumulate", [None, 2])
def test_the_schedule_is_asked_once_a_step_and_nothing_else_changes(accumulate):
    class Counted(keras.optimizers.schedules.LearningRateSchedule):
        asked = 0

        def __call__(self, step):
            self.asked += 1
            return 0.1 / (keras.ops.cast(step, "float32") + 1)

    def weights_after_three_steps(prepare):
        inputs = keras.Input((3,))
        outputs = keras.layers.Dense(2, kernel_initializer="ones")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="ones")(outputs))
        optimizer = keras.optimizers.AdamW(Counted(), weight_decay=0.3, gradient_accumulation_steps=accumulate)
        model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
        optimizer.build(model.trainable_variables)  # or the step would be traced twice
        prepare(optimizer)
        for _ in range(3):
            model.train_on_batch(np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32))
        return optimizer._learning_rate.asked, model.get_weights()

    many, expected = weights_after_three_steps(lambda optimizer: None)
    once, found = weights_after_three_steps(compute_rate_once_a_step)
    if keras.backend.backend() == "tensorflow":
        assert (once, many) == (1, 5)  # for four weights and for the update, while the step was traced
    for array, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(array, other)

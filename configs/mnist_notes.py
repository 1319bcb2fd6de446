"""The notes' first network, exactly: 784-30-10, sigmoid, quadratic cost, mini-batches of 10, rate 3.0, 30 epochs.

It is network.py of M. Nielsen, "Neural Networks and Deep Learning" (2015), chapter 1; weights and biases start as
N(0, 1). Every mini-batch of 10 is a step of its own, but one call of a compiled function makes 1,000 of them: a step
takes some 55 microseconds, and to start each one from Python would cost about a thousand.

Run:      visionkit train configs/mnist_notes.py --data-dir PATH
Data:     PATH holds mnist.npz with x_train, y_train, x_test and y_test, as `keras.datasets.mnist` downloads it.
Reached:  top-1 95.23 % (seed 0), 11 s on 2 CPU cores: 0.33 s an epoch (0.46 and 0.51 beside other work); notes: 8.89 s
"""

import statistics
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from visionkit.backbones import BACKBONES
from visionkit.data.recognise import open_dataset
from visionkit.models import MODELS
from visionkit.train.recipe import Phase, Recipe

NOTES_SECONDS = 8.89  # of an epoch in the notes
BLOCK = 10_000  # images per compiled call


class NotesClassifier(MODELS["classifier"]):
    """A classifier that learns by the quadratic cost of sigmoid(logits).

    It is saved as the plain classifier, which ranks the classes alike. What `fit` takes for a batch is a block of
    mini-batches. For TensorFlow only, because on JAX `train_step` has another signature.
    """

    mini_batch = 10
    rate = 3.0

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return MODELS["classifier"].from_config(config, custom_objects)

    def compile(self, **options):
        super().compile(**options | {"jit_compile": True})  # the loop's small operations become one program

    def fit(self, *args, callbacks=(), **options):
        return super().fit(*args, callbacks=[*callbacks, Clock()], **options)

    def train_step(self, data):
        images, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        x = ops.reshape(ops.cast(images, "float32") / 255, (-1, self.mini_batch, 784))  # [S, 10, 784]
        target = ops.reshape(ops.one_hot(y["label"], 10), (-1, self.mini_batch, 10))  # [S, 10, 10]
        weights, cost = descend([ops.convert_to_tensor(w) for w in self.trainable_variables], x, target, self.rate)
        for variable, value in zip(self.trainable_variables, weights, strict=True):
            variable.assign(value)
        return {"loss": cost}


def descend(weights, x, target, rate):
    """A step of gradient descent for each mini-batch, by the four equations of back-propagation (chapter 2).

    Args:
        weights: [w1 `[784, 30]`, b1 `[30]`, w2 `[30, 10]`, b2 `[10]`].
        x: float32 `[S, M, 784]` in 0..1, S mini-batches of M.
        target: float32 `[S, M, 10]`, one-hot.
        rate: learning rate.

    Returns:
        (weights after S steps, the cost |a2 - target|**2 / 2 of each image at its step, averaged over all images).
    """
    steps, size = ops.shape(x)[0], x.shape[1]
    eta = rate / size

    def step(i, state):
        w1, b1, w2, b2, cost = state
        a0, wanted = x[i], target[i]
        a1 = ops.sigmoid(a0 @ w1 + b1)  # [M, 30]
        a2 = ops.sigmoid(a1 @ w2 + b2)  # [M, 10]
        delta2 = (a2 - wanted) * a2 * (1 - a2)  # BP1
        delta1 = delta2 @ ops.transpose(w2) * a1 * (1 - a1)  # BP2
        cost = cost + ops.sum((a2 - wanted) ** 2) / (2 * size)
        w1, b1 = w1 - eta * ops.transpose(a0) @ delta1, b1 - eta * ops.sum(delta1, axis=0)  # BP4, BP3
        w2, b2 = w2 - eta * ops.transpose(a1) @ delta2, b2 - eta * ops.sum(delta2, axis=0)
        return w1, b1, w2, b2, cost

    # Keras' scan would do as well, but on TensorFlow its results must have the shapes of the weights.
    *weights, cost = ops.fori_loop(0, steps, step, (*weights, ops.zeros(())))
    return weights, cost / ops.cast(steps, cost.dtype)


class Clock(keras.callbacks.Callback):
    """Prints the seconds per epoch, beside those of the notes."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)

    def on_train_end(self, logs=None):
        median = statistics.median(self.seconds)
        first = self.seconds[0]
        print(
            f"an epoch: {median:.2f} s (median; the first, with compiling, {first:.2f}); the notes: {NOTES_SECONDS} s"
        )


def recipe(data_dir: Path, rate: float = 3.0, epochs: int = 30, hidden: int = 30, seed: int = 0) -> Recipe:
    """An epoch has all 60,000 images, 6,000 steps; network.py holds back 10,000 images and takes 5,000 steps."""
    train = open_dataset(data_dir, "train", "classify")
    model = NotesClassifier(
        BACKBONES["mlp"](widths=(hidden,), activation="sigmoid"),
        10,
        class_names=train.class_names,
        image_size=(28, 28),
        resize="stretch",
    )
    model.rate = rate
    rng = np.random.default_rng(seed)
    model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
    return Recipe(
        model=model, train=train, phases=[Phase(epochs, keras.optimizers.SGD(rate))], batch_size=BLOCK, seed=seed
    )

"""Dense layers on MNIST with the initial weights and the optimizer as knobs, to compare; see docs/experiments.md.

Run:      visionkit train configs/mnist_compare.py --data-dir PATH
Data:     PATH holds mnist.npz with x_train, y_train, x_test and y_test, as `keras.datasets.mnist` downloads it.
Reached:  see the tables of docs/experiments.md; `tools/maintenance/compare_mnist.py` makes them
"""

from pathlib import Path
from typing import Literal

import keras

from visionkit.backbones import BACKBONES
from visionkit.data.batches import steps_per_epoch
from visionkit.data.recognise import open_dataset
from visionkit.models import MODELS
from visionkit.train.learning import Learning
from visionkit.train.recipe import Phase, Recipe

HELD_BACK = 10_000  # of the 60,000, as network.py of the notes does
STARTS = {  # initialisers of the kernels and of the biases
    "normal": (keras.initializers.RandomNormal(stddev=1.0), keras.initializers.RandomNormal(stddev=1.0)),
    "scaled": (
        keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal"),
        keras.initializers.RandomNormal(stddev=1.0),
    ),
    "glorot": (keras.initializers.GlorotUniform(), keras.initializers.Zeros()),
    "he": (keras.initializers.HeNormal(), keras.initializers.Zeros()),
}


def recipe(
    data_dir: Path,
    start: Literal["normal", "scaled", "glorot", "he"] = "glorot",
    layers: int = 1,
    width: int = 100,
    activation: Literal["sigmoid", "relu"] = "relu",
    lr: float = 0.1,
    epochs: int = 5,
    batch_size: int = 100,
    learning: Learning = Learning(optimizer="sgd", schedule="constant", warmup=0.0, weight_decay=0.0),  # noqa: B008
    seed: int = 0,
) -> Recipe:
    """Learns from the first 50,000 training images and is scored on the other 10,000, after the last epoch.

    Args:
        start: the distribution of the initial weights. normal: N(0, 1), as at first in the notes; scaled: N(0, 1/n) for
            n inputs, as later in the notes, both with biases of N(0, 1); glorot: uniform, of variance
            2/(inputs + outputs) (Glorot and Bengio 2010); he: normal, of variance 2/inputs (He et al. 2015), both with
            biases of 0.
        layers, width: the number of hidden layers, and of neurons in each.
    """
    whole = open_dataset(data_dir, "train", "classify")
    cut = max(1, len(whole) - HELD_BACK)
    train, val = whole[:cut], whole[cut:]
    backbone = BACKBONES["mlp"](widths=(width,) * layers, activation=activation)
    model = MODELS["classifier"](backbone, 10, class_names=train.class_names, image_size=(28, 28), resize="stretch")
    kernel, bias = STARTS[start]
    for variable in model.trainable_variables:
        # A clone draws with its own seed, which follows from the seed of the run.
        variable.assign((kernel if len(variable.shape) > 1 else bias).clone()(variable.shape))
    steps = epochs * steps_per_epoch(train, batch_size)
    return Recipe(
        model=model,
        train=train,
        val=val,
        phases=[Phase(epochs, learning.optimizer_for(model, steps, lr))],
        batch_size=batch_size,
        evaluate_every=epochs,
        seed=seed,
    )

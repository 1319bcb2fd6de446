"""SSD300 as in the paper (Liu et al. 2016, arXiv 1512.02325, section 3.1): VOC 2007 + 2012 trainval, 2007 test.

Run:      visionkit train configs/ssd300_voc.py --data-dir PATH
Reached:  not run: it needs a GPU, the internet for VGG16's weights, and VOC. The paper: 77.2 % voc07_mAP50 (arXiv v5).

PATH is VOCdevkit, with VOC2007 (trainval and test) and VOC2012 in it. Known differences from the paper: VGG16's weights
are torchvision's, so fc6 and fc7 start from scratch and the images are normalised as those weights expect.
"""

import math
from pathlib import Path

import keras

from visionkit.backbones.ssd_vgg import ssd300_vgg16
from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import join
from visionkit.data.recognise import open_dataset
from visionkit.data.transforms import detection_train
from visionkit.models import MODELS
from visionkit.models.ssd import SSD300
from visionkit.train.recipe import Phase, Recipe
from visionkit.weights.load import load_weights


def recipe(
    data_dir: Path,
    lr: float = 1e-3,
    iterations: int = 120_000,
    batch_size: int = 32,
    pretrained: bool = True,
    seed: int = 0,
) -> Recipe:
    """80,000 steps at `lr`, 20,000 at a tenth and 20,000 at a hundredth of it; in proportion for other `iterations`."""
    train = join([open_dataset(data_dir / year, "trainval", "detect") for year in ("VOC2007", "VOC2012")])
    test = open_dataset(data_dir / "VOC2007", "test", "detect")
    trunk = ssd300_vgg16()
    if pretrained:  # the 13 convolutions of VGG16 are 26 of the trunk's 47 weights
        load_weights(trunk, "vgg16_imagenet", min_loaded=0.5)
    model = MODELS["ssd"](trunk, len(train.class_names), class_names=train.class_names, **SSD300)
    drops = [round(iterations * share) for share in (2 / 3, 5 / 6)]
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(drops, [lr, lr / 10, lr / 100])
    # Keras decouples the decay from the gradient, so this is ten times the paper's 5e-4, which momentum 0.9 amplifies.
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=5e-3)
    epochs = math.ceil(iterations / steps_per_epoch(train, batch_size))
    return Recipe(
        model=model,
        train=train,
        val=test,
        transform=detection_train(model.image_size, resize="stretch"),
        phases=[Phase(epochs, optimizer)],
        batch_size=batch_size,
        evaluate_every=epochs,  # once, at the end: no epoch is chosen on the test images
        seed=seed,
    )

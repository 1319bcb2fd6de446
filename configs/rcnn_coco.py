"""Mask R-CNN or Faster R-CNN, ResNet-50 with a feature pyramid, on COCO 2017, by Detectron's 1x schedule.

Run:      visionkit train configs/rcnn_coco.py --data-dir PATH
Reached:  not run: it needs a GPU, the internet for ResNet-50's weights, and COCO. torchvision's own weights, which
          `visionkit weights pull maskrcnn_resnet50_fpn_coco` fetches: box AP 37.9, mask AP 34.6 after 26 epochs.

PATH holds annotations/instances_train2017.json and instances_val2017.json, train2017/ and val2017/. He et al. 2017
(arXiv 1703.06870), section 3.1; 90,000 steps of 16 images, a tenth of the rate after 60,000 and 80,000.
"""

import math
from pathlib import Path

import keras

from visionkit.backbones import BACKBONES
from visionkit.backbones.blocks import freeze, freeze_batch_norm
from visionkit.data.batches import steps_per_epoch
from visionkit.data.recognise import open_dataset
from visionkit.data.transforms import Transform
from visionkit.data.views import Flip
from visionkit.models import MODELS
from visionkit.train.recipe import Phase, Recipe, schedule
from visionkit.weights.load import load_weights


def recipe(
    data_dir: Path,
    masks: bool = True,
    lr: float = 0.02,
    iterations: int = 90_000,
    batch_size: int = 16,
    image_size: tuple[int, int] = (800, 1088),
    pretrained: bool = True,
    seed: int = 0,
) -> Recipe:
    """The two lowest levels and all batch statistics are frozen; the only augmentation is mirroring.

    Args:
        image_size: (height, width). The papers resize the shorter side to 800 and the longer to at most 1333; here all
            images need one size, and this one suits photographs of 4:3.
    """
    task, name = ("instance", "mask_rcnn") if masks else ("detect", "faster_rcnn")
    train, val = (open_dataset(data_dir, split, task) for split in ("train", "val"))
    trunk = BACKBONES["resnet50"]()
    if pretrained:
        load_weights(trunk, "resnet50_imagenet")
    freeze(trunk, "C2")
    freeze_batch_norm(trunk)
    model = MODELS[name](trunk, len(train.class_names), class_names=train.class_names, image_size=image_size)
    epochs = math.ceil(iterations / steps_per_epoch(train, batch_size))
    rate = schedule(iterations, lr * batch_size / 16, warmup=1000 / 90_000, shape="step")
    # Keras decouples the decay from the gradient, so this is ten times Detectron's 1e-4, which momentum 0.9 amplifies.
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=1e-3)
    return Recipe(
        model=model,
        train=train,
        val=val,
        transform=Transform(image_size, "letterbox", (Flip(0.5),)),
        phases=[Phase(epochs, optimizer)],
        batch_size=batch_size,
        evaluate_every=epochs,
        seed=seed,
    )

"""Mask R-CNN on EfficientNet-Lite0, on pedestrians (Penn-Fudan, 170 images: the first 120 by name train, 50 test).

Run:      visionkit train configs/mask_rcnn_pennfudan.py --data-dir PATH
Data:     gmguarino/PennFudan on GitHub at half size; PATH holds images/ and masks/.
Reached:  box mAP50 0.958, mask mAP50 0.946 (mAP 0.672 and 0.607; one seed), 28 min on 2 CPU cores that also did other
          work.
"""

from pathlib import Path

from visionkit.data.recognise import open_dataset
from visionkit.recipes.detect import detector
from visionkit.train.recipe import Recipe


def recipe(
    data_dir: Path, train_images: int = 120, lr: float = 1e-3, epochs: int = 60, image_size: int = 384, seed: int = 0
) -> Recipe:
    """The test images are scored once, after the last epoch: no epoch is chosen by them."""
    data = open_dataset(data_dir, None, "instance")
    order = sorted(range(len(data)), key=lambda i: data.records[i].id)
    train, test = data.subset(order[:train_images]), data.subset(order[train_images:])
    recipe = detector("mask_rcnn", train, test, epochs=epochs, lr=lr, image_size=image_size, seed=seed)
    recipe.evaluate_every = epochs
    return recipe

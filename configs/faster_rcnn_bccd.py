"""Faster R-CNN with a feature pyramid on EfficientNet-Lite0, on blood cells (BCCD: 292 train and val, 72 test images).

Run:      visionkit train configs/faster_rcnn_bccd.py --data-dir PATH
Data:     Shenggan/BCCD_Dataset on GitHub; PATH holds its Annotations/, JPEGImages/ and ImageSets/.
Score:    visionkit evaluate RUN PATH --split test
Reached:  mAP50 0.927, mAP 0.615 on test (one seed), 27 min on 2 busy CPU cores.
"""

from pathlib import Path

from visionkit.recipes.detect import detect
from visionkit.train.recipe import Recipe


def recipe(data_dir: Path, lr: float = 1e-3, epochs: int = 33, image_size: int = 384, seed: int = 0) -> Recipe:
    """What `visionkit finetune PATH --model faster_rcnn --learn-from train+val` does."""
    return detect(
        data_dir, model="faster_rcnn", lr=lr, epochs=epochs, image_size=image_size, seed=seed, learn_from="train+val"
    )

"""SSD with a feature pyramid on EfficientNet-Lite0, on blood cells (BCCD: 292 train and val, 72 test images).

Run:      visionkit train configs/ssd_bccd.py --data-dir PATH
Data:     Shenggan/BCCD_Dataset on GitHub; PATH holds its Annotations/, JPEGImages/ and ImageSets/.
Score:    visionkit evaluate RUN PATH --split test
Reached:  mAP50 0.921, mAP 0.587 on test (one seed), 35 min on 2 busy CPU cores.
"""

from pathlib import Path

from visionkit.recipes.detect import detect
from visionkit.train.recipe import Recipe


def recipe(
    data_dir: Path, lr: float = 1e-3, epochs: int = 33, image_size: int = 384, batch_size: int = 16, seed: int = 0
) -> Recipe:
    """What `visionkit finetune PATH --learn-from train+val` does."""
    return detect(
        data_dir, lr=lr, epochs=epochs, image_size=image_size, batch_size=batch_size, seed=seed, learn_from="train+val"
    )

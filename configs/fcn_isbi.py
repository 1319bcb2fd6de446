"""FCN-4s on EfficientNet-Lite0, on cell membranes under the electron microscope (ISBI 2012: 30 grey images 512x512).

Run:      visionkit train configs/fcn_isbi.py --data-dir PATH
Data:     data/membrane/train of zhixuhao/unet on GitHub; PATH holds image/ and label/.
Reached:  foreground IoU 0.858, pixel error 0.116 on the 6 (one seed), 7 min on 2 busy CPU cores.

The first 24 images by name are learned from and the last 6 held back; the challenge's own test labels were never
published. Only the last epoch is scored, so that nothing is chosen on the 6. The classes are "0", the membranes, and
"255", the cells between them: the foreground. Pixel error is 1 - pixel_accuracy.
"""

from dataclasses import replace
from pathlib import Path

from visionkit.data.recognise import open_dataset
from visionkit.data.transforms import segmentation_train
from visionkit.recipes.segment import segmenter
from visionkit.train.recipe import Recipe

HELD_BACK = 6


def recipe(
    data_dir: Path, image_size: int = 512, lr: float = 1e-3, epochs: int = 30, batch_size: int = 4, seed: int = 0
) -> Recipe:
    """Membranes are a few pixels wide, so the finest level matters; the tissue has no left or right, up or down."""
    whole = open_dataset(data_dir, task="segment")
    ids = sorted(range(len(whole)), key=lambda i: whole.records[i].id)
    train, val = whole.subset(ids[:-HELD_BACK]), whole.subset(ids[-HELD_BACK:])
    transform = segmentation_train((image_size, image_size), scale=(0.9, 2.0), vertical_flip=0.5)
    recipe = segmenter(train, val, transform, finest="C2", lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
    return replace(recipe, evaluate_every=epochs)

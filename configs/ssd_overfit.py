"""An SSD learns a few images by heart and is scored on THE SAME images: a check of the whole chain, not a result.

The samples of VOC 2012 (100 images, 20 classes) and COCO (80 images, 80 classes) are too small to learn anything else
from. If the score does not come near 1, boxes, class ids or anchors are wrong.

Run:      visionkit train configs/ssd_overfit.py --data-dir PATH
Reached:  not yet measured.
"""

from pathlib import Path

from visionkit.data.recognise import open_dataset
from visionkit.data.transforms import detection_train
from visionkit.recipes.detect import detector
from visionkit.train.recipe import Recipe


def recipe(data_dir: Path, lr: float = 1e-3, epochs: int = 60, image_size: int = 320, seed: int = 0) -> Recipe:
    """No augmentation, all levels learn, and only the last epoch is scored."""
    data = open_dataset(data_dir, None, "detect")
    recipe = detector(
        "ssd", data, data, epochs=epochs, lr=lr, image_size=image_size, batch_size=8, freeze=None, seed=seed
    )
    recipe.transform = detection_train(recipe.model.image_size, strength="none")
    recipe.evaluate_every = epochs
    return recipe

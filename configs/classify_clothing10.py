"""EfficientNet-Lite0 on ten kinds of clothes (clothing10: 1041 train and validation, 372 test images).

Run:      visionkit train configs/classify_clothing10.py --data-dir PATH
Data:     alexeygrigorev/clothing-dataset-small on GitHub, of train at most 70 images a class, the shorter side made
          160; PATH holds train/, validation/ and test/.
Score:    visionkit evaluate RUN PATH --split test
Reached:  top-1 85.22 % on test (seed 0), 266 s on 2 CPU cores.
"""

from pathlib import Path

from visionkit.recipes.classify import classify
from visionkit.train.recipe import Recipe


def recipe(data_dir: Path, lr: float = 1e-3, epochs: int = 10, batch_size: int = 32, seed: int = 0) -> Recipe:
    """What `visionkit finetune PATH --learn-from train+val` does."""
    return classify(data_dir, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed, learn_from="train+val")

"""Pixel-level transforms of albumentations (noise, blur, JPEG artefacts, weather ...) as steps of ours.

Only those: its geometry drops boxes without their masks and fills segmentation maps with class 0 where there is no
image, and would resample a second time; views do the geometry here.
"""

import copy
import os
import threading
from collections.abc import Sequence

import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # its import would otherwise ask the network for a newer version
import albumentations as A


class Albumentations:
    """A step `(image, rng) -> image` for the `extra` of a transform. The same rng state gives the same bits.

    Example: `detection_train((320, 320), extra=[Albumentations([A.GaussNoise(p=0.3), A.ImageCompression(p=0.3)])])`

    Args:
        transforms: `albumentations.ImageOnlyTransform`s, also inside OneOf, SomeOf, Sequential.

    Raises:
        TypeError: one of them moves pixels.
    """

    def __init__(self, transforms: Sequence):
        for transform in _flat(transforms):
            if not isinstance(transform, A.ImageOnlyTransform):
                raise TypeError(
                    f"expected pixel-level albumentations, found {transform}; for geometry see data/views.py"
                )
        self.transforms, self._local = list(transforms), threading.local()

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seed = int(rng.integers(2**31))
        # A Compose holds its random state: shared between threads, they would draw from each other's.
        if not hasattr(self._local, "compose"):
            self._local.compose = A.Compose(copy.deepcopy(self.transforms))
        self._local.compose.set_random_seed(seed)
        return self._local.compose(image=image)["image"]

    def __reduce__(self):
        return Albumentations, (self.transforms,)  # a threading.local cannot be pickled


def _flat(transforms):
    for transform in transforms:
        if isinstance(transform, A.core.composition.BaseCompose):
            yield from _flat(transform.transforms)
        else:
            yield transform

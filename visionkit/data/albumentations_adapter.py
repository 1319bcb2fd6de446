"""Pixel-level transforms of albumentations (noise, blur, JPEG artefacts, weather ...) as steps of our transforms.

Only pixel-level ones: albumentations' geometry drops boxes without their masks, fills segmentation maps with class 0
where there is no image, and would resample a second time. Here views do the geometry.
"""

import copy
import os
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise importing it asks the network for a newer version
import albumentations as A
from albumentations.core.composition import BaseCompose


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
        self.transforms = list(transforms)
        self._local = threading.local()

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seed = int(rng.integers(2**31))
        # A Compose holds its random state; if threads shared one, they would draw from each other's.
        if not hasattr(self._local, "compose"):
            self._local.compose = A.Compose(copy.deepcopy(self.transforms))
        set_seed(self._local.compose, seed)
        return self._local.compose(image=image)["image"]

    def __reduce__(self):
        return Albumentations, (self.transforms,)  # a threading.local cannot be pickled


def set_seed(compose: Any, seed: int) -> None:
    """Seeds a composition, whose transforms then draw from one generator, one after the other.

    Its own `set_random_seed` gives every transform a generator of its own with the same seed. Then all draw the same
    numbers: of two flips with a probability of 0.5, both happen or neither.
    """
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _flat(transforms: Sequence) -> Iterator:
    for transform in transforms:
        if isinstance(transform, BaseCompose):
            yield from _flat(transform.transforms)
        else:
            yield transform

"""Whether new photographs look like the ones that a guarantee was made with: a promise holds for such photographs only.

The test sees light, contrast, colour, sharpness and size. It can miss what it does not look at: other objects, other
places.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from scipy import stats

from visionkit.resizing import resize

LONG_SIDE = 1024  # pixels; larger images are scaled down, so that sharpness means the same
SURE = 0.01  # the chance of a warning without a reason, over all features together
FEWEST = 5  # images; fewer cannot be told from chance
WORDS = {  # feature -> what less of it, and more of it, is called
    "brightness": ("darker", "brighter"),
    "contrast": ("less contrast", "more contrast"),
    "sharpness": ("blurrier", "sharper"),
    "saturation": ("less colour", "more colour"),
    "size": ("smaller", "larger"),
}


def look(image: np.ndarray) -> list[float]:
    """The features of an image uint8 `[H, W, 3]`, in the order of `WORDS`."""
    h, w = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(h, w))
    small = image if scale == 1 else resize(image, (max(1, round(h * scale)), max(1, round(w * scale))))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    saturation = (small.max(axis=2) - small.min(axis=2)).mean()
    edges = cv2.Laplacian(grey, cv2.CV_64F).var()
    sharpness = np.log10((edges + 1) / (grey.var() + 1))  # less light does not blur
    values = (grey.mean(), grey.std(), sharpness, saturation, np.log10(h * w))
    return [round(float(value), 4) for value in values]


def looks(images: Iterable[np.ndarray]) -> dict[str, list[float]]:
    """The features of several images: name -> one value for each."""
    rows = [look(image) for image in images]
    return {name: [row[i] for row in rows] for i, name in enumerate(WORDS)}


def shift(before: Mapping[str, Sequence[float]], now: Mapping[str, Sequence[float]]) -> list[str]:
    """In which ways new images differ from earlier ones, by two-sample Kolmogorov-Smirnov tests.

    Args:
        before, now: of `looks`.

    Returns:
        Words such as "blurrier". Without a difference there are some in 1 of 100 cases at most, for all features
        together (Bonferroni). None for fewer than 5 new images.
    """
    found = []
    for name, (less, more) in WORDS.items():
        old, new = np.asarray(before.get(name, ())), np.asarray(now[name])
        if len(old) < FEWEST or len(new) < FEWEST:
            continue
        test: Any = stats.ks_2samp(old, new, method="asymp")
        if test.pvalue < SURE / len(WORDS):
            found.append(less if np.median(new) < np.median(old) else more)
    return found

"""Augmentation: one random draw per sample, applied to image, boxes, masks and segmentation map alike.

A transform is a callable `(sample, seed) -> Sample`; the same sample and seed give the same bits in any thread or
process. The whole geometry of a transform is drawn first, on numbers alone, as a `View` (see `views`). The pixels are
then cut out and resized ONCE, by `visionkit.images` as in prediction (see `render`): a 4-fold expansion needs no
16-fold canvas, nothing is resampled twice, and the cost of an image is that of its result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from visionkit.data.render import ColourStep, Transform
from visionkit.data.views import CentreCrop, Expand, Flip, IoUCrop, RandomResizedCrop, ScaleJitter
from visionkit.resizing import CROP_SHARE


@dataclass(frozen=True)
class Photometric:
    """Random brightness, contrast, saturation and hue; contrast before or after the last two, as in SSD's code.

    Args:
        strength: 1 is SSD's: brightness +-32 of 255, contrast and saturation times 0.5..1.5, hue +-18 degrees.
        p: the probability of each of the four.
    """

    strength: float = 1.0
    p: float = 0.5

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        amount = self.strength * rng.uniform(-1, 1, 4) * (rng.random(4) < self.p)
        brightness, contrast, saturation, hue = amount * [32, 0.5, 0.5, 18 / 360 * 256] + [0, 1, 1, 0]
        contrast_first = rng.random() < 0.5
        levels = np.arange(256)
        image = _look_up(image, (levels + brightness) * (contrast if contrast_first else 1))
        if saturation != 1 or hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # FULL: hue is the whole circle 0..255
            hsv = _look_up(hsv, np.stack([(levels + hue).round() % 256, levels * saturation, levels], axis=1))
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        return _look_up(image, levels * (1 if contrast_first else contrast))


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replaces each level by its entry in a table `[256]` or `[256, 3]`, rounded and clipped."""
    table = np.clip(np.round(table), 0, 255).astype(np.uint8)
    if table.ndim == 1 and (table == np.arange(256)).all():
        return image
    return cv2.LUT(image, table.reshape(1, 256, -1))


def detection_train(
    size: tuple[int, int],
    resize: str = "letterbox",
    strength: str = "full",
    *,
    flip: float = 0.5,
    vertical_flip: float = 0.0,
    max_expand: float = 4.0,
    extra: Sequence[ColourStep] = (),
) -> Transform:
    """The training transform of detectors and instance segmentation.

    Args:
        size: (height, width) of the network's input.
        resize: "letterbox" or "stretch"; evaluation and prediction must use the same.
        strength: "full" is SSD's (photometric, expansion, IoU crop, flip; arXiv 1512.02325 sec. 2.2 and 3.6), "light"
            scales by 0.8..1.25, changes colours half as much, and flips; "none" only resizes.
        flip: the probability of mirroring the image, with "full" and "light".
        vertical_flip: the same, top to bottom: for images without an up and down, such as those of a microscope.
        max_expand: the largest expansion in width and height with "full"; use less than the paper's 4 if the objects
            are already small.
        extra: further steps `(image uint8 [H, W, 3], rng) -> image`, such as `Albumentations`.

    Raises:
        ValueError: `strength` or `resize` is none of these.
    """
    if strength == "none":
        return Transform(size, resize, colours=extra)
    flips = Flip(flip, vertical_flip)
    if strength == "light":
        return Transform(size, resize, (ScaleJitter(0.8, 1.25), flips), (Photometric(0.5), *extra), min_visible=0.25)
    if strength == "full":
        views = (Expand(max_expand), IoUCrop(), flips)
        return Transform(size, resize, views, (Photometric(), *extra), min_visible=0.05)
    raise ValueError(f"strength: expected 'full', 'light' or 'none', found {strength!r}")


def detection_eval(size: tuple[int, int], resize: str = "letterbox") -> Transform:
    """Only resizes, with the same bits as prediction."""
    return Transform(size, resize)


def classification_train(
    size: tuple[int, int],
    *,
    min_area: float = 0.25,
    flip: float = 0.5,
    colour: float = 0.5,
    extra: Sequence[ColourStep] = (),
) -> Transform:
    """A random resized crop, a flip and photometric changes.

    Args:
        size: (height, width) of the network's input.
        min_area: the least share of the image's area in the crop; 0.08 for training on ImageNet from scratch.
        flip: the probability of mirroring the image.
        colour: the strength of `Photometric`; 0 for none.
        extra: further steps `(image uint8 [H, W, 3], rng) -> image`.
    """
    views = (RandomResizedCrop(size, min_area), Flip(flip))
    return Transform(size, "stretch", views, (Photometric(colour), *extra))


def classification_eval(size: tuple[int, int], share: float = CROP_SHARE) -> Transform:
    """The centre crop of `share` (224 of 256) of the shorter side, resized to `size`."""
    return Transform(size, "stretch", (CentreCrop(size, share),))


def segmentation_train(
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: float = 0.5,
    vertical_flip: float = 0.0,
    colour: float = 0.5,
    extra: Sequence[ColourStep] = (),
) -> Transform:
    """A random scale and crop, a flip and photometric changes; the map is 255 (ignore) where there is no image.

    Args:
        size: (height, width) of the network's input.
        scale: smallest and largest, relative to the scale at which the whole image just fits into `size`.
        flip: the probability of mirroring the image.
        vertical_flip: the same, top to bottom.
        colour: the strength of `Photometric`; 0 for none.
        extra: further steps `(image uint8 [H, W, 3], rng) -> image`.
    """
    # The view has the proportions of `size`, so the letterbox adds at most a rounded pixel.
    views = (ScaleJitter(*scale, size), Flip(flip, vertical_flip))
    return Transform(size, "letterbox", views, (Photometric(colour), *extra))


def segmentation_eval(size: tuple[int, int], resize: str = "letterbox") -> Transform:
    """Resizes the image as prediction does, and the map with it; the map is 255 (ignore) beside the image."""
    return Transform(size, resize)

"""Which part of an image to show: the geometry of augmentation, drawn on numbers before any pixel is touched.

A step is `(view, sample, rng) -> View`; it knows the sample's size and boxes in source pixels. A view must overlap the
image. Views hold whole pixels, so what they cut out is not resampled.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from visionkit import npboxes, resizing
from visionkit.resizing import CROP_SHARE
from visionkit.types import Sample, objects_of


class View(NamedTuple):
    """A rectangle of the source image, in pixels, and whether it is mirrored; it may extend beyond the image."""

    x1: int
    y1: int
    x2: int
    y2: int
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y2 - self.y1, self.x2 - self.x1


@dataclass(frozen=True)
class Flip:
    """Mirrors left to right with probability `x` and top to bottom with probability `y`."""

    x: float = 0.5
    y: float = 0.0

    def __call__(self, view: View, sample: Sample, rng: np.random.Generator) -> View:
        x, y = rng.random(2) < (self.x, self.y)
        return view._replace(mirror_x=view.mirror_x ^ bool(x), mirror_y=view.mirror_y ^ bool(y))


@dataclass(frozen=True)
class Expand:
    """With probability `p` zooms out: a view up to `most` times as wide and high, the old one anywhere inside it.

    This is SSD's "zoom out" (arXiv 1512.02325 sec. 3.6), which makes small objects; there `most` is 4.
    """

    most: float = 4.0
    p: float = 0.5

    def __call__(self, view: View, sample: Sample, rng: np.random.Generator) -> View:
        chance, ratio, right, down = rng.random(4)
        if chance >= self.p:
            return view
        h, w = view.size
        ratio = 1 + ratio * (self.most - 1)
        x1, y1 = view.x1 - int(right * w * (ratio - 1)), view.y1 - int(down * h * (ratio - 1))
        return view._replace(x1=x1, y1=y1, x2=x1 + int(w * ratio), y2=y1 + int(h * ratio))


@dataclass(frozen=True)
class IoUCrop:
    """A random crop that still shows some object well (SSD, arXiv 1512.02325 sec. 2.2).

    One of these is chosen with equal probability: the view as it is; a random crop; or a crop whose IoU with at least
    one box reaches one of `min_ious`. Crops have sides of 0.3 to 1 times the view's (the paper says 0.1, its code 0.3,
    as here), proportions within 1/2..2 of the view's, and contain the centre of a box. The view is left as it is if
    none of `trials` draws qualifies, or if the image has no boxes.
    """

    min_ious: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    trials: int = 50

    def __call__(self, view: View, sample: Sample, rng: np.random.Generator) -> View:
        option, draws = rng.integers(len(self.min_ious) + 2), rng.random((4, self.trials))
        objects = objects_of(sample)
        boxes = objects.boxes[~objects.ignore]
        if option == 0 or not len(boxes):
            return view
        min_iou = (0, *self.min_ious)[option - 1]
        crops = self._crops(view, draws)  # [trials, 4]
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = np.all((centres > crops[:, None, :2]) & (centres < crops[:, None, 2:]), axis=2)  # [trials, N]
        best_iou = npboxes.iou(crops.astype(np.float64), boxes).max(axis=1)  # [trials]
        good = np.any(inside, axis=1) & (best_iou >= min_iou)
        if not good.any():
            return view
        x1, y1, x2, y2 = crops[good.argmax()].tolist()
        return view._replace(x1=x1, y1=y1, x2=x2, y2=y2)

    def _crops(self, view: View, draws: np.ndarray) -> np.ndarray:
        """Random crops int `[trials, 4]` of the view, from numbers `[4, trials]` in 0..1."""
        (h, w), scale = view.size, 0.3 + 0.7 * draws[0]
        low, high = np.maximum(0.5, scale**2), np.minimum(2, scale**-2)  # within these the crop fits the view
        ratio = low + (high - low) * draws[1]
        sides = np.maximum(np.stack([w * scale * np.sqrt(ratio), h * scale / np.sqrt(ratio)], axis=1).astype(int), 1)
        corners = [view.x1, view.y1] + (draws[2:].T * ([w, h] - sides + 1)).astype(int)
        return np.concatenate([corners, corners + sides], axis=1)


@dataclass(frozen=True)
class ScaleJitter:
    """Zooms in or out: a scale of `low`..`high`, uniform on a log scale, at a random place.

    Args:
        low, high: scale 1 shows the whole image, 2 half its width and height, 0.5 twice.
        size: (height, width) whose proportions the view gets (scale 1 then just holds the image); None: the image's.
    """

    low: float
    high: float
    size: tuple[int, int] | None = None

    def __call__(self, view: View, sample: Sample, rng: np.random.Generator) -> View:
        h, w = sample.image_size
        scale = np.exp(rng.uniform(np.log(self.low), np.log(self.high)))
        to_h, to_w = self.size or (h, w)
        scale *= min(to_h / h, to_w / w)
        vh, vw = max(1, round(to_h / scale)), max(1, round(to_w / scale))
        # A view larger than the image contains all of it; a smaller one lies inside it.
        x1 = int(rng.integers(min(0, w - vw), max(0, w - vw) + 1))
        y1 = int(rng.integers(min(0, h - vh), max(0, h - vh) + 1))
        return view._replace(x1=x1, y1=y1, x2=x1 + vw, y2=y1 + vh)


@dataclass(frozen=True)
class CentreCrop:
    """The middle of the image: `share` of the largest rectangle with the proportions of `size`."""

    size: tuple[int, int]
    share: float = CROP_SHARE

    def __call__(self, view: View, sample: Sample, rng: np.random.Generator) -> View:
        x1, y1, x2, y2 = resizing.crop_window(sample.image_size, self.size, self.share)
        return view._replace(x1=x1, y1=y1, x2=x2, y2=y2)


@dataclass(frozen=True)
class RandomResizedCrop:
    """GoogLeNet's crop (arXiv 1409.4842 sec. 6): `min_area`..1 of the image's area.

    Its proportions are within 3/4..4/3 of those of `size`. If none of 10 draws fits the image, the centre crop is used.
    """

    size: tuple[int, int]
    min_area: float = 0.08

    def __call__(self, view: View, sample: Sample, rng: np.random.Generator) -> View:
        h, w = sample.image_size
        area, ratio, right, down = rng.random((4, 10))
        area = (self.min_area + (1 - self.min_area) * area) * h * w
        ratio = np.exp((2 * ratio - 1) * np.log(4 / 3)) * self.size[1] / self.size[0]
        vw, vh = np.maximum(1, np.sqrt([area * ratio, area / ratio]).round().astype(int))
        fits = (vw <= w) & (vh <= h)
        if not fits.any():
            return CentreCrop(self.size, 1.0)(view, sample, rng)
        i = fits.argmax()
        x1, y1 = int(right[i] * (w - vw[i] + 1)), int(down[i] * (h - vh[i] + 1))
        return view._replace(x1=x1, y1=y1, x2=x1 + int(vw[i]), y2=y1 + int(vh[i]))

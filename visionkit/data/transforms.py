"""Augmentation: one random draw per sample, applied to image, boxes, masks and segmentation map alike.

A transform is a callable `(sample, seed) -> Sample`; the same sample and seed give the same bits, in any thread or
process. All the geometry of a transform is drawn first, on numbers alone, as a `View` (see `views`). The pixels
are then cut out and resized ONCE, by `visionkit.images`, as prediction does it: a 4-fold expansion needs no 16-fold
canvas, nothing is resampled twice, and an image costs what its result costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from visionkit import images, npboxes
from visionkit.data.views import CentreCrop, Expand, Flip, IoUCrop, RandomResizedCrop, ScaleJitter, View
from visionkit.types import IGNORE, Sample

LETTERBOX_FILL = (
    114,
    114,
    114,
)  # beside an image that is fitted into the network's size; images.letterbox has the same
MEAN_COLOUR = (124, 116, 104)  # ImageNet's mean: what an expansion fills with; about zero after normalisation


@dataclass(frozen=True)
class Photometric:
    """Random brightness, contrast, saturation and hue, the contrast before or after the last two, as in SSD's code.

    Args:
        strength: 1 is SSD's: brightness +-32 of 255, contrast and saturation times 0.5..1.5, hue +-18 degrees.
        p: the probability of each of the four.
    """

    strength: float = 1.0
    p: float = 0.5

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        amount = self.strength * rng.uniform(-1, 1, 4) * (rng.random(4) < self.p)
        brightness, contrast, saturation, hue = amount * [32, 0.5, 0.5, 18 / 360 * 256] + [0, 1, 1, 0]
        early, late = (contrast, 1) if rng.random() < 0.5 else (1, contrast)
        levels = np.arange(256)
        image = _look_up(image, (levels + brightness) * early)
        if saturation != 1 or hue:
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # hue takes all of 0..255, a circle
            hsv = _look_up(hsv, np.stack([(levels + hue).round() % 256, levels * saturation, levels], axis=1))
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
        return _look_up(image, levels * late)


def _look_up(image, table):
    table = np.clip(np.round(table), 0, 255).astype(np.uint8)
    if table.ndim == 1 and (table == np.arange(256)).all():
        return image
    return cv2.LUT(image, table.reshape(1, 256, -1))


@dataclass(frozen=True)
class Transform:
    """Draws a view, renders it at the network's size, then draws the changes of colour.

    Args:
        size: (height, width) of the result.
        resize: "letterbox" keeps the proportions and fills right and below with grey; "stretch" does not keep them.
        views: steps `(view, sample, rng) -> View`, the first gets the whole image.
        colours: steps `(image uint8 [H, W, 3], rng) -> image`; they see no fill, which so keeps its colour. Any
            pixel-level transform of albumentations is one: see `albumentations_adapter`.
        min_visible: a box of which a smaller share of the area is left by the view is dropped.

    A box is kept, cut to the view, if its centre is inside (SSD, arXiv 1512.02325 sec. 2.2), `min_visible` of it is
    left and both its sides have at least 1 pixel in the result; an `ignore` region is kept for the last alone. Where
    there are masks, a cut box is tightened to what is left of its mask. A result may have no boxes. Segmentation maps
    get 255 where there is no image. A field of the sample that is None stays None.

    Raises:
        ValueError: `resize` is neither of the two, or a size is not positive.
    """

    size: tuple[int, int]
    resize: str = "letterbox"
    views: Sequence[Callable] = ()
    colours: Sequence[Callable] = ()
    min_visible: float = 0.0

    def __post_init__(self):
        if self.resize not in ("letterbox", "stretch") or min(self.size) < 1:
            raise ValueError(
                f"expected resize letterbox or stretch and sides above 0, found {self.resize!r}, {self.size}"
            )

    def __call__(self, sample: Sample, seed: int) -> Sample:
        rng = np.random.default_rng(seed)
        view = View(0, 0, sample.image_size[1], sample.image_size[0])
        for step in self.views:
            view = step(view, sample, rng)
        return self._render(sample, view, rng)

    def _render(self, sample, view, rng):
        h, w = sample.image_size
        new_h, new_w = self.size if self.resize == "stretch" else images.letterbox_factors(view.size, self.size)[0]
        # The part of the view that shows image, in source pixels, and where in the result it goes. It starts and ends
        # on whole pixels of the result; boxes follow the part itself, so they fit its pixels exactly.
        x1, x2, left, right = _place(view.x1, view.x2, w, new_w, view.mirror_x)
        y1, y2, top, bottom = _place(view.y1, view.y2, h, new_h, view.mirror_y)
        source, target = np.s_[y1:y2, x1:x2], np.s_[top:bottom, left:right]
        step = np.s_[:: -1 if view.mirror_y else 1, :: -1 if view.mirror_x else 1]
        part_size = (bottom - top, right - left)

        part = np.ascontiguousarray(images.resize(np.ascontiguousarray(sample.image[source]), part_size)[step])
        for colour in self.colours:
            part = colour(part, rng)
        image = np.empty((*self.size, 3), np.uint8)
        image[:] = LETTERBOX_FILL
        image[:new_h, :new_w] = MEAN_COLOUR
        image[target] = part
        changed = {"image": image, "image_size": tuple(self.size)}
        if sample.segmentation is not None:
            changed["segmentation"] = np.full(self.size, IGNORE, np.int32)
            changed["segmentation"][target] = _nearest(sample.segmentation[source], part_size)[step]
        if sample.boxes is None:
            return replace(sample, **changed)

        boxes, keep = _cut(sample, (x1, y1, x2, y2), self.min_visible)
        scale = np.array([(right - left) / (x2 - x1), (bottom - top) / (y2 - y1)] * 2)
        boxes = (boxes - [x1, y1, x1, y1]) * scale
        if view.mirror_x:
            boxes[:, [0, 2]] = (right - left) - boxes[:, [2, 0]]
        if view.mirror_y:
            boxes[:, [1, 3]] = (bottom - top) - boxes[:, [3, 1]]
        boxes = npboxes.clip(boxes + [left, top, left, top], self.size)
        keep &= (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        if sample.masks is not None:
            masks = np.zeros((len(boxes), *self.size), np.uint8)
            for i in keep.nonzero()[0]:
                masks[i][target] = _nearest(sample.masks[i][source], part_size)[step]
            keep &= masks.any(axis=(1, 2))
            changed["masks"] = masks[keep]
        if sample.ignore is not None:
            changed["ignore"] = sample.ignore[keep]
        return replace(sample, boxes=boxes[keep], labels=sample.labels[keep], **changed)


def _place(low, high, image_side, new_side, mirror):
    """Along one side: the source range to cut out and the range of the result it is put into."""
    first, last = max(low, 0), min(high, image_side)
    scale = new_side / (high - low)
    start = min(int((first - low) * scale + 0.5), new_side - 1)
    stop = max(int((last - low) * scale + 0.5), start + 1)
    return first, last, *((new_side - stop, new_side - start) if mirror else (start, stop))


def _cut(sample, window, min_visible):
    """The boxes cut to the window, in source pixels as float64 `[N, 4]`, and which are kept, bool `[N]`."""
    x1, y1, x2, y2 = window
    boxes = sample.boxes.astype(np.float64)
    cut = np.clip(boxes, [x1, y1, x1, y1], [x2, y2, x2, y2])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    keep = ((centres >= [x1, y1]) & (centres <= [x2, y2])).all(axis=1)
    keep &= npboxes.area(cut) >= min_visible * npboxes.area(boxes)
    if sample.ignore is not None:
        keep |= sample.ignore
    if sample.masks is not None:
        touched = ((cut != boxes).any(axis=1) & keep).nonzero()[0]
        if len(touched):
            tight = npboxes.of_masks(sample.masks[touched, y1:y2, x1:x2])
            cut[touched] = np.where(tight.any(axis=1, keepdims=True), tight + [x1, y1, x1, y1], 0)
    return cut, keep


def _nearest(values, size):
    # EXACT keeps pixel centres, as the image's resize does; the plain one is up to half a source pixel off.
    values = np.ascontiguousarray(values)
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def detection_train(
    size: tuple[int, int],
    resize: str = "letterbox",
    strength: str = "full",
    *,
    flip: float = 0.5,
    vertical_flip: float = 0.0,
    max_expand: float = 4.0,
    extra: Sequence[Callable] = (),
) -> Transform:
    """The training transform of detectors and instance segmentation.

    Args:
        size: (height, width) of the network's input.
        resize: "letterbox" or "stretch"; evaluation and prediction must use the same.
        strength: "full" is SSD's (photometric, expansion, IoU crop, flip; arXiv 1512.02325 sec. 2.2 and 3.6), "light"
            jitters the scale by 0.8..1.25 and the colours half as much, and flips; "none" only resizes.
        flip: the probability of a mirrored image, in "full" and "light".
        vertical_flip: the same, top to bottom: for pictures without an up, such as those of a microscope.
        max_expand: how many times as wide and high "full" expands; less than the paper's 4 for objects already small.
        extra: further steps `(image uint8 [H, W, 3], rng) -> image`, such as `Albumentations`.
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
    """Resizes and nothing else, to the bit as prediction does."""
    return Transform(size, resize)


def classification_train(
    size: tuple[int, int],
    *,
    min_area: float = 0.25,
    flip: float = 0.5,
    colour: float = 0.5,
    extra: Sequence[Callable] = (),
) -> Transform:
    """A random resized crop, a flip and photometric changes.

    Args:
        size: (height, width) of the network's input.
        min_area: the least share of the image's area in the crop; 0.08 to train on ImageNet from nothing.
        flip: the probability of a mirrored image.
        colour: the strength of `Photometric`; 0 for none.
        extra: further steps `(image uint8 [H, W, 3], rng) -> image`.
    """
    views = (RandomResizedCrop(size, min_area), Flip(flip))
    return Transform(size, "stretch", views, (Photometric(colour), *extra))


def classification_eval(size: tuple[int, int], share: float = 0.875) -> Transform:
    """The centre crop of `share` (224 of 256) of the shorter side, resized to `size`."""
    return Transform(size, "stretch", (CentreCrop(size, share),))


def segmentation_train(
    size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: float = 0.5,
    colour: float = 0.5,
    extra: Sequence[Callable] = (),
) -> Transform:
    """A random scale and crop, a flip and photometric changes; the map is 255 (ignore) where there is no image.

    Args:
        size: (height, width) of the network's input.
        scale: least and greatest, relative to the scale at which the whole image just fits into `size`.
        flip: the probability of a mirrored image.
        colour: the strength of `Photometric`; 0 for none.
        extra: further steps `(image uint8 [H, W, 3], rng) -> image`.
    """
    # The view has the proportions of `size`, so the letterbox adds nothing but a rounded pixel.
    return Transform(size, "letterbox", (ScaleJitter(*scale, size), Flip(flip)), (Photometric(colour), *extra))


def segmentation_eval(size: tuple[int, int], resize: str = "letterbox") -> Transform:
    """Resizes the image as prediction does, and the map with it; 255 (ignore) beside the image."""
    return Transform(size, resize)

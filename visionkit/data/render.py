"""A drawn view becomes pixels: image, boxes, masks and segmentation map go through the same arithmetic, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from visionkit import npboxes, resizing
from visionkit.data.views import View
from visionkit.types import IGNORE, Sample

LETTERBOX_FILL = (
    114,
    114,
    114,
)  # beside an image that is fitted into the network's size; resizing.letterbox has the same
MEAN_COLOUR = (124, 116, 104)  # ImageNet's mean: what an expansion fills with; about zero after normalisation


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
        new_h, new_w = self.size if self.resize == "stretch" else resizing.letterbox_factors(view.size, self.size)[0]
        # The part of the view that shows image, in source pixels, and where in the result it goes. It starts and ends
        # on whole pixels of the result; boxes follow the part itself, so they fit its pixels exactly.
        x1, x2, left, right = _place(view.x1, view.x2, w, new_w, view.mirror_x)
        y1, y2, top, bottom = _place(view.y1, view.y2, h, new_h, view.mirror_y)
        source, target = np.s_[y1:y2, x1:x2], np.s_[top:bottom, left:right]
        step = np.s_[:: -1 if view.mirror_y else 1, :: -1 if view.mirror_x else 1]
        part_size = (bottom - top, right - left)

        part = np.ascontiguousarray(resizing.resize(np.ascontiguousarray(sample.image[source]), part_size)[step])
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

"""Turns a drawn view into pixels: image, boxes, masks and segmentation map go through the same arithmetic, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from visionkit import npboxes, resizing
from visionkit.data.keypoints import moved
from visionkit.data.views import View
from visionkit.types import IGNORE, Sample, objects_of

MEAN_COLOUR = (124, 116, 104)  # ImageNet's mean fills an expanded image; it is about zero after normalisation

ViewStep = Callable[[View, Sample, np.random.Generator], View]
ColourStep = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Transform:
    """Draws a view, renders it at the network's size, and applies random colour changes.

    A box is kept, cut to the view, if its centre is inside (SSD, arXiv 1512.02325 sec. 2.2), a share of at least
    `min_visible` of its area is left and both its sides have at least 1 pixel in the result; for an `ignore` region
    only the last condition counts. If there are masks, a cut box is tightened to what is left of its mask. Keypoints
    beyond the view count as not annotated; in a mirror image left and right ones change places. The result may have no
    boxes. Segmentation maps are 255 where there is no image. A field of the sample that is None stays None.

    Args:
        size: (height, width) of the result.
        resize: "letterbox" keeps the proportions and fills right and below with grey; "stretch" does not keep them.
        views: steps `(view, sample, rng) -> View`; the first one gets the whole image.
        colours: steps `(image uint8 [H, W, 3], rng) -> image`. They see only the image and not the fill around it,
            which thus keeps its colour. Any pixel-level transform of albumentations will do: see
            `albumentations_adapter`.
        min_visible: a box is dropped if the view leaves a smaller share of its area than this.

    Raises:
        ValueError: `resize` is neither of the two, or a size is not positive.
    """

    size: tuple[int, int]
    resize: str = "letterbox"
    views: Sequence[ViewStep] = ()
    colours: Sequence[ColourStep] = ()
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

    def _render(self, sample: Sample, view: View, rng: np.random.Generator) -> Sample:
        assert sample.image is not None
        new_h, new_w = self.size if self.resize == "stretch" else resizing.letterbox_factors(view.size, self.size)[0]
        cut = _cut_out(view, sample.image_size, (new_h, new_w))
        part = np.ascontiguousarray(cut.apply(resizing.resize, sample.image))
        for colour in self.colours:
            part = colour(part, rng)
        image = np.empty((*self.size, 3), np.uint8)
        image[:] = resizing.FILL
        image[:new_h, :new_w] = MEAN_COLOUR
        image[cut.target] = part
        changed: dict[str, Any] = {"image": image, "image_size": tuple(self.size)}
        if sample.segmentation is not None:
            changed["segmentation"] = np.full(self.size, IGNORE, np.int32)
            changed["segmentation"][cut.target] = cut.apply(_nearest, sample.segmentation)
        if sample.boxes is not None:
            changed |= self._objects(sample, cut)
        return replace(sample, **changed)

    def _objects(self, sample: Sample, cut: "_CutOut") -> dict[str, Any]:
        """The fields of the objects that are kept."""
        boxes, keep = _cut_boxes(sample, cut.window, self.min_visible)
        boxes = npboxes.clip(cut.move(boxes), self.size)
        keep &= (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        changed = {}
        if sample.masks is not None:
            masks = np.zeros((len(boxes), *self.size), np.uint8)
            for i in keep.nonzero()[0]:
                masks[i][cut.target] = cut.apply(_nearest, sample.masks[i])
            keep &= masks.any(axis=(1, 2))
            changed["masks"] = masks[keep]
        if sample.keypoints is not None:
            changed["keypoints"] = moved(sample, cut.move_points, cut.place, cut.mirror_x != cut.mirror_y)[keep]
        if sample.ignore is not None:
            changed["ignore"] = sample.ignore[keep]
        return {"boxes": boxes[keep], "labels": objects_of(sample).labels[keep], "areas": None, **changed}


class _CutOut(NamedTuple):
    """The part of a view that shows the image, and where it goes in the result.

    It starts and ends on whole pixels of the result; boxes follow the part itself, so they fit its pixels exactly.
    """

    window: tuple[int, int, int, int]  # x1, y1, x2, y2 in source pixels
    place: tuple[int, int, int, int]  # left, top, right, bottom in the result
    mirror_x: bool
    mirror_y: bool

    @property
    def target(self) -> tuple[slice, slice]:
        left, top, right, bottom = self.place
        return np.s_[top:bottom, left:right]

    def apply(self, resize: Callable[[np.ndarray, tuple[int, int]], np.ndarray], pixels: np.ndarray) -> np.ndarray:
        """Cuts the part out of the image or map, resizes it with `resize(part, (height, width))`, and mirrors it."""
        x1, y1, x2, y2 = self.window
        left, top, right, bottom = self.place
        part = resize(np.ascontiguousarray(pixels[y1:y2, x1:x2]), (bottom - top, right - left))
        return part[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]

    def move(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes `[N, 4]` from source pixels to pixels of the result."""
        first, second = self.move_points(boxes[:, :2]), self.move_points(boxes[:, 2:])
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)

    def move_points(self, points: np.ndarray) -> np.ndarray:
        """Points `[N, 2]`, x and y, from source pixels to pixels of the result."""
        x1, y1, x2, y2 = self.window
        left, top, right, bottom = self.place
        width, height = right - left, bottom - top
        points = (points - [x1, y1]) * np.array([width / (x2 - x1), height / (y2 - y1)])
        if self.mirror_x:
            points[:, 0] = width - points[:, 0]
        if self.mirror_y:
            points[:, 1] = height - points[:, 1]
        return points + [left, top]


def _cut_out(view: View, image_size: tuple[int, int], new_size: tuple[int, int]) -> _CutOut:
    """The part of `view` inside the image (height, width), when the whole view becomes `new_size`."""
    x1, x2, left, right = _along_one_side(view.x1, view.x2, image_size[1], new_size[1], view.mirror_x)
    y1, y2, top, bottom = _along_one_side(view.y1, view.y2, image_size[0], new_size[0], view.mirror_y)
    return _CutOut((x1, y1, x2, y2), (left, top, right, bottom), view.mirror_x, view.mirror_y)


def _along_one_side(low: int, high: int, image_side: int, new_side: int, mirror: bool) -> tuple[int, int, int, int]:
    """The source range to cut out along one side, and the range of the result that it fills."""
    first, last = max(low, 0), min(high, image_side)
    scale = new_side / (high - low)
    start = min(int((first - low) * scale + 0.5), new_side - 1)
    stop = max(int((last - low) * scale + 0.5), start + 1)
    if mirror:
        return first, last, new_side - stop, new_side - start
    return first, last, start, stop


def _cut_boxes(sample: Sample, window: tuple[int, int, int, int], min_visible: float) -> tuple[np.ndarray, np.ndarray]:
    """The boxes cut to the window, in source pixels as float64 `[N, 4]`, and bool `[N]`: which are kept."""
    x1, y1, x2, y2 = window
    objects = objects_of(sample)
    boxes = objects.boxes.astype(np.float64)
    cut = np.clip(boxes, [x1, y1, x1, y1], [x2, y2, x2, y2])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((centres >= [x1, y1]) & (centres <= [x2, y2])).all(axis=1)
    visible = npboxes.area(cut) >= min_visible * npboxes.area(boxes)
    keep = (inside & visible) | objects.ignore
    if sample.masks is not None:
        touched = ((cut != boxes).any(axis=1) & keep).nonzero()[0]
        if len(touched):
            tight = npboxes.of_masks(sample.masks[touched, y1:y2, x1:x2])
            cut[touched] = np.where(tight.any(axis=1, keepdims=True), tight + [x1, y1, x1, y1], 0)
    return cut, keep


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    # EXACT keeps pixel centres, as the image's resize does; plain INTER_NEAREST is up to half a source pixel off.
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)

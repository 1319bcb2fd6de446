"""Small objects in large images: a detector over overlapping tiles and over the whole image, merged class by class."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from visionkit.npboxes import area, iou
from visionkit.predict.predictor import Failure, Image, Predictor, ahead, getters, read_item
from visionkit.types import DataError, Detections, Sample

OVERLAP = 0.25  # share of a tile that its neighbour sees too: an object up to that size is whole in one of them
SAME = 0.5  # IoU above which two boxes of a class are one object
PART = 0.5  # share of a box cut by its tile's edge that lies in a kept box, above which it is a part of that object
EDGE = 1.5  # pixels; a box that ends closer to the inner edge of its tile is taken as cut by it


@dataclass(kw_only=True)
class _Plan:
    """An image under way: where its pieces lie, the whole image first, and what was found in them so far."""

    item: Sample | Failure
    windows: list[tuple[int, int, int, int]] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)


class Tiled:
    """A Predictor in whose place it stands, for detectors: each image is cut into tiles that are seen at their size.

    The whole image is looked at too, for objects larger than a tile. Akyon et al., "Slicing Aided Hyper Inference",
    ICIP 2022, section 3; here boxes that a tile's edge has cut give way to the whole ones, whatever their scores. A
    mask is that of the piece whose box is kept.

    Args:
        predictor: of a detector, with or without masks.
        tile: side of the square tiles in pixels of the original; an image no larger is seen whole only.

    Raises:
        DataError: another task, or a tile without size.
    """

    def __init__(self, predictor: Predictor, tile: int):
        if predictor.task not in ("detect", "instance"):
            raise DataError(f"tiles are for detectors; this model is for the task {predictor.task}")
        if tile < 16:
            raise DataError(f"expected tiles of 16 pixels or more, found {tile}")
        self.predictor, self.tile = predictor, tile
        self.class_names, self.task, self.batch_size = predictor.class_names, predictor.task, predictor.batch_size

    def __call__(self, items: Image | Iterable[Image], score: float | None = None) -> Iterator[Detections | Failure]:
        """As `Predictor.__call__`; besides the pieces that it holds there are up to four originals in memory."""
        plans = deque()

        def pieces():
            for item in ahead(enumerate(getters(items)), lambda job: read_item(*job), depth=2):
                plans.append(plan := _Plan(item=item))
                if isinstance(item, Failure):
                    continue
                plan.windows = tiles(item.image_size, self.tile)
                for x1, y1, x2, y2 in plan.windows:
                    yield item.image[y1:y2, x1:x2]
                plan.item = replace(item, image=None)

        for found in self.predictor(pieces(), score):
            while isinstance(plans[0].item, Failure):
                yield plans.popleft().item
            plans[0].found.append(found)
            if len(plans[0].found) == len(plans[0].windows):
                yield _joined(plans.popleft())
        yield from (plan.item for plan in plans)  # what is left are failures


def tiles(image_size: tuple[int, int], side: int) -> list[tuple[int, int, int, int]]:
    """x1, y1, x2, y2 of the whole image and, if it is larger than `side`, of tiles that cover it, evenly spread."""
    h, w = image_size
    rows, columns = (_starts(length, side) for length in (h, w))
    cut = [(x, y, min(x + side, w), min(y + side, h)) for y in rows for x in columns]
    return [(0, 0, w, h)] + (cut if len(cut) > 1 else [])


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - OVERLAP)))) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def _joined(plan: _Plan) -> Detections:
    h, w = plan.item.image_size
    boxes, cut = [], []
    for (x1, y1, x2, y2), found in zip(plan.windows, plan.found, strict=True):
        inner = np.array([x1 > 0, y1 > 0, x2 < w, y2 < h])  # edges beyond which the image goes on
        near = np.abs(found.boxes - np.float32([0, 0, x2 - x1, y2 - y1])) < EDGE  # [N, 4]
        cut.append((near & inner).any(axis=1))
        boxes.append(found.boxes + np.float32([x1, y1, x1, y1]))
    boxes, cut = np.concatenate(boxes), np.concatenate(cut)
    scores = np.concatenate([found.scores for found in plan.found])
    labels = np.concatenate([found.labels for found in plan.found])
    keep = merged(boxes, scores, labels, cut)
    item = plan.item
    same = {"id": item.id, "file": item.file, "image_size": item.image_size}
    return Detections(boxes=boxes[keep], scores=scores[keep], labels=labels[keep], masks=_masks(plan, keep), **same)


def _masks(plan: _Plan, keep: np.ndarray) -> np.ndarray | None:
    """Of the kept detections, counted over all pieces in turn, at the whole image's size; None without masks."""
    if any(found.masks is None for found in plan.found):
        return None
    pieces = [(window, mask) for window, found in zip(plan.windows, plan.found, strict=True) for mask in found.masks]
    masks = np.zeros((len(keep), *plan.item.image_size), np.uint8)
    for canvas, ((x1, y1, x2, y2), mask) in zip(masks, (pieces[k] for k in keep), strict=True):
        canvas[y1:y2, x1:x2] = mask
    return masks


def merged(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Which detections of overlapping pieces of one image to keep.

    Class by class, whole boxes come before cut ones and higher scores before lower ones; a box goes where its IoU with
    a kept one is above `SAME`, a cut one also where more than `PART` of it lies in a kept one.

    Args:
        boxes: `[N, 4]`, in pixels of the image.
        scores, labels: `[N]`.
        cut: bool `[N]`, whether the box ends where its piece ends but the image does not.

    Returns:
        int `[K]`, indices by falling score.
    """
    kept = []
    for label in np.unique(labels):
        rest = np.flatnonzero(labels == label)
        rest = rest[np.lexsort((rest, -scores[rest], cut[rest]))]
        while len(rest):
            best, rest = rest[0], rest[1:]
            kept.append(best)
            inside = _inside(boxes[rest], boxes[best])
            rest = rest[(iou(boxes[rest], boxes[best][None])[:, 0] <= SAME) & ~(cut[rest] & (inside > PART))]
    kept = np.array(kept, np.int64)
    return kept[np.argsort(-scores[kept], kind="stable")]


def _inside(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The share of each box `[N, 4]` that lies in one other `[4]`: `[N]`."""
    low, high = np.maximum(boxes[:, :2], other[:2]), np.minimum(boxes[:, 2:], other[2:])
    return np.clip(high - low, 0, None).prod(axis=1) / np.maximum(area(boxes), 1e-9)

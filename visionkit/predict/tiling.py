"""Small objects in large images: a detector runs over overlapping tiles and the whole image; the results are merged."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from visionkit.npboxes import area, iou
from visionkit.predict.ahead import ahead
from visionkit.predict.inputs import Failure, Failures, Image, answer, read_item
from visionkit.predict.predictor import Predictor
from visionkit.types import BOX_TASKS, DataError, Detections, Sample

OVERLAP = 0.25  # share of a tile that its neighbour sees too: an object up to that size is whole in one of them
SAME = 0.5  # above this IoU two boxes of a class are the same object
PART = 0.5  # a box cut by the edge of its tile is part of an object if more than this share lies in the object's box
EDGE = 1.5  # pixels; a box that ends closer than this to an inner edge of its tile counts as cut by it


@dataclass(kw_only=True)
class _Pieces:
    """An image in progress: where its pieces are, the whole image first, and what was detected in them so far."""

    item: Sample
    windows: list[tuple[int, int, int, int]]  # x1, y1, x2, y2
    detections: list[Detections] = field(default_factory=list)


class Tiled:
    """A detector that cuts each image into tiles and looks at those at full resolution; used like a Predictor.

    It looks at the whole image too, for objects larger than a tile. Akyon et al., "Slicing Aided Hyper Inference",
    ICIP 2022, section 3; unlike there, boxes that the edge of a tile has cut give way to whole ones, whatever their
    scores. The mask and the keypoints of an object come from the piece whose box is kept.

    Args:
        predictor: of a detector, with or without masks or keypoints.
        tile: side of the square tiles in pixels of the original; an image no larger than that is only seen whole.

    Raises:
        DataError: the model is for another task, or the tile is too small.
    """

    def __init__(self, predictor: Predictor, tile: int):
        if predictor.task not in BOX_TASKS:
            raise DataError(f"tiles are for detectors; this model is for the task {predictor.task}")
        if tile < 16:
            raise DataError(f"expected tiles of 16 pixels or more, found {tile}")
        self.predictor, self.tile, self.runtime = predictor, tile, predictor.runtime
        self.class_names, self.task, self.batch_size = predictor.class_names, predictor.task, predictor.batch_size

    def __call__(self, items: Any, score: float | None = None, failures: Failures = "raise") -> Any:
        """Like `Predictor.__call__`; up to four originals are in memory in addition to the pieces it holds."""
        return answer(items, failures, lambda getters: self._results(getters, score))

    def _results(self, items: Iterator[Callable[[], Image]], score: float | None) -> Iterator[Detections | Failure]:
        waiting: deque[_Pieces | Failure] = deque()

        def pieces() -> Iterator[np.ndarray]:
            for item in ahead(enumerate(items), lambda job: read_item(*job), depth=2):
                if isinstance(item, Failure):
                    waiting.append(item)
                    continue
                assert item.image is not None  # read_item has read it
                cut = _Pieces(item=replace(item, image=None), windows=tiles(item.image_size, self.tile))
                waiting.append(cut)
                for x1, y1, x2, y2 in cut.windows:
                    yield item.image[y1:y2, x1:x2]

        for detections in self.predictor(pieces(), score):
            assert isinstance(detections, Detections)  # pieces are arrays, which cannot fail
            while isinstance(first := waiting[0], Failure):
                waiting.popleft()
                yield first
            first.detections.append(detections)
            if len(first.detections) == len(first.windows):
                waiting.popleft()
                yield _joined(first)
        for failure in waiting:  # nothing but failures is left
            assert isinstance(failure, Failure)
            yield failure


def tiles(image_size: tuple[int, int], side: int) -> list[tuple[int, int, int, int]]:
    """x1, y1, x2, y2 of the whole image and, if it is larger than `side`, of evenly spread tiles that cover it."""
    h, w = image_size
    rows, columns = (_starts(length, side) for length in (h, w))
    cut = [(x, y, min(x + side, w), min(y + side, h)) for y in rows for x in columns]
    return [(0, 0, w, h)] + (cut if len(cut) > 1 else [])


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - OVERLAP)))) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()


def _joined(pieces: _Pieces) -> Detections:
    """The detections of all pieces in pixels of the whole image, merged."""
    item = pieces.item
    h, w = item.image_size
    boxes, cut = [], []
    for (x1, y1, x2, y2), detections in zip(pieces.windows, pieces.detections, strict=True):
        inner = np.array([x1 > 0, y1 > 0, x2 < w, y2 < h])  # edges beyond which the image continues
        near = np.abs(detections.boxes - np.array([0, 0, x2 - x1, y2 - y1], np.float32)) < EDGE  # [N, 4]
        cut.append((near & inner).any(axis=1))
        boxes.append(detections.boxes + np.array([x1, y1, x1, y1], np.float32))
    boxes, cut = np.concatenate(boxes), np.concatenate(cut)
    scores = np.concatenate([detections.scores for detections in pieces.detections])
    labels = np.concatenate([detections.labels for detections in pieces.detections])
    keep = merged(boxes, scores, labels, cut)
    return Detections(
        id=item.id,
        file=item.file,
        image_size=item.image_size,
        class_names=pieces.detections[0].class_names,
        boxes=boxes[keep],
        scores=scores[keep],
        labels=labels[keep],
        masks=_masks(pieces, keep),
        keypoints=_keypoints(pieces, keep),
        skeleton=pieces.detections[0].skeleton,
    )


def _keypoints(pieces: _Pieces, keep: np.ndarray) -> np.ndarray | None:
    """Keypoints in pixels of the whole image; None if the detections have none. `keep` as in `_masks`."""
    placed = [
        detections.keypoints + np.array([x1, y1, 0], np.float32)
        for (x1, y1, _, _), detections in zip(pieces.windows, pieces.detections, strict=True)
        if detections.keypoints is not None
    ]
    return np.concatenate(placed)[keep] if placed else None


def _masks(pieces: _Pieces, keep: np.ndarray) -> np.ndarray | None:
    """Masks at the size of the whole image; None if the detections have none.

    Args:
        keep: int `[K]`, indices of the kept detections in the concatenation of those of all pieces.
    """
    placed = []  # (where the piece is, mask of its size) of every detection
    for window, detections in zip(pieces.windows, pieces.detections, strict=True):
        if detections.masks is None:
            return None
        placed += [(window, mask) for mask in detections.masks]
    masks = np.zeros((len(keep), *pieces.item.image_size), np.uint8)
    for canvas, k in zip(masks, keep, strict=True):
        (x1, y1, x2, y2), mask = placed[k]
        canvas[y1:y2, x1:x2] = mask
    return masks


def merged(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Which detections to keep where pieces of one image overlap.

    Within each class, whole boxes come before cut ones, and higher scores before lower ones. A box is dropped if its
    IoU with a kept box is above `SAME`; a cut box is also dropped if more than `PART` of it lies in a kept box.

    Args:
        boxes: `[N, 4]`, in pixels of the image.
        scores, labels: `[N]`.
        cut: bool `[N]`, whether a box ends where its piece ends but the image continues.

    Returns:
        int `[K]`, indices by descending score.
    """
    kept = []
    for label in np.unique(labels):
        rest = np.flatnonzero(labels == label)
        rest = rest[np.lexsort((rest, -scores[rest], cut[rest]))]
        while len(rest):
            best, rest = rest[0], rest[1:]
            kept.append(best)
            same = iou(boxes[rest], boxes[best][None])[:, 0] > SAME
            part = cut[rest] & (_inside(boxes[rest], boxes[best]) > PART)
            rest = rest[~same & ~part]
    kept = np.array(kept, np.int64)
    return kept[np.argsort(-scores[kept], kind="stable")]


def _inside(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The share of each box `[N, 4]` that lies in one other box `[4]`: `[N]`."""
    low, high = np.maximum(boxes[:, :2], other[:2]), np.minimum(boxes[:, 2:], other[2:])
    return np.clip(high - low, 0, None).prod(axis=1) / np.maximum(area(boxes), 1e-9)

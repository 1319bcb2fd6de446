"""Masks as one polygon, for formats that have nothing else: parts and holes are joined by lines without width."""

import numpy as np

from visionkit.data.segments import Segment, rasterise

_MOST_POINTS = 5000  # that are joined, which takes memory for the distances between them


def as_polygon(segment: Segment, image_size: tuple[int, int]) -> np.ndarray | None:
    """Returns one polygon that is drawn as exactly the pixels of `segment`.

    A single polygon is returned as it is. Of several, or of run lengths, the outlines are joined: from a point of one
    to the nearest of the next and back, which encloses nothing.

    Args:
        segment: polygons or run lengths, see `segments.parse_segment`.
        image_size: (height, width).

    Returns:
        float64 `[P, 2]` x, y in pixels, or None if there is none, as for an empty mask, or if it would have thousands
        of points.
    """
    if not isinstance(segment, np.ndarray) and len(segment) == 1:
        return segment[0]
    mask = rasterise(segment, image_size)
    loops = outlines(mask) if isinstance(segment, np.ndarray) else segment
    for candidates in (loops, outlines(mask)):
        if mask.any() and sum(map(len, candidates)) <= _MOST_POINTS:
            polygon = _joined(candidates)
            if np.array_equal(rasterise([polygon], image_size), mask):
                return polygon
    return None


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Returns the closed lines along the edges of the pixels of a mask: float64 `[P, 2]` x, y, corners alone.

    Args:
        mask: uint8 `[H, W]` of 0 and 1.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    across = np.diff(padded, axis=0)[:, 1:-1]  # [H + 1, W], 1 where the mask begins below the edge
    along = np.diff(padded, axis=1)[1:-1]  # [H, W + 1], 1 where it begins to the right
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}  # corner -> where edges lead, with the mask on their right
    for y, x in np.argwhere(across == 1).tolist():
        steps.setdefault((x, y), []).append((x + 1, y))
    for y, x in np.argwhere(across == -1).tolist():
        steps.setdefault((x + 1, y), []).append((x, y))
    for y, x in np.argwhere(along == 1).tolist():
        steps.setdefault((x, y + 1), []).append((x, y))
    for y, x in np.argwhere(along == -1).tolist():
        steps.setdefault((x, y), []).append((x, y + 1))
    loops = []
    while steps:
        start = point = next(iter(steps))
        loop = [start]
        while True:
            following = steps[point].pop()
            if not steps[point]:
                del steps[point]
            point = following
            if point == start:
                break
            loop.append(point)
        loops.append(_corners(np.array(loop, np.float64)))
    return loops


def _corners(loop: np.ndarray) -> np.ndarray:
    """The points of a closed line at which it turns."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[(before != after).any(axis=1)]


def _joined(loops: list[np.ndarray]) -> np.ndarray:
    polygon = loops[0]
    for loop in loops[1:]:
        distance = ((polygon[:, None] - loop[None]) ** 2).sum(axis=-1)  # [P, Q]
        here, there = np.unravel_index(distance.argmin(), distance.shape)
        around = np.concatenate([np.roll(loop, -there, axis=0), loop[there : there + 1]])
        polygon = np.concatenate([polygon[: here + 1], around, polygon[here:]])
    return polygon

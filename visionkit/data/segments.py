"""COCO's two ways to write a mask: polygons and run lengths, checked when read, drawn when a sample is loaded."""

import numpy as np
from pycocotools import mask as mask_utils

from visionkit.data.files import number
from visionkit.types import DataError


def parse_segment(segmentation, image_size: tuple[int, int], where: str):
    """Checks what an annotation holds, since pycocotools' C code trusts its input.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] or {"size": [h, w], "counts": list or string}, as in COCO.
        image_size: (height, width).
        where: begins the error's message.

    Returns:
        None for no mask; a list of float64 `[P, 2]` x, y polygons; or int64 `[R]` run lengths of 0 and 1 in turn, down
        the columns.
    """
    h, w = image_size
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        counts = _uncompress(counts) if isinstance(counts, str) else counts
        whole = isinstance(counts, list) and all(type(c) is int and 0 <= c <= h * w for c in counts)
        if not whole or size != [h, w] or sum(counts) != h * w:
            raise DataError(f"{where}: expected run lengths that cover size [{h}, {w}], found size {str(size)[:40]}")
        return np.array(counts, np.int64)
    if not isinstance(segmentation, list):
        raise DataError(f"{where}: expected polygons or run lengths, found {str(segmentation)[:40]}")
    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise DataError(f"{where}: expected a polygon [x, y, x, y, ...], found {str(polygon)[:60]}")
        points = np.array([number(value, where) for value in polygon]).reshape(-1, 2)
        if len(points) > 2:  # one or two points enclose nothing
            polygons.append(np.clip(points, [-w, -h], [2 * w, 2 * h]))  # far points would cost memory without end
    return polygons or None


def rasterise(segment, image_size: tuple[int, int]) -> np.ndarray:
    """Draws what `parse_segment` returned: uint8 `[H, W]` of 0 and 1."""
    h, w = image_size
    if not isinstance(segment, np.ndarray):
        runs = mask_utils.merge(mask_utils.frPyObjects([p.ravel().tolist() for p in segment], h, w))
        segment = _uncompress(runs["counts"].decode())  # pycocotools' own decode warns on every call under NumPy 2
    return np.ascontiguousarray(np.repeat(np.arange(len(segment)) % 2, segment).astype(np.uint8).reshape(w, h).T)


def run_lengths(mask: np.ndarray) -> dict:
    """The inverse of `rasterise`, as COCO writes it: uint8 `[H, W]` of 0 and 1 -> {"size", "counts"}."""
    edges = np.flatnonzero(np.diff(mask.T.ravel(), prepend=np.uint8(0)))  # the first run is of 0, if only of length 0
    return {"size": list(mask.shape), "counts": np.diff([0, *edges, mask.size]).tolist()}


def _uncompress(text: str) -> list[int] | None:
    """COCO's compressed counts: 5 bits a character, low first, bit 32 = more; from the third on a difference."""
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 40:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign: two's complement
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if not shift else None

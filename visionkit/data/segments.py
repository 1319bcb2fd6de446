"""COCO's two ways to write a mask, polygons and run lengths: checked when read, drawn when a sample is loaded."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from visionkit import limits
from visionkit.data.dataset import Load
from visionkit.data.files import load_image, number
from visionkit.types import DataError, Sample, check_sample

Segment = np.ndarray | list[np.ndarray]  # int64 [R] run lengths, or polygons float64 [P, 2] of x, y


def parse_segment(segmentation: Any, image_size: tuple[int, int], where: str) -> Segment | None:
    """Checks the segmentation of an annotation, because the C code of pycocotools trusts its input.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] or {"size": [h, w], "counts": list or string}, as in COCO.
        image_size: (height, width).
        where: the start of an error message.

    Returns:
        None if there is no mask; a list of float64 `[P, 2]` x, y polygons; or int64 `[R]` run lengths of 0 and 1 in
        turn, down the columns.

    Raises:
        DataError: the segmentation is malformed, its run lengths do not cover the image, or its polygons are longer
            than `limits.EDGES`.
    """
    h, w = image_size
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _run_lengths_of(segmentation, image_size, where)
    if not isinstance(segmentation, list):
        raise DataError(f"{where}: expected polygons or run lengths, found {str(segmentation)[:40]}")
    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise DataError(f"{where}: expected a polygon [x, y, x, y, ...], found {str(polygon)[:60]}")
        points = np.array([number(value, where) for value in polygon]).reshape(-1, 2)
        if len(points) > 2:  # one or two points enclose nothing
            polygons.append(np.clip(points, [-w, -h], [2 * w, 2 * h]))  # far points only cost memory
    check_length(polygons, where)
    return polygons or None


def check_length(polygons: list[np.ndarray], where: str) -> None:
    """Refuses polygons that take too much memory to draw: pycocotools holds five points for each pixel of an edge.

    Args:
        polygons: of one object, float64 `[P, 2]` x, y.
        where: the start of an error message.

    Raises:
        DataError: their edges are longer than `limits.EDGES`.
    """
    length = 0.0
    for polygon in polygons:
        length += np.abs(np.diff(polygon, axis=0, append=polygon[:1])).max(axis=1).sum()
    text = f"{where}: polygons with edges of {length:.0f} pixels are above the limit of {{limit}}"
    limits.check(int(length), limits.EDGES, text, "long polygon")


def check_masks(count: int, image_size: tuple[int, int], where: object) -> None:
    """Refuses an image whose instance masks, `[count, H, W]`, would take more than `limits.MASKS` bytes.

    Args:
        count: how many objects have masks.
        image_size: (height, width).
        where: the start of an error message.

    Raises:
        DataError: they would.
    """
    h, w = image_size
    text = f"{where}: {count} masks of {w} x {h} pixels are above the limit of {{limit}} MB"
    limits.check(count * h * w, limits.MASKS, text, "too many masks", unit=2**20)


def _run_lengths_of(segmentation: dict, image_size: tuple[int, int], where: str) -> np.ndarray:
    h, w = image_size
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if isinstance(counts, str):
        counts = _uncompress(counts)
    valid = isinstance(counts, list) and all(type(count) is int and 0 <= count <= h * w for count in counts)
    if not valid or counts is None or size != [h, w] or sum(counts) != h * w:
        raise DataError(f"{where}: expected run lengths that cover size [{h}, {w}], found size {str(size)[:40]}")
    return np.array(counts, np.int64)


def rasterise(segment: Segment, image_size: tuple[int, int]) -> np.ndarray:
    """Draws what `parse_segment` returned: uint8 `[H, W]` of 0 and 1."""
    h, w = image_size
    values = np.zeros(w * h, np.uint8)  # down the columns
    for runs in [segment] if isinstance(segment, np.ndarray) else _runs_of(segment, image_size):
        ends = np.cumsum(runs).tolist()
        for start, end in zip(ends[0::2], ends[1::2], strict=False):  # the last run of 0 has none of 1 behind it
            values[start:end] = 1
    return np.ascontiguousarray(values.reshape(w, h).T)


def _runs_of(polygons: list[np.ndarray], image_size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The run lengths of each polygon. Pycocotools would merge them with memory for another four copies of the mask."""
    for polygon in polygons:
        code: Any = mask_utils.frPyObjects([polygon.ravel().tolist()], *image_size)[0]
        runs = _uncompress(code["counts"].decode())  # pycocotools' own decode warns on every call under NumPy 2
        assert runs is not None
        yield np.array(runs, np.int64)


def load_masks(segments: dict[str, list[Segment | None]], record: Sample) -> Sample:
    """The `load` of readers whose records lack the pixels and the masks; `segments` has those of each sample's id."""
    masks = np.zeros((len(segments[record.id]), *record.image_size), np.uint8)
    for mask, segment in zip(masks, segments[record.id], strict=True):
        assert segment is not None
        mask[:] = rasterise(segment, record.image_size)
    return check_sample(replace(load_image(record), masks=masks))


def from_rows(runs: np.ndarray, box: tuple[int, int, int, int], image_size: tuple[int, int]) -> np.ndarray:
    """Turns run lengths along the rows of a box, as CVAT writes them, into those of `parse_segment`.

    Args:
        runs: int64 `[R]` lengths of 0 and 1 in turn, which cover the box.
        box: x1, y1, x2, y2 in whole pixels, inside the image.
        image_size: (height, width).
    """
    x1, y1, x2, y2 = box
    part = np.repeat((np.arange(len(runs)) % 2).astype(np.int8), runs).reshape(y2 - y1, x2 - x1)  # [h, w]
    padded = np.pad(part.T, ((0, 0), (1, 1)))  # [w, h + 2], so that every run ends in its own column
    column, first = np.nonzero(np.diff(padded, axis=1) == 1)
    last = np.nonzero(np.diff(padded, axis=1) == -1)[1]
    offset = (x1 + column) * image_size[0] + y1
    edges = np.stack([offset + first, offset + last], axis=1).ravel()
    return np.diff(edges, prepend=0, append=image_size[0] * image_size[1]).astype(np.int64)


def segments_of(load: Load, record: Sample) -> list[Segment] | None:
    """Returns the segment of each box of a record, without drawing it if possible; None if there are no masks.

    Args:
        load: of the record's data set.
        record: a Sample without pixels.
    """
    if load is load_image:
        return None
    if isinstance(load, partial) and load.func is load_masks:
        return load.args[0][record.id]
    masks = load(record).masks
    return None if masks is None else [np.array(run_lengths(mask)["counts"], np.int64) for mask in masks]


def to_coco(segment: Segment, image_size: tuple[int, int]) -> tuple[dict[str, Any] | list[list[float]], int]:
    """Returns a segment as COCO writes it, the inverse of `parse_segment`, and its area in pixels."""
    if isinstance(segment, np.ndarray):
        return {"size": list(image_size), "counts": segment.tolist()}, int(segment[1::2].sum())
    flat = [polygon.ravel().tolist() for polygon in segment]
    code = mask_utils.merge(mask_utils.frPyObjects(flat, *image_size))
    return flat, int(mask_utils.area(code))


def run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """The inverse of `rasterise`, as COCO writes it: uint8 `[H, W]` of 0 and 1 -> {"size", "counts"}."""
    # The first run is of 0 and may have length 0.
    edges = np.flatnonzero(np.diff(mask.T.ravel(), prepend=np.uint8(0))).tolist()
    return {"size": list(mask.shape), "counts": np.diff(np.array([0, *edges, mask.size])).tolist()}


def _uncompress(text: str) -> list[int] | None:
    """COCO's compressed counts: 5 bits per character, low first, bit 32 = more; from the third on a difference."""
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 40:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign, in two's complement
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if not shift else None

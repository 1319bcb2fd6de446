"""Anchors: numpy arrays computed once, when a model is built for images of a fixed size.

They are the default boxes of SSD (arXiv 1512.02325, section 2.2) and the anchors of Faster R-CNN (arXiv 1506.01497,
section 3.1.1).
"""

import math
from collections.abc import Sequence

import numpy as np


def shapes_of_scales(
    sizes: tuple[float, float] | Sequence[float], aspect_ratios: Sequence[float] = (1.0, 2.0, 0.5)
) -> np.ndarray:
    """Anchor shapes in pixels by SSD's rule (arXiv 1512.02325, section 2.2).

    Args:
        sizes: s_k of a level and s_{k+1} of the next, in pixels.
        aspect_ratios: width / height of the boxes of area s_k squared; one more square box has area s_k * s_{k+1}.

    Returns:
        float32 `[A, 2]` of (width, height): the square, the larger square, then the other ratios in order.
    """
    size, next_size = sizes
    larger = math.sqrt(size * next_size)
    shapes = [(size, size), (larger, larger)]
    shapes += [(size * math.sqrt(r), size / math.sqrt(r)) for r in aspect_ratios if r != 1.0]
    return np.array(shapes, np.float32)


def shapes_of_ratios(sizes: Sequence[float], aspect_ratios: Sequence[float] = (2.0, 1.0, 0.5)) -> np.ndarray:
    """Anchor shapes in pixels by Faster R-CNN's rule (arXiv 1506.01497, section 3.1.1): every size in every ratio.

    Half sides are rounded to whole pixels, as in Detectron and torchvision; published weights depend on it.

    Args:
        sizes: square roots of the areas, in pixels.
        aspect_ratios: width / height.

    Returns:
        float32 `[A, 2]` of (width, height), ratio by ratio.
    """
    roots = np.sqrt(np.asarray(aspect_ratios, np.float32))[:, None, None]  # [r, 1, 1]
    sides = np.asarray(sizes, np.float32)[None, :, None] * np.concatenate([roots, 1 / roots], axis=-1)  # [r, s, 2]
    return np.maximum(2 * np.round(sides.reshape(-1, 2) / 2), 1.0)


def grid(
    feature_size: tuple[int, int],
    stride: float | tuple[float, float],
    shapes: np.ndarray | Sequence[tuple[float, float]],
    offset: float = 0.5,
) -> np.ndarray:
    """Anchors for every cell of one feature map, centred at (cell + offset) * stride.

    Args:
        feature_size: (height, width) of the map.
        stride: pixels from one cell to the next, one number or (y, x).
        shapes: `[A, 2]` of (width, height) in pixels.
        offset: 0.5 is the middle of a cell; Faster R-CNN and its descendants use 0.

    Returns:
        float32 `[height * width * A, 4]` x1, y1, x2, y2, cells row by row with the anchors of a cell together: the
        order of a head's `[B, H, W, A * values]` output after a reshape.
    """
    sides = np.asarray(shapes, np.float32)
    stride_y, stride_x = np.broadcast_to(np.asarray(stride, np.float64), 2)
    height, width = feature_size
    rows: np.ndarray = (np.arange(height) + offset) * stride_y
    columns: np.ndarray = (np.arange(width) + offset) * stride_x
    cy, cx = np.meshgrid(rows, columns, indexing="ij")  # [H, W]
    centres = np.stack([cx, cy], axis=-1)[:, :, None, :]  # [H, W, 1, 2]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)  # [H, W, A, 4]
    return boxes.reshape(-1, 4).astype(np.float32)

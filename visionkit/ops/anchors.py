"""Anchors (SSD's default boxes): numpy arrays computed once, when a model is built; its sizes are static."""

import math

import numpy as np


def shapes_of_scales(sizes, aspect_ratios=(1.0, 2.0, 0.5)):
    """Anchor shapes in pixels by SSD's rule (arXiv 1512.02325, section 2.2).

    Args:
        sizes: s_k of one level and s_{k+1} of the next, in pixels.
        aspect_ratios: width / height of the boxes of area s_k squared; one more square box has s_k * s_{k+1}.

    Returns:
        float32 `[A, 2]` of (width, height): the square, the larger square, then the other ratios in order.
    """
    size, following = sizes
    shapes = [(size, size), (math.sqrt(size * following),) * 2]
    shapes += [(size * math.sqrt(r), size / math.sqrt(r)) for r in aspect_ratios if r != 1.0]
    return np.array(shapes, np.float32)


def shapes_of_ratios(sizes, aspect_ratios=(2.0, 1.0, 0.5)):
    """Anchor shapes in pixels by Faster R-CNN's rule (arXiv 1506.01497, section 3.1.1): every size in every ratio.

    Half sides are rounded to whole pixels, as Detectron and torchvision do, or published weights would not fit.

    Args:
        sizes: square roots of the areas, in pixels.
        aspect_ratios: width / height.

    Returns:
        float32 `[A, 2]` of (width, height), ratio by ratio.
    """
    roots = np.sqrt(np.asarray(aspect_ratios, np.float32))[:, None, None]  # [r, 1, 1]
    sides = np.asarray(sizes, np.float32)[None, :, None] * np.concatenate([roots, 1 / roots], axis=-1)  # [r, s, 2]
    return np.maximum(2 * np.round(sides.reshape(-1, 2) / 2), 1.0)


def grid(feature_size, stride, shapes, offset=0.5):
    """Anchors of every cell of one feature map, centred at (cell + offset) * stride.

    Args:
        feature_size: (height, width) of the map.
        stride: pixels from one cell to the next, one number or (y, x).
        shapes: `[A, 2]` of (width, height) in pixels.
        offset: 0.5 is a cell's middle; Faster R-CNN's descendants use 0.

    Returns:
        float32 `[height * width * A, 4]` x1, y1, x2, y2, cells row by row and the anchors of a cell together, which
        is the order that a head's `[B, H, W, A * values]` output has after a reshape.
    """
    shapes = np.asarray(shapes, np.float32)
    strides = np.broadcast_to(stride, 2)
    centres = ((np.arange(n) + offset) * step for n, step in zip(feature_size, strides, strict=True))
    cy, cx = np.meshgrid(*centres, indexing="ij")
    centres = np.stack([cx, cy], axis=-1)[:, :, None, :]  # [H, W, 1, 2]
    boxes = np.concatenate([centres - shapes / 2, centres + shapes / 2], axis=-1)  # [H, W, A, 4]
    return boxes.reshape(-1, 4).astype(np.float32)

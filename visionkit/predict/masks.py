"""Instance masks in the pixels of the image, from the small grids that a network gives."""

import numpy as np


def paste_masks(
    masks: np.ndarray, boxes: np.ndarray, image_size: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """Stretches each mask over its box and cuts it at `threshold`.

    Cell i of m covers (i..i+1)/m of the box. Each pixel is sampled at its centre, bilinearly between the centres of the
    cells, with zeros around the grid, as in detectron2. He et al., "Mask R-CNN", ICCV 2017, section 3.1.

    Args:
        masks: float `[N, m, m]`, probabilities 0..1 within the box.
        boxes: float `[N, 4]` x1, y1, x2, y2 in pixels of the image; they may extend beyond it.
        image_size: (height, width).
        threshold: pixels of at least this probability belong to the object.

    Returns:
        uint8 `[N, H, W]` of 0 and 1.
    """
    h, w = image_size
    pasted = np.zeros((len(masks), h, w), np.uint8)
    for canvas, mask, (x1, y1, x2, y2) in zip(pasted, masks, boxes.astype(np.float64), strict=True):
        rows, top = _weights(y1, y2, h, mask.shape[0])
        columns, left = _weights(x1, x2, w, mask.shape[1])
        stretched = rows @ mask.astype(np.float64) @ columns.T  # [pixels down, pixels across]
        canvas[top : top + len(rows), left : left + len(columns)] = stretched >= threshold
    return pasted


def _weights(low: float, high: float, length: int, cells: int) -> tuple[np.ndarray, int]:
    """How much each cell contributes to each pixel between `low` and `high`, `[pixels, cells]`; and the first pixel."""
    first, end = max(int(np.floor(low)), 0), min(int(np.ceil(high)), length)
    centres = (np.arange(first, max(end, first)) + 0.5 - low) / max(high - low, 1e-9) * cells - 0.5  # in cells
    return np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(cells))), first

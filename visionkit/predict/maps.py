"""Class maps of the original's size from the probabilities that a network gives for its own."""

import cv2
import numpy as np


def to_map(probabilities: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes each class's probabilities to the original's size and takes the most probable class of each pixel.

    Resized are probabilities, not class ids, so that an outline does not follow the network's coarser grid; bilinearly,
    with pixel centres at the half, without antialiasing. One class after the other: it needs three planes of the
    original's size, whatever K is. Of equally probable classes the lowest id is taken.

    Args:
        probabilities: float32 `[h, w, K]` of the image, without padding.
        image_size: (height, width) of the original.

    Returns:
        int32 `[H, W]`, class ids.
    """
    h, w = image_size
    best, found = np.full((h, w), -1, np.float32), np.zeros((h, w), np.int32)
    for label in range(probabilities.shape[2]):
        plane = np.ascontiguousarray(probabilities[..., label], np.float32)
        plane = cv2.resize(plane, (w, h), interpolation=cv2.INTER_LINEAR)
        better = plane > best
        best[better], found[better] = plane[better], label
    return found

"""Class maps at the size of the original image, from the probabilities at the network's own size, and mirroring."""

import cv2
import numpy as np


def to_map(
    probabilities: np.ndarray, image_size: tuple[int, int], least: tuple[int, float] | None = None
) -> np.ndarray:
    """Resizes the probabilities of each class to the original's size and picks the most probable class at each pixel.

    Probabilities are resized rather than class ids, so that outlines do not follow the network's coarser grid. The
    resize is bilinear, with pixel centres at one half, without antialiasing. Classes are handled one after the other,
    which needs three planes of the original's size for any K. Of equally probable classes the lowest id wins.

    Args:
        probabilities: float32 `[h, w, K]` of the image, without padding.
        image_size: (height, width) of the original.
        least: a class id and a probability: pixels with at least that probability are of the class, the others of the
            most probable one of the other classes.

    Returns:
        int32 `[H, W]`, class ids.
    """
    h, w = image_size
    best = np.full((h, w), -1, np.float32)
    classes = np.zeros((h, w), np.int32)
    for label in range(probabilities.shape[2]):
        if least and label == least[0]:
            continue
        plane = plane_of(probabilities, label, image_size)
        better = plane > best
        best[better] = plane[better]
        classes[better] = label
    if least:
        label, probability = least
        classes[plane_of(probabilities, label, image_size) >= np.float32(probability)] = label
    return classes


def plane_of(probabilities: np.ndarray, label: int, image_size: tuple[int, int]) -> np.ndarray:
    """The probabilities `[h, w, K]` of one class at the size of the original, float32 `[H, W]`."""
    h, w = image_size
    plane = np.ascontiguousarray(probabilities[..., label], np.float32)
    return cv2.resize(plane, (w, h), interpolation=cv2.INTER_LINEAR)


def mirrored(batch: np.ndarray, inners: list[tuple[int, int]]) -> np.ndarray:
    """`[B, h, w, ...]` with the image in each row mirrored left to right.

    Args:
        batch: images, or maps of their pixels.
        inners: (height, width) of the image in each row; the padding beyond it stays where it is.
    """
    result = batch.copy()
    for i, (h, w) in enumerate(inners):
        result[i, :h, :w] = batch[i, :h, :w][:, ::-1]
    return result

"""How much each class of a segmentation should count in the loss, so that rare classes are learned too."""

from collections.abc import Iterable

import numpy as np

from visionkit.types import IGNORE


def median_frequency(maps: Iterable[np.ndarray], num_classes: int) -> list[float]:
    """Computes a weight of the loss for each class, for `FCN(class_weights=...)`: median frequency balancing.

    A class's frequency is its share of the pixels of the images in which it occurs; its weight is the median of all
    classes' frequencies divided by its own (Eigen and Fergus 2015, arXiv 1411.4734, section 6.3.2; also in SegNet).

    Args:
        maps: int `[H, W]` class ids 0..K-1, 255 for pixels that do not count; read once, one at a time.
        num_classes: K.

    Returns:
        K weights; 1 for a class that never occurs.
    """
    class_pixels, image_pixels = np.zeros(num_classes), np.zeros(num_classes)
    for class_map in maps:
        counts = np.bincount(class_map[class_map != IGNORE].ravel(), minlength=num_classes)
        class_pixels += counts
        image_pixels += np.where(counts > 0, counts.sum(), 0)
    frequency = class_pixels / np.maximum(image_pixels, 1)  # [K], 0 for a class that never occurs
    median = np.median(frequency[frequency > 0]) if frequency.any() else 1.0
    return [float(median / f) if f else 1.0 for f in frequency]

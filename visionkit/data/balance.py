"""How much each class of a segmentation should count, so that rare ones are learnt too."""

from collections.abc import Iterable

import numpy as np

from visionkit.types import IGNORE


def median_frequency(maps: Iterable[np.ndarray], num_classes: int) -> list[float]:
    """Factors of the loss by class, for `FCN(class_weights=...)`: median frequency balancing.

    A class's frequency is its share of the pixels of the images in which it occurs, and its weight the median of the
    classes' frequencies over its own (Eigen and Fergus 2015, arXiv 1411.4734, section 6.3.2; SegNet has it too).

    Args:
        maps: int `[H, W]` class ids 0..K-1, 255 where a pixel does not count; read once, one at a time.
        num_classes: K.

    Returns:
        K weights; 1 for a class that never occurs.
    """
    of_class, of_images = np.zeros(num_classes), np.zeros(num_classes)
    for classes in maps:
        counts = np.bincount(classes[classes != IGNORE].ravel(), minlength=num_classes)
        of_class += counts
        of_images += np.where(counts > 0, counts.sum(), 0)
    frequency = of_class / np.maximum(of_images, 1)  # [K], 0 for what never occurs
    seen = frequency[frequency > 0]
    return [float(np.median(seen) / f) if f else 1.0 for f in frequency]

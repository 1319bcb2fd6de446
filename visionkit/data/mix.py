"""Blending the images of a classification batch, and their labels in the same proportions."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mixup:
    """Replaces each image by a weighted mean of itself and another of the batch (arXiv 1710.09412, eq. 1).

    Args:
        alpha: of the Beta(alpha, alpha) distribution from which each batch draws its weight; 0.2 is mild, 1 is strong.
    """

    alpha: float = 0.2

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Blends images uint8 `[B, H, W, 3]` and labels float32 `[B, K]`; returns both in the same form."""
        weight = rng.beta(self.alpha, self.alpha)
        other = rng.permutation(len(images))
        mixed = weight * images.astype(np.float32) + (1 - weight) * images[other]
        return np.rint(mixed).astype(np.uint8), (weight * labels + (1 - weight) * labels[other]).astype(np.float32)


@dataclass(frozen=True)
class CutMix:
    """Replaces a rectangle of each image by that of another; labels are mixed by area (arXiv 1905.04899, sec. 3.1).

    Args:
        alpha: of the Beta(alpha, alpha) distribution from which the share of the area that is kept is drawn.
    """

    alpha: float = 1.0

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Blends images uint8 `[B, H, W, 3]` and labels float32 `[B, K]`; returns both in the same form."""
        h, w = images.shape[1:3]
        other = rng.permutation(len(images))
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        cy, cx = rng.integers(h), rng.integers(w)
        y1, y2 = (int(np.clip(cy + sign * side * h / 2, 0, h)) for sign in (-1, 1))
        x1, x2 = (int(np.clip(cx + sign * side * w / 2, 0, w)) for sign in (-1, 1))
        mixed = images.copy()
        mixed[:, y1:y2, x1:x2] = images[other, y1:y2, x1:x2]
        kept = 1 - (y2 - y1) * (x2 - x1) / (h * w)  # from the rectangle that was replaced, which the border may cut
        return mixed, (kept * labels + (1 - kept) * labels[other]).astype(np.float32)

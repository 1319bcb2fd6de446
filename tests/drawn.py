"""Weights and an image that two programs can draw alike without a file: every tensor is seeded by its NAME."""

import hashlib

import numpy as np


def drawn_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values for a torch tensor of this name.

    Kernels are uniform with He's variance 2 / fan_in; norms have means near 0 and variances near 1, so that values
    keep their size through a hundred layers.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)  # 0..1
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        low, high = 0.9, 1.1
    elif len(shape) < 2:
        low, high = -0.1, 0.1
    else:
        high = (6 / np.prod(shape[1:])) ** 0.5
        low = -high
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def drawn_image(image_size: tuple[int, int]) -> np.ndarray:
    """float32 `[1, H, W, 3]`, 0..255."""
    return (drawn_tensor("image", (1, *image_size, 3)) / (6 / (image_size[0] * image_size[1] * 3)) ** 0.5 + 1) * 127.5


def drawn_places(name: str, size: int, count: int = 1000) -> np.ndarray:
    """`count` places in a flattened array of `size` values."""
    return np.floor((drawn_tensor(f"{name}.bias", (count,)) + 0.1) * 5 * size).astype(int).clip(0, size - 1)

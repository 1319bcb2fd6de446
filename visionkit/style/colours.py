"""Keeping a photo's colours: only its brightness is painted (Gatys et al. 2016, arXiv 1606.05897, section 3)."""

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601: Y of YIQ


def luma(image: np.ndarray) -> np.ndarray:
    """Brightness of RGB `[H, W, 3]`: float32 `[H, W, 1]`, 0..255."""
    return (image.astype(np.float32) @ LUMA)[..., None]


def match_luma(style: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The brightness of `style` with the mean and spread of that of `content` (equation 10): float32 `[H, W, 1]`."""
    one, other = luma(style), luma(content)
    return (one - one.mean()) * (other.std() / max(one.std(), 1e-6)) + other.mean()


def recolour(painted: np.ndarray, content: np.ndarray) -> np.ndarray:
    """`content` with the brightness of `painted`, both RGB or luma 0..255 `[H, W, 3 or 1]`: float32 `[H, W, 3]`.

    A change that is the same for R, G and B changes Y alone, so I and Q of the content stay as they are.
    """
    brightness = painted if painted.shape[-1] == 1 else luma(painted)
    return np.clip(content + (brightness - luma(content)), 0, 255).astype(np.float32)

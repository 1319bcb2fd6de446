"""Keeping a photo's colours by painting only its brightness (Gatys et al. 2016, arXiv 1606.05897, section 3)."""

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # red, green and blue in the Y of YIQ (Rec. 601)


def luma(image: np.ndarray) -> np.ndarray:
    """Brightness of RGB `[H, W, 3]`: float32 `[H, W, 1]`, 0..255."""
    return (image.astype(np.float32) @ LUMA)[..., None]


def match_luma(style: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The brightness of `style`, with the mean and spread of the content's (equation 10): float32 `[H, W, 1]`."""
    painting, photo = luma(style), luma(content)
    return (painting - painting.mean()) * (photo.std() / max(painting.std(), 1e-6)) + photo.mean()


def recolour(painted: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The photo with the brightness of the painting: float32 `[H, W, 3]`, 0..255.

    Adding the same number to R, G and B changes Y alone, so I and Q of the content stay as they are.

    Args:
        painted: 0..255, RGB `[H, W, 3]` or brightness `[H, W, 1]`.
        content: RGB 0..255 `[H, W, 3]`.
    """
    brightness = painted if painted.shape[-1] == 1 else luma(painted)
    return np.clip(content + (brightness - luma(content)), 0, 255).astype(np.float32)

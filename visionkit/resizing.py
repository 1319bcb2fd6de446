"""The one resize rule of visionkit: how an image is brought to the size and the channels that a network takes."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

from visionkit.types import DataError

FILL = 114  # the grey level beside a letterboxed image
_STRIP = 2**22  # pixels that are resized at a time, because Pillow copies them
CROP_SHARE = 0.875  # the rule "crop" shows this share of the middle of an image: 224 of 256 pixels
LUMA = (19595, 38470, 7471)  # of red, green and blue in grey: .299 .587 .114 of 2**16


def crop_share(rule: str) -> Fraction | None:
    """The share of an image's middle that a rule of `fit` shows, or None if the rule shows the whole image.

    It is a share of the largest rectangle with the network's proportions. "crop 224/232" is the usual notation: resize
    the shorter side to 232 pixels and take the middle 224. "crop" alone means 224 of 256.

    Raises:
        ValueError: there is no such rule.
    """
    name, _, share = rule.partition(" ")
    try:
        fraction = Fraction(share) if share else Fraction(CROP_SHARE)
        if name == "crop" and 0 < fraction <= 1:
            return fraction
    except (ValueError, ZeroDivisionError):
        pass  # refused below, like every other unknown rule
    if rule not in ("letterbox", "stretch"):
        raise ValueError(f"resize must be 'letterbox', 'stretch', 'crop' or 'crop 224/232', not {rule!r}")
    return None


def fit(image: np.ndarray, size: tuple[int, int], rule: str) -> tuple[np.ndarray, tuple[float, float]]:
    """Brings an image to the size that a network takes; every prediction goes through this function.

    Args:
        image: uint8 `[H, W, 3]`.
        size: (height, width) of the network's input.
        rule: "letterbox" keeps the proportions and fills the right or bottom with grey; "stretch" changes them;
            "crop" keeps them and shows only the middle, as ImageNet classifiers are evaluated (see `crop_share`).

    Returns:
        (uint8 `[height, width, 3]`, (fy, fx)): y and x in the original times fy and fx are network pixels. For "crop"
        these are the scale alone, without the offset of the crop's corner.

    Raises:
        ValueError: there is no such rule.
    """
    share = crop_share(rule)
    h, w = image.shape[:2]
    if rule == "letterbox":
        return letterbox(image, size)[0], letterbox_factors((h, w), size)[1]
    if share is None:
        return resize(image, size), (size[0] / h, size[1] / w)
    x1, y1, x2, y2 = crop_window((h, w), size, share)
    return resize(np.ascontiguousarray(image[y1:y2, x1:x2]), size), (size[0] / (y2 - y1), size[1] / (x2 - x1))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bilinear resize of uint8 `[H, W, 3]` to (height, width): first columns, then rows, each rounded.

    Asked for both at once, Pillow would choose the order by its cost; an exported graph has only this order.
    """
    h, w = size
    columns = _in_columns(image, w)
    return np.asarray(columns.resize((w, h), Image.Resampling.BILINEAR))


def _in_columns(image: np.ndarray, width: int) -> Image.Image:
    """The image with its width changed. A large one is taken in strips, since Pillow would hold a copy of it."""
    step = max(1, _STRIP // image.shape[1])
    if step >= len(image):
        return Image.fromarray(image).resize((width, len(image)), Image.Resampling.BILINEAR)
    columns = Image.new("RGB", (width, len(image)))
    for top in range(0, len(image), step):
        strip = Image.fromarray(image[top : top + step])
        columns.paste(strip.resize((width, strip.height), Image.Resampling.BILINEAR), (0, top))
    return columns


def letterbox_factors(
    image_size: tuple[int, int], size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """How an image of `image_size` is fitted into `size`, both (height, width), keeping its proportions.

    Returns:
        ((new_h, new_w), (fy, fx)): the size that it is resized to, and the factors for y and x of boxes. The two
        factors differ slightly because sizes are whole numbers. Every exported graph repeats this arithmetic.
    """
    h, w = image_size
    to_h, to_w = size
    scale = min(to_h / h, to_w / w)
    new_h = max(1, math.floor(h * scale + 0.5))
    new_w = max(1, math.floor(w * scale + 0.5))
    return (new_h, new_w), (new_h / h, new_w / w)


def turned(size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The sizes (height, width) that show landscapes, portraits and squares at one scale: the size itself comes first.

    In each, a letterboxed image has at most the shorter side of `size` along its own shorter side, and at most the
    longer one along its longer.
    """
    (h, w), short = size, min(size)
    return tuple(dict.fromkeys([(h, w), (w, h), (short, short)]))


def best_size(image_size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The one of `sizes` in which a letterboxed image is largest; of several the smallest."""
    h, w = image_size
    return max(sizes, key=lambda size: (min(size[0] / h, size[1] / w), -size[0] * size[1]))


def letterbox(
    image: np.ndarray, size: tuple[int, int], fill: tuple[int, int, int] = (FILL, FILL, FILL)
) -> tuple[np.ndarray, float]:
    """Resizes uint8 `[H, W, 3]` into `size` = (height, width): the image at the top left, `fill` right and below.

    Returns:
        (uint8 `[height, width, 3]`, the scale before rounding; for boxes use `letterbox_factors`).
    """
    h, w = image.shape[:2]
    (new_h, new_w), _ = letterbox_factors((h, w), size)
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = np.tile(np.array(fill, np.uint8), (size[1], 1))  # by rows: by pixels it costs half as much as a resize
    canvas[:new_h, :new_w] = resize(image, (new_h, new_w))
    return canvas, min(size[0] / h, size[1] / w)


def crop_window(
    image_size: tuple[int, int], size: tuple[int, int], share: float | Fraction = CROP_SHARE
) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of the middle of an image: `share` of the largest rectangle with the proportions of `size`.

    Computed in whole numbers because every exported graph repeats it: floats in another order of operations can turn
    437.5 pixels into 437.49.
    """
    h, w = image_size
    to_h, to_w = size
    part, whole = share.as_integer_ratio()
    # The rectangle fills this side of the image; `to_limit` is the same side of `size`.
    limit, to_limit = (h, to_h) if h * to_w <= w * to_h else (w, to_w)
    new_h, new_w = (max(1, (2 * to * part * limit + whole * to_limit) // (2 * whole * to_limit)) for to in size)
    x1, y1 = (w - new_w) // 2, (h - new_h) // 2
    return x1, y1, x1 + new_w, y1 + new_h


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Converts uint8 `[..., 1]` grey or `[..., 3]` RGB to the number of channels that a network takes.

    Grey is repeated; RGB becomes its luma (Rec. 601, as Pillow's "L"), which leaves a grey RGB image exactly as it was.

    Raises:
        DataError: `channels` is neither 1 nor 3.
    """
    if image.shape[-1] == channels:
        return image
    if channels not in (1, 3):
        raise DataError(f"a network of {channels} input channels takes neither grey (1) nor RGB (3) images")
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    luma = image.astype(np.uint32) @ np.array(LUMA, np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)[..., None]

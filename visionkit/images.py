"""The one image decoder, the one encoder and the one resize rule of visionkit.

Every picture, whatever its file held, becomes RGB uint8 `[H, W, 3]`, upright:

| the file holds | becomes |
|---|---|
| an EXIF orientation | applied; an invalid or broken one is taken as upright |
| an alpha channel or a transparent colour | composited on `BACKGROUND` (white) |
| grey, 1-bit, palette, CMYK, YCbCr | converted to RGB |
| 16-bit grey | its full range: value / 257, rounded (0..65535 -> 0..255); 12-bit data in 16 bits stays dark |
| 16-bit colour | the high byte of each channel (at most one level from value / 257) |
| 32-bit integers or floats | 0..65535 (integers) and 0..1 or 0..255 (floats) kept; beyond, the image's own min..max |
| an animation | its first frame |
| truncated or broken data, or no image at all | `DataError` that names the file |
"""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from visionkit.files import write_bytes
from visionkit.types import CROP_SHARE, DataError, crop_share

MAX_PIXELS = 89_478_485  # a quarter of a GiB as RGB; a few bytes of PNG can claim any size
LUMA = (19595, 38470, 7471)  # of red, green and blue in grey: .299 .587 .114 of 2**16
BACKGROUND = (255, 255, 255)  # what shows through a transparent image

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # not EPS and the like, which start other programs
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_PHOTOMETRIC = ExifTags.Base.PhotometricInterpretation
_TURNS = {  # EXIF orientation -> what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(file: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image by the rules above.

    Args:
        file: a path, or the encoded bytes themselves.
        max_pixels: an image that claims more is refused before it is decoded.

    Returns:
        uint8 `[H, W, 3]`, RGB, upright.

    Raises:
        DataError: not an image, truncated, broken, or above `max_pixels`; names the file and the reason.
        OSError: the file cannot be opened.
    """

    def pixels(image):
        negative = image.format == "TIFF" and image.mode in _SIXTEEN_BIT and image.tag_v2.get(_PHOTOMETRIC) == 0
        found = np.asarray(_rgb(_upright(image)))
        return 255 - found if negative else found  # white is 0: of 8 bits Pillow does it

    return _decode(file, pixels, max_pixels)


def read_mask(file: Path | str | bytes) -> np.ndarray:
    """Decodes a mask to the numbers stored in it.

    A palette image gives its INDICES, a grey one its values (also 1, 2, 4 and 16 bits), a colour image whose three
    channels are equal gives that channel.

    Returns:
        int32 `[H, W]`, upright.

    Raises:
        DataError: as `read_image`; also for JPEG and WebP (lossy: the values are not those drawn) and for colours.
        OSError: the file cannot be opened.
    """
    return _decode(file, _values)


def image_size(file: Path | str | bytes) -> tuple[int, int]:
    """(height, width) of the upright image, from the header: pixels are not decoded, so broken ones go unnoticed.

    Raises: as `read_image`.
    """

    def size(image):
        # Pillow decodes a whole PNG to look for EXIF behind the pixels; worth it only where there is any.
        if image.format == "PNG" and "exif" not in image.info:
            image.fp.seek(0)
            data = image.fp.read()
            if not any(key in data for key in (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")):
                return image.height, image.width
        turned = image.format != "TIFF" and _orientation(image) >= 5  # Pillow's TIFF reader turns by itself
        return (image.width, image.height) if turned else (image.height, image.width)

    return _decode(file, size)


def exif_orientation(file: Path | str | bytes) -> int:
    """1 to 8: the EXIF orientation that `read_image` makes upright; 1 where there is none. Raises: as `read_image`."""
    return _decode(file, _orientation)


def write_image(file: Path | str, image: np.ndarray) -> None:
    """Writes uint8 `[H, W, 3]` RGB or `[H, W]` grey as PNG, or as JPEG (quality 95) for .jpg and .jpeg.

    The file appears whole or not at all: it is written under another name in the same folder, then renamed.

    Raises:
        DataError: it could not be written; what was at `file` before is there still.
        ValueError: not such an image, or another suffix.
    """
    file, image = Path(file), np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"{file}: expected an image uint8 [H, W, 3] or [H, W], found {image.dtype} {image.shape}")
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(file.suffix.lower())
    if kind is None:
        raise ValueError(f"{file}: expected the suffix .png, .jpg or .jpeg")
    write_bytes(file, _encoded(Image.fromarray(image), kind, **({"quality": 95} if kind == "JPEG" else {})))


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    # Not into the file at once: Pillow writes in many small steps, and says "encoder error -2" of a full disk.
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def write_mask(file: Path | str, values: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> None:
    """Writes `encode_mask` of the values: `read_mask` gives them back, viewers show colours.

    Raises:
        ValueError: as `encode_mask`, or a suffix that is not .png; names the file.
    """
    if Path(file).suffix.lower() != ".png":
        raise ValueError(f"{file}: expected the suffix .png, which keeps the values")
    try:
        data = encode_mask(values, colours)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    write_bytes(Path(file), data)


def encode_mask(values: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> bytes:
    """Whole numbers `[H, W]`, 0..255, as a palette PNG.

    Args:
        colours: RGB 0..255 of the values 0, 1, ...; white beyond.

    Raises:
        ValueError: a value outside of 0..255.
    """
    values = np.asarray(values)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if values.ndim != 2 or values.dtype.kind not in "iu" or low < 0 or high > 255:
        found = f"{values.dtype} {values.shape} of {low}..{high}"
        raise ValueError(f"expected whole numbers 0..255 [H, W], found {found}")
    mask = Image.fromarray(values.astype(np.uint8))
    # All 256 entries, so that a value takes 8 bits: not every reader unpacks fewer.
    mask.putpalette([channel for colour in [*colours, *[(255, 255, 255)] * 256][:256] for channel in colour])
    return _encoded(mask, "PNG")


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Antialiased bilinear resize of uint8 `[H, W, 3]` to (height, width): columns, then rows, each rounded to levels.

    Pillow picks the order by its cost where it is asked for both at once; an exported graph has one order, this one.
    """
    h, w = size
    columns = Image.fromarray(image).resize((w, image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(columns.resize((w, h), Image.Resampling.BILINEAR))


def letterbox_factors(image_size: tuple[int, int], size: tuple[int, int]):
    """How an image of `image_size` is fitted into `size`, both (height, width), keeping its shape.

    Returns:
        ((new_h, new_w), (fy, fx)): the size it is resized to, and what y and x of boxes are multiplied by. The two
        factors differ a little, since sizes are whole numbers: this arithmetic is the only one; every graph repeats it.
    """
    (h, w), (to_h, to_w) = image_size, size
    scale = min(to_h / h, to_w / w)
    new_h, new_w = max(1, math.floor(h * scale + 0.5)), max(1, math.floor(w * scale + 0.5))
    return (new_h, new_w), (new_h / h, new_w / w)


def letterbox(image: np.ndarray, size: tuple[int, int], fill=(114, 114, 114)) -> tuple[np.ndarray, float]:
    """Resizes uint8 `[H, W, 3]` into `size` = (height, width): the image at the top left, `fill` right and below.

    Returns:
        (uint8 `[height, width, 3]`, the scale before rounding; boxes take `letterbox_factors`).
    """
    h, w = image.shape[:2]
    (new_h, new_w), _ = letterbox_factors((h, w), size)
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = np.tile(np.uint8(fill), (size[1], 1))  # row by row: pixel by pixel takes as long as half a resize
    canvas[:new_h, :new_w] = resize(image, (new_h, new_w))
    return canvas, min(size[0] / h, size[1] / w)


def crop_window(image_size: tuple[int, int], size: tuple[int, int], share: float = CROP_SHARE):
    """(x1, y1, x2, y2) of the middle of an image: `share` of the largest rectangle with the proportions of `size`.

    In whole numbers: of 437.5 pixels, floats in another order of operations make 437.49..., and every graph repeats it.
    """
    (h, w), (to_h, to_w), (share, whole) = image_size, size, share.as_integer_ratio()
    limit, to_limit = (h, to_h) if h * to_w <= w * to_h else (w, to_w)  # the side that the rectangle fills
    new_h, new_w = (max(1, (2 * to * share * limit + whole * to_limit) // (2 * whole * to_limit)) for to in size)
    x1, y1 = (w - new_w) // 2, (h - new_h) // 2
    return x1, y1, x1 + new_w, y1 + new_h


def fit(image: np.ndarray, size: tuple[int, int], rule: str) -> tuple[np.ndarray, tuple[float, float]]:
    """Brings uint8 `[H, W, 3]` to what a network takes; the only place that prediction asks.

    Args:
        size: (height, width) of the network's input.
        rule: "letterbox" keeps the proportions and fills right and below, "stretch" does not keep them, "crop" keeps
            them and shows the middle only, as ImageNet classifiers are evaluated; see `crop_share`.

    Returns:
        (uint8 `[height, width, 3]`, (fy, fx): y and x of the original times these are network pixels; for "crop" the
        scale alone, without the crop's corner).

    Raises:
        ValueError: there is no such rule.
    """
    share = crop_share(rule)
    h, w = image.shape[:2]
    if rule == "letterbox":
        return letterbox(image, size)[0], letterbox_factors((h, w), size)[1]
    if rule == "stretch":
        return resize(image, size), (size[0] / h, size[1] / w)
    x1, y1, x2, y2 = crop_window((h, w), size, share)
    return resize(np.ascontiguousarray(image[y1:y2, x1:x2]), size), (size[0] / (y2 - y1), size[1] / (x2 - x1))


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 `[..., 1]` grey or `[..., 3]` RGB as what a network of `channels` input channels takes.

    Grey is repeated; RGB becomes its luma (Rec. 601, as Pillow's "L"), which keeps three equal channels to the bit.

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


def _decode(file: Path | str | bytes, work: Callable[[Image.Image], object], max_pixels: int = MAX_PIXELS):
    """Opens `file`, checks its size and returns `work(image)`; every failure of the decoder becomes a DataError."""
    name = f"{len(file)} bytes" if isinstance(file, bytes) else str(file)
    with io.BytesIO(file) if isinstance(file, bytes) else Path(file).open("rb") as stream:
        try:
            with Image.open(stream, formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    raise DataError(f"{name}: {image.width} x {image.height} is above the limit of {max_pixels} pixels")
                return work(image)
        except DataError as error:
            raise error if str(error).startswith(name) else DataError(f"{name}: {error}", error.kind) from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise DataError(f"{name}: above the limit of {max_pixels} pixels") from None
        except UnidentifiedImageError:
            empty = "is empty" if not stream.seek(0, io.SEEK_END) else "is not an image that can be read"
            raise DataError(f"{name}: {empty}") from None
        except Exception as error:  # Pillow meets broken files with a dozen exception types, SyntaxError among them
            raise DataError(f"{name}: broken image: {error or type(error).__name__}") from error


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in _TURNS else 1
    except Exception:  # EXIF is often broken by tools that copy it; the pixels are none the worse
        return 1


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # first: it is what finds a truncated file
    orientation = _orientation(image)
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT or image.mode in ("I", "F"):
        return _rgb_of_wide(np.asarray(image), image.info.get("transparency"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would be a copy


def _rgb_of_wide(values: np.ndarray, transparent: int | None) -> Image.Image:
    """Grey of 16 or more bits, by the table above; BACKGROUND where it has the value `transparent`."""
    if not np.isfinite(values).all():
        raise DataError("holds values that are not finite")
    integers, clear, values = values.dtype.kind in "iu", values == transparent, values.astype(np.float64)
    low, high = values.min(), values.max()
    if integers and low >= 0 and high <= 65535:
        low, high = 0, 65535
    elif not integers and low >= 0 and high <= 255:
        low, high = 0, 1 if high <= 1 else 255
    values = np.floor((values - low) * (255 / max(high - low, 1e-12)) + 0.5)
    picture = Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if transparent is not None:
        picture.paste(BACKGROUND, mask=Image.fromarray(clear))
    return picture


def _values(image: Image.Image) -> np.ndarray:
    if image.format in ("JPEG", "MPO", "WEBP"):  # lossless WebP too: it keeps only colours
        text = f"a mask cannot be a {image.format}, whose values change in compression; save it as PNG"
        raise DataError(text, "lossy mask")
    raw = image.tile[0].args if image.format == "PNG" and image.tile else None
    image = _upright(image)
    values = np.asarray(image)
    if image.mode in ("P", "L", "1", "I", *_SIXTEEN_BIT):
        return values.astype(np.int32) // {"L;2": 85, "L;4": 17}.get(raw, 1)  # Pillow stretches 2, 4 bits to 0..255
    colours = {"RGB": 3, "RGBA": 3, "LA": 1}.get(image.mode)
    if colours is None or (values[..., :colours] != values[..., :1]).any():
        raise DataError(
            f"a mask of mode {image.mode} has colours where class or instance numbers are expected; "
            "save it as a grey or palette PNG whose values are the numbers",
            "colours in a mask",
        )
    return values[..., 0].astype(np.int32)

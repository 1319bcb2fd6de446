"""The one image decoder and the one encoder of visionkit.

Every image, whatever its file holds, becomes RGB uint8 `[H, W, 3]`, upright:

| the file holds | becomes |
|---|---|
| an EXIF orientation | applied; an invalid or broken one is ignored |
| an alpha channel or a transparent colour | composited on `BACKGROUND` (white) |
| grey, 1-bit, palette, CMYK, YCbCr | converted to RGB |
| 16-bit grey | its full range: value / 257, rounded (0..65535 -> 0..255); 12-bit data in 16 bits stays dark |
| 16-bit colour | the high byte of each channel (at most one level from value / 257) |
| 32-bit integers or floats | scaled from 0..65535, or 0..1 or 0..255 of floats, else from the image's min..max |
| an animation | its first frame |
| truncated or broken data, or no image at all | a `DataError` that names the file |
"""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from visionkit import limits
from visionkit.files import write_bytes
from visionkit.types import DataError

BACKGROUND = (255, 255, 255)  # the colour that shows through a transparent image

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # not EPS and the like, which run other programs
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_PHOTOMETRIC = ExifTags.Base.PhotometricInterpretation
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation -> an upright array as it is stored
    2: np.fliplr,
    3: lambda upright: upright[::-1, ::-1],
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # such images are refused below
_STRIP = 2**21  # pixels that are converted at a time, so that no conversion needs another copy of a large image
_T = TypeVar("_T")


def read_image(file: Path | str | bytes, max_pixels: int | None = None) -> np.ndarray:
    """Decodes an image by the rules above.

    Several threads may decode at once; together they stay below `limits.DECODING` bytes, and wait for one another.

    Args:
        file: a path, or the encoded bytes.
        max_pixels: an image whose header claims more is refused before it is decoded; by default `limits.PIXELS`.

    Returns:
        uint8 `[H, W, 3]`, RGB, upright.

    Raises:
        DataError: not an image, truncated, broken, or above `max_pixels` or another of the `limits`; names the file
            and the reason.
        OSError: the file cannot be opened.
    """
    return _decode(file, _pixels, max_pixels)


def read_mask(file: Path | str | bytes) -> np.ndarray:
    """Decodes a mask to the numbers stored in it.

    A palette image gives its INDICES, a grey one its values (also of 1, 2, 4 and 16 bits), and a colour image with
    three equal channels gives one of them.

    Returns:
        int32 `[H, W]`, upright.

    Raises:
        DataError: as `read_image`; also for JPEG and WebP (whose compression changes the values) and for colours.
        OSError: the file cannot be opened.
    """
    return _decode(file, _values)


def image_size(file: Path | str | bytes) -> tuple[int, int]:
    """(height, width) of the upright image, from the header: no pixels are decoded, so broken ones go unnoticed.

    Raises: as `read_image`.
    """
    return _decode(file, _size)


def exif_orientation(file: Path | str | bytes) -> int:
    """The EXIF orientation, 1 to 8, that `read_image` applies; 1 where there is none. Raises: as `read_image`."""
    return _decode(file, _orientation)


def write_image(file: Path | str, image: np.ndarray) -> None:
    """Writes uint8 `[H, W, 3]` RGB or `[H, W]` grey as PNG, or as JPEG (quality 95) for .jpg and .jpeg.

    The file appears whole or not at all, see `files.whole_file`.

    Raises:
        DataError: it could not be written; an older file of that name is unchanged.
        ValueError: not such an image, or another suffix.
    """
    file, image = Path(file), np.asarray(image)
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"{file}: expected an image uint8 [H, W, 3] or [H, W], found {image.dtype} {image.shape}")
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(file.suffix.lower())
    if kind is None:
        raise ValueError(f"{file}: expected the suffix .png, .jpg or .jpeg")
    write_bytes(file, encode_image(image, kind))


def encode_image(image: np.ndarray, kind: str) -> bytes:
    """The bytes of a file that holds uint8 `[H, W, 3]` RGB or `[H, W]` grey: of a "PNG", or a "JPEG" (quality 95)."""
    options = {"quality": 95} if kind == "JPEG" else {}
    return _encoded(Image.fromarray(image), kind, **options)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    # Not straight into the file: Pillow writes in many small steps and reports a full disk as "encoder error -2".
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def write_mask(file: Path | str, values: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> None:
    """Writes a mask as a palette PNG, see `encode_mask`: `read_mask` returns the values, and viewers show colours.

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
    """Encodes whole numbers `[H, W]`, 0..255, as a palette PNG.

    Args:
        values: of any integer type.
        colours: RGB 0..255 of the values 0, 1, ...; values beyond the list are white.

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
    palette = [*colours, *[(255, 255, 255)] * 256][:256]
    mask.putpalette([channel for colour in palette for channel in colour])
    return _encoded(mask, "PNG")


def _decode(file: Path | str | bytes, work: Callable[[ImageFile], _T], max_pixels: int | None = None) -> _T:
    """Opens `file`, checks its size and returns `work(image)`; every failure of the decoder becomes a DataError."""
    name = f"{len(file)} bytes" if isinstance(file, bytes) else str(file)
    with io.BytesIO(file) if isinstance(file, bytes) else Path(file).open("rb") as stream:
        try:
            if limits.times() > 1:  # else Pillow's limit, from which it warns, is ours
                Image.MAX_IMAGE_PIXELS = limits.raised(limits.PIXELS)
            with Image.open(stream, formats=_FORMATS) as image:
                _check_limits(image, name, max_pixels)
                with limits.decoding(_cost(image, result=4 if work is _values else 3), name):
                    return work(image)
        except DataError as error:
            if str(error).startswith(name):
                raise
            raise DataError(f"{name}: {error}", error.kind) from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            limit = limits.raised(limits.PIXELS) if max_pixels is None else max_pixels
            raise DataError(f"{name}: above the limit of {limit} pixels, which --limits raises") from None
        except UnidentifiedImageError:
            empty = "is empty" if not stream.seek(0, io.SEEK_END) else "is not an image that can be read"
            raise DataError(f"{name}: {empty}") from None
        except Exception as error:  # Pillow raises a dozen exception types for broken files, even SyntaxError
            raise DataError(f"{name}: broken image: {error or type(error).__name__}") from error


def _check_limits(image: ImageFile, name: str, max_pixels: int | None) -> None:
    width, height = image.size
    if max_pixels is None:
        limits.check(
            width * height, limits.PIXELS, f"{name}: {width} x {height} is above the limit of {{limit}} pixels"
        )
    elif width * height > max_pixels:
        raise DataError(f"{name}: {width} x {height} is above the limit of {max_pixels} pixels")
    limits.check(
        max(width, height), limits.SIDE, f"{name}: {width} x {height} is above the limit of {{limit}} pixels a side"
    )


def _cost(image: ImageFile, result: int) -> int:
    """The bytes that decoding takes, at most: what Pillow holds, and the decoder's own memory or our result.

    Args:
        result: bytes of a pixel of the result.
    """
    bands = len(image.getbands())
    stored = 1 if image.mode in ("1", "L", "P") else 2 if image.mode in _SIXTEEN_BIT else 4  # Pillow pads RGB to 4
    own = 0
    if image.format in ("JPEG", "MPO") and image.info.get("progressive"):
        own = 2 * bands  # all coefficients, 16 bits each
    elif image.format == "WEBP":
        own = 16  # the canvas, the frame before it, and the frame as bytes
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (8,) * bands)
        own = sum(bits) // 8 + 1  # a strip may be the whole image
        own = max(own, stored) if image.tag_v2.get(ExifTags.Base.Orientation, 1) != 1 else own
    return image.width * image.height * (stored + max(own, result))


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """(rows, that part of the image) from the top to the bottom of a loaded image."""
    step = max(1, _STRIP // image.width)
    for top in range(0, image.height, step):
        end = min(top + step, image.height)
        yield slice(top, end), image if end - top == image.height else image.crop((0, top, image.width, end))


def _filled(
    image: ImageFile, shape: tuple[int, ...], dtype: np.dtype, convert: Callable[[Image.Image], np.ndarray]
) -> np.ndarray:
    """The upright array `[H, W, *shape]` of a loaded image; `convert` turns each strip of it into numbers."""
    orientation = _orientation(image)
    size = (image.width, image.height) if orientation >= 5 else (image.height, image.width)
    upright: np.ndarray = np.empty((*size, *shape), dtype)
    stored = _TURNS[orientation](upright) if orientation in _TURNS else upright
    for rows, strip in _strips(image):
        stored[rows] = convert(strip)
    return upright


def _pixels(image: ImageFile) -> np.ndarray:
    image.load()  # first, because this is where a truncated file is noticed
    if image.mode not in _SIXTEEN_BIT and image.mode not in ("I", "F"):
        return _filled(image, (3,), np.dtype(np.uint8), lambda strip: np.asarray(rgb(strip)))
    low, high = _range(image)
    inverted = False
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in _SIXTEEN_BIT:
        inverted = image.tag_v2.get(_PHOTOMETRIC) == 0  # Pillow takes care of it for 8 bits
    transparent = image.info.get("transparency")

    def convert(strip: Image.Image) -> np.ndarray:
        rgb = _rgb_of_wide(np.asarray(strip), low, high, transparent)
        return 255 - rgb if inverted else rgb

    return _filled(image, (3,), np.dtype(np.uint8), convert)


def _size(image: ImageFile) -> tuple[int, int]:
    # Pillow decodes a whole PNG to look for EXIF behind the pixels; that is done only where there is any.
    if image.format == "PNG" and "exif" not in image.info:
        assert image.fp is not None
        image.fp.seek(0)
        data = image.fp.read()
        if not any(key in data for key in (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")):
            return image.height, image.width
    turned = image.format != "TIFF" and _orientation(image) >= 5  # Pillow's TIFF reader turns the image itself
    return (image.width, image.height) if turned else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in _TURNS else 1
    except Exception:  # EXIF is often broken by tools that copy it; the pixels are still good
        return 1


def rgb(image: Image.Image) -> Image.Image:
    """An image of 8 bits as RGB, on BACKGROUND where it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # `convert` copies even an RGB image


def _range(image: ImageFile) -> tuple[float, float]:
    """The values that become 0 and 255 in a grey image of 16 or more bits, by the table above."""
    low, high, kind = np.inf, -np.inf, ""
    for _, strip in _strips(image):
        values = np.asarray(strip)
        if not np.isfinite(values).all():
            raise DataError("holds values that are not finite")
        low, high, kind = min(low, float(values.min())), max(high, float(values.max())), values.dtype.kind
    if kind in "iu":
        return (0.0, 65535.0) if low >= 0 and high <= 65535 else (low, high)
    if low >= 0 and high <= 255:
        return 0.0, 1.0 if high <= 1 else 255.0
    return low, high


def _rgb_of_wide(values: np.ndarray, low: float, high: float, transparent: int | None) -> np.ndarray:
    """Grey of 16 or more bits `[H, W]` as RGB uint8 `[H, W, 3]`; BACKGROUND where a value equals `transparent`."""
    levels = np.floor((values.astype(np.float64) - low) * (255 / max(high - low, 1e-12)) + 0.5).astype(np.uint8)
    picture = np.repeat(levels[..., None], 3, axis=-1)
    if transparent is not None:
        picture[values == transparent] = BACKGROUND
    return picture


def _values(image: ImageFile) -> np.ndarray:
    if image.format in ("JPEG", "MPO", "WEBP"):  # lossless WebP too: it stores colours, not indices
        text = f"a mask cannot be a {image.format}, whose values change in compression; save it as PNG"
        raise DataError(text, "lossy mask")
    raw_mode = str(image.tile[0].args) if image.format == "PNG" and image.tile else ""
    image.load()
    if image.mode in ("P", "L", "1", "I", *_SIXTEEN_BIT):
        stretched = {"L;2": 85, "L;4": 17}.get(raw_mode, 1)  # Pillow stretches 2 and 4 bits to 0..255
        return _filled(image, (), np.dtype(np.int32), lambda strip: np.asarray(strip).astype(np.int32) // stretched)
    return _filled(image, (), np.dtype(np.int32), _value_of_colours)


def _value_of_colours(strip: Image.Image) -> np.ndarray:
    values = np.asarray(strip)
    colours = {"RGB": 3, "RGBA": 3, "LA": 1}.get(strip.mode)
    if colours is None or (values[..., :colours] != values[..., :1]).any():
        raise DataError(
            f"a mask of mode {strip.mode} has colours where class or instance numbers are expected; "
            "save it as a grey or palette PNG whose values are the numbers",
            "colours in a mask",
        )
    return values[..., 0]

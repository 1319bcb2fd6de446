"""`images.read_image` and `resizing.fit` as TensorFlow ops: what an exported graph does to the bytes of an image file.

TensorFlow's own decoders ignore EXIF, drop alpha and keep only the high byte of 16 bits. `decode_image` does better:

| the bytes hold | equal to `images.read_image` |
|---|---|
| JPEG: colour, grey, CMYK, progressive | exactly; but CMYK without Adobe's marker is read as its negative |
| PNG: grey, palette, colour, 1 to 16 bits, alpha or a transparent colour (on white) | within 1 of 255 levels |
| BMP: 8-bit palette or grey, 24 and 32 bits, uncompressed | exactly |
| GIF: its first frame | exactly, where it fills the canvas; but transparent pixels keep the colour stored under them |
| EXIF orientation in JPEG or PNG: 8 values, both byte orders; broken or unknown = upright | exactly |
| orientation in XMP alone, or in a text chunk of PNG | NOT applied |
| TIFF, WebP and all other formats; broken bytes; more than `limits.PIXELS` pixels | InvalidArgumentError |

This module imports TensorFlow: import it only where a model is exported.
"""

from typing import Any

import tensorflow as tf

from visionkit.export import resize_graph
from visionkit.images import BACKGROUND
from visionkit.limits import PIXELS
from visionkit.resizing import FILL, LUMA, crop_share

_ZEROS = 8  # appended to the bytes, so that an offset of a broken file beyond its end reads as 0
_SEGMENTS = 2**16  # at most so many are searched for EXIF: more than any honest file has, too few to stall a server


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_image(data: Any) -> Any:
    """Decodes one image by the table above.

    Args:
        data: string scalar, the encoded file.

    Returns:
        uint8 `[H, W, 3]`, RGB, upright.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for what the table refuses.
    """
    raw = tf.concat([tf.io.decode_raw(data, tf.uint8), tf.zeros([_ZEROS], tf.uint8)], axis=0)
    if _begins(raw, b"\xff\xd8\xff"):
        shape = tf.cast(tf.io.extract_jpeg_shape(data), tf.int64)
        data = _if_small(data, shape[0], shape[1])
        # INTEGER_ACCURATE is the default of libjpeg and of Pillow.
        image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
        image = _turn(image, _orientation(raw, _jpeg_exif(raw)))
    elif _begins(raw, b"\x89PNG\r\n\x1a\n"):
        data = _if_small(data, _uint(raw, 20, 4), _uint(raw, 16, 4))
        image = _turn(_decode_png(data, raw), _orientation(raw, _png_chunk(raw, b"eXIf")))
    elif _begins(raw, b"GIF8"):
        data = _if_small(data, _uint(raw, 8, 2, little=True), _uint(raw, 6, 2, little=True))
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
    elif _begins(raw, b"BM"):
        height = _uint(raw, 22, 4, little=True)  # negative = stored from the top down
        data = _if_small(data, tf.minimum(height, 2**32 - height), _uint(raw, 18, 4, little=True))
        image = _decode_bmp(data, raw)
    else:
        image = tf.zeros([1, 1, 3], tf.uint8)
        tf.debugging.Assert(False, ["image_bytes holds no JPEG, PNG, GIF or BMP file; its first bytes:", raw[:8]])
    return tf.ensure_shape(image, [None, None, 3])


def fit(images: Any, size: tuple[int, int], resize: str) -> tuple[Any, Any]:
    """Brings images to the size that a network takes; equal to `resizing.fit`, see `resize_graph`.

    Args:
        images: uint8 or float32 `[B, H, W, 3]`, RGB, 0..255; fractions, which files do not have, are rounded.
        size: (height, width).
        resize: a rule of `resizing.fit`.

    Returns:
        float32 `[B, height, width, 3]`, whole numbers; and int32 `[2]`, the (height, width) in it that the image takes
        up, without padding.
    """
    height_width = tf.shape(images)[1:3]
    share = crop_share(resize)
    if share:
        images = _middle(images, size, share)
    if resize == "letterbox":
        exact = tf.cast(height_width, tf.float64)  # float32 would round some sizes to the other side
        scale = tf.reduce_min(tf.constant(size, tf.float64) / exact)
        new = tf.maximum(1, tf.cast(tf.floor(exact * scale + 0.5), tf.int32))
    else:
        new = tf.constant(size, tf.int32)
    images = tf.cast(resize_graph.resize(tf.round(images), new), tf.float32)
    below, right = size[0] - new[0], size[1] - new[1]
    paddings: Any = [[0, 0], [0, below], [0, right], [0, 0]]
    images = tf.pad(images, paddings, constant_values=float(FILL))
    return tf.ensure_shape(images, [None, *size, 3]), new


def to_channels(images: Any, channels: int) -> Any:
    """float32 `[..., 3]`, whole numbers -> float32 `[..., channels]`, as `resizing.to_channels`."""
    if channels == 3:
        return images
    luma = tf.reduce_sum(tf.cast(images, tf.int32) * tf.constant(LUMA), axis=-1, keepdims=True)
    return tf.cast(tf.bitwise.right_shift(luma + 0x8000, 16), tf.float32)


def _middle(images, size, share):
    """What `resizing.crop_window` leaves of `[B, H, W, 3]`."""
    share, whole = share.as_integer_ratio()
    height_width = tf.shape(images, out_type=tf.int64)[1:3]
    h, w = tf.unstack(height_width)
    to_h, to_w = size
    height_limits = h * to_w <= w * to_h
    limit = tf.where(height_limits, h, w)
    to_limit = tf.where(height_limits, tf.constant(to_h, tf.int64), to_w)
    doubled = 2 * tf.constant(size, tf.int64) * share * limit
    new = tf.maximum((doubled + whole * to_limit) // (2 * whole * to_limit), 1)  # rounded, in whole numbers
    (y, x), (new_h, new_w) = tf.unstack((height_width - new) // 2), tf.unstack(new)
    return images[:, y : y + new_h, x : x + new_w]


def _begins(raw, magic):
    return tf.reduce_all(raw[: len(magic)] == tf.constant(list(magic), tf.uint8))


def _checked(data, condition, message):
    # A decoder has no side effects: without this dependency TensorFlow may run it before the assertion can stop it.
    with tf.control_dependencies([tf.debugging.Assert(condition, message)]):
        return tf.identity(data)


def _if_small(data, height, width):
    message = f"image_bytes: above the limit of {PIXELS} pixels; height and width:"
    return _checked(data, height * width <= PIXELS, [message, height, width])


def _uint(raw, at, count, little: Any = False) -> Any:
    """The unsigned number in `count` bytes at `at`, an int64 scalar; 0 beyond the end. `little`: its byte order."""
    at = tf.minimum(tf.cast(at, tf.int64), tf.size(raw, tf.int64) - _ZEROS)
    digits = tf.cast(raw[at : at + count], tf.int64)
    digits = tf.where(little, digits, digits[::-1])
    return tf.reduce_sum(digits * tf.constant([256**i for i in range(count)], tf.int64))


def _jpeg_exif(raw):
    """Where the Exif data of a JPEG begin; 0 if it has none."""
    at, found, end = tf.constant(2, tf.int64), tf.constant(0, tf.int64), tf.size(raw, tf.int64) - _ZEROS
    while at < end and found == 0:
        tf.autograph.experimental.set_loop_options(maximum_iterations=_SEGMENTS)
        marker = _uint(raw, at, 2)
        if marker == 0xFFE1 and _uint(raw, at + 4, 4) == 0x45786966:  # an APP1 segment that begins with "Exif"
            found = at + 10
        elif marker == 0xFFFF:  # a fill byte
            at += 1
        elif marker < 0xFF00 or marker == 0xFFDA:  # not a marker; or the start of the scan, behind which are pixels
            at = end
        else:
            at += 2 + _uint(raw, at + 2, 2)
    return found


def _png_chunk(raw, name):
    """Where the data of a PNG's chunk begin; 0 if it has no such chunk."""
    at, found, end = tf.constant(8, tf.int64), tf.constant(0, tf.int64), tf.size(raw, tf.int64) - _ZEROS
    while at < end and found == 0:
        tf.autograph.experimental.set_loop_options(maximum_iterations=_SEGMENTS)
        if _uint(raw, at + 4, 4) == int.from_bytes(name, "big"):
            found = at + 8
        at += 12 + _uint(raw, at, 4)  # length, name, data, checksum
    return found


def _orientation(raw, exif):
    """The EXIF orientation 1..8, int64 scalar, in the TIFF structure at `exif`; 1 where it is missing or broken."""
    little = _uint(raw, exif, 2) == 0x4949  # "II"; otherwise "MM"
    directory = exif + _uint(raw, exif + 4, 4, little)
    length = tf.minimum(12 * _uint(raw, directory, 2, little), tf.size(raw, tf.int64) - directory - 2) // 12 * 12
    entries: Any = raw[directory + 2 : directory + 2 + tf.maximum(length, 0)]
    entries = tf.cast(tf.reshape(entries, [-1, 6, 2]), tf.int64)  # tag, type, count (2), value (2): 16 bits each
    first, second = entries[..., 0], entries[..., 1]
    numbers = tf.where(little, first + 256 * second, 256 * first + second)  # [n, 6]
    is_orientation = (numbers[:, 0] == 0x0112) & ((numbers[:, 1] == 3) | (numbers[:, 1] == 4))  # SHORT or LONG
    second_half = (numbers[:, 1] == 4) & ~little  # a big-endian LONG holds small numbers there
    value = tf.reduce_max(tf.where(is_orientation, tf.where(second_half, numbers[:, 5], numbers[:, 4]), 0))
    known = (exif > 0) & (_uint(raw, exif + 2, 2, little) == 42) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)


def _turn(image, orientation):
    if orientation >= 5:
        image = tf.transpose(image, [1, 0, 2])
    if orientation == 2 or orientation == 3 or orientation == 6 or orientation == 7:
        image = tf.reverse(image, [1])
    if orientation == 3 or orientation == 4 or orientation == 7 or orientation == 8:
        image = tf.reverse(image, [0])
    return image


def _decode_png(data, raw):
    depth, colour = raw[24], raw[25]
    transparent = colour == 4 or colour == 6 or _png_chunk(raw, b"tRNS") > 0
    if transparent or depth == 16:
        wide: Any = tf.cast(tf.io.decode_png(data, channels=4, dtype=tf.uint16), tf.float32)
        # 8-bit values come multiplied by 257. Of 16-bit colours and alpha Pillow keeps the high byte, before it blends.
        pixels: Any = tf.where(colour == 0, wide / 257, tf.floor(wide / 256))
        alpha = pixels[..., 3:] / 255
        image = pixels[..., :3] * alpha + tf.constant(BACKGROUND, tf.float32) * (1 - alpha)
        image = tf.cast(tf.floor(image + 0.5), tf.uint8)
    else:
        image = tf.io.decode_png(data, channels=3)
    return image


def _decode_bmp(data, raw):
    bits, compression = _uint(raw, 28, 2, little=True), _uint(raw, 30, 4, little=True)
    header = _uint(raw, 14, 4, little=True)
    known = (header >= 40) & (compression == 0) & ((bits == 8) | (bits == 24) | (bits == 32))
    message = "image_bytes: a BMP must be uncompressed, with 8, 24 or 32 bits a pixel; compression, bits:"
    data = _checked(data, known, [message, compression, bits])
    pixels: Any = tf.io.decode_bmp(data, channels=0)
    if bits == 8:  # the pixels are rows of a palette: blue, green, red, 0
        raw = tf.concat([raw, tf.zeros([1024], tf.uint8)], axis=0)  # the palette may have fewer than 256 colours
        palette = tf.reshape(raw[14 + header : 14 + header + 1024], [256, 4])
        image = tf.gather(palette[:, 2::-1], tf.cast(pixels[..., 0], tf.int32))
    else:
        image = pixels[..., :3]
    return image

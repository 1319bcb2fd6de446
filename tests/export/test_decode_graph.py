"""The exported graph's decoder and resize against `visionkit.images`, which is Pillow."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from visionkit import images, resizing
from visionkit.export.decode_graph import decode_image, fit, to_channels

Y, X = np.mgrid[0:40, 0:63]  # 63: rows that fill no whole number of 4 bytes
PIXELS = np.stack([Y * 6, X * 4, (Y * X) % 256], axis=-1).astype(np.uint8)  # nothing in it is symmetric
PICTURE = Image.fromarray(PIXELS)
ALPHA = Image.fromarray(((X * 4 + Y) % 256).astype(np.uint8))


def encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_alpha(image):
    return Image.merge({"L": "LA", "RGB": "RGBA"}[image.mode], [*image.split(), ALPHA])


def cv2_png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_file(header, rows, before=b""):
    """A PNG of rows that begin with their filter, and a chunk before them."""
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            before,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def grey_png(bits, transparent=None):
    """A PNG of 1, 2 or 4 bits a pixel, which Pillow cannot write."""

    rows = [[(x + y) % 2**bits for x in range(16)] for y in range(6)]
    packed = [int("".join(f"{v:0{bits}b}" for v in row), 2).to_bytes(2 * bits, "big") for row in rows]
    key = chunk(b"tRNS", struct.pack(">H", transparent)) if transparent is not None else b""
    return png_file(struct.pack(">IIBBBBB", 16, 6, bits, 0, 0, 0, 0), b"".join(b"\0" + row for row in packed), key)


def grey_alpha_png(pixels):
    """A PNG of grey and alpha with 16 bits each, `[H, W, 2]`, which neither Pillow nor OpenCV can write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_file(struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 4, 0, 0, 0), rows)


def exif(orientation, order="<", kind=3, offset=8):
    """An Exif block with one other tag before the orientation."""
    mark = b"II" if order == "<" else b"MM"
    pad = b"\0\0" if kind == 3 else b""
    value = struct.pack(order + ("H" if kind == 3 else "I"), orientation) + pad
    entries = struct.pack(order + "HHII", 0x0100, 4, 1, 63) + struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return b"Exif\0\0" + mark + struct.pack(order + "HI", 42, offset) + struct.pack(order + "H", 2) + entries + bytes(4)


def after_soi(jpeg, inserted):
    return jpeg[:2] + inserted + jpeg[2:]


PALETTE = PICTURE.quantize(200)
EXACT = {
    "jpeg": encode(PICTURE, "JPEG", quality=90),
    "jpeg 4:4:4 progressive": encode(PICTURE, "JPEG", quality=30, subsampling=0, progressive=True),
    "jpeg grey": encode(PICTURE.convert("L"), "JPEG"),
    "jpeg cmyk": encode(PICTURE.convert("CMYK"), "JPEG"),
    "jpeg 1x1": encode(PICTURE.crop((9, 9, 10, 10)), "JPEG"),
    "png": encode(PICTURE, "PNG"),
    "png 1x1": encode(PICTURE.crop((9, 9, 10, 10)), "PNG"),
    "png grey": encode(PICTURE.convert("L"), "PNG"),
    "png palette": encode(PALETTE, "PNG"),
    "png palette of 4 bits": encode(PICTURE.quantize(11), "PNG", bits=4),
    "png of 1 bit": encode(PICTURE.convert("1"), "PNG"),
    "png grey of 2 bits": grey_png(2),
    "png grey of 4 bits": grey_png(4),
    "png grey, one transparent": encode(
        PICTURE.convert("L"), "PNG", transparency=int(np.asarray(PICTURE.convert("L"))[9, 9])
    ),
    "png of 16 bits grey, one transparent": encode(
        Image.fromarray((Y * 1000 + X * 300).astype(np.uint16)), "PNG", transparency=9 * 1300
    ),
    "png of 16 bits grey": cv2_png((Y * 1000 + X * 300).astype(np.uint16)),
    "gif": encode(PALETTE, "GIF"),
    "gif animation": encode(PALETTE, "GIF", save_all=True, append_images=[Image.new("P", PALETTE.size)]),
    "bmp": encode(PICTURE, "BMP"),
    "bmp palette": encode(PALETTE, "BMP"),
    "bmp of 4 colours": encode(PICTURE.crop((0, 0, 8, 8)).quantize(4), "BMP"),
    "bmp grey": encode(PICTURE.convert("L"), "BMP"),
    "bmp of 32 bits": encode(PICTURE.convert("RGBA"), "BMP"),
}
WITHIN_ONE = {
    "png rgba": encode(with_alpha(PICTURE), "PNG"),
    "png grey with alpha": encode(with_alpha(PICTURE.convert("L")), "PNG"),
    "png palette, one transparent": encode(PALETTE, "PNG", transparency=int(np.asarray(PALETTE)[9, 9])),
    "png palette, alpha": encode(PALETTE, "PNG", transparency=bytes(range(200))),
    "png colour, one transparent": encode(PICTURE, "PNG", transparency=tuple(int(v) for v in PIXELS[9, 9])),
    "png of 16 bits colour": cv2_png(np.stack([Y * 1000, X * 900, Y * X * 20], axis=-1).astype(np.uint16)),
    "png of 16 bits colour with alpha": cv2_png(np.random.default_rng(0).integers(0, 2**16, (40, 63, 4), np.uint16)),
    "png of 16 bits grey with alpha": grey_alpha_png(np.random.default_rng(1).integers(0, 2**16, (40, 63, 2))),
}
ORIENTATIONS = {
    f"{kind} exif {orientation} {order}": encode(PICTURE, kind, exif=exif(orientation, order))
    for kind in ("JPEG", "PNG")
    for orientation in range(10)  # 0 and 9 mean nothing
    for order in "<>"
}
XMP = b"http://ns.adobe.com/xap/1.0/\0<x/>"  # another segment of the same marker as Exif
PLAIN = EXACT["jpeg"]
ODD_EXIF = {
    "as LONG": encode(PICTURE, "JPEG", exif=exif(6, ">", kind=4)),
    "behind another segment and a fill byte": after_soi(
        encode(PICTURE, "JPEG", exif=exif(6)), b"\xff\xe1" + struct.pack(">H", len(XMP) + 2) + XMP + b"\xff"
    ),
    "behind 65 kB": after_soi(encode(PICTURE, "JPEG", exif=exif(6)), 2 * (b"\xff\xe2\xff\xff" + bytes(65533))),
    "directory beyond the end": encode(PICTURE, "JPEG", exif=exif(6, offset=10**9)),
    "directory at -1": encode(PICTURE, "JPEG", exif=exif(6, offset=2**32 - 1)),
    "cut off": encode(PICTURE, "JPEG", exif=exif(6)[:20]),
    "no TIFF header": encode(PICTURE, "JPEG", exif=b"Exif\0\0" + bytes(30)),
    "empty": encode(PICTURE, "JPEG", exif=b"Exif\0\0"),
}


@pytest.mark.parametrize("data", EXACT.values(), ids=EXACT)
def test_equals_pillow(data):
    np.testing.assert_array_equal(decode_image(data).numpy(), images.read_image(data))


@pytest.mark.parametrize("data", WITHIN_ONE.values(), ids=WITHIN_ONE)
def test_is_within_one_level_of_pillow(data):
    np.testing.assert_allclose(decode_image(data).numpy().astype(int), images.read_image(data), rtol=0, atol=1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's, and right
@pytest.mark.parametrize("data", [*ORIENTATIONS.values(), *ODD_EXIF.values()], ids=[*ORIENTATIONS, *ODD_EXIF])
def test_turns_as_pillow_does(data):
    np.testing.assert_array_equal(decode_image(data).numpy(), images.read_image(data))


def test_the_turned_pictures_differ():
    """Else the test above would pass for a decoder that ignores EXIF."""
    seen = {decode_image(data).numpy().tobytes() for name, data in ORIENTATIONS.items() if name.startswith("PNG")}
    assert len(seen) == 8
    assert decode_image(ODD_EXIF["as LONG"]).shape == (63, 40, 3)
    assert decode_image(ODD_EXIF["behind 65 kB"]).shape == (63, 40, 3)


def test_the_search_for_exif_ends():
    """A megabyte of one-byte segments would keep it busy for a minute."""
    jpeg = encode(PICTURE, "JPEG", exif=exif(6))
    assert decode_image(after_soi(jpeg, b"\xff" * 600)).shape == (63, 40, 3)
    assert decode_image(after_soi(jpeg, b"\xff" * 70_000)).shape == (40, 63, 3)


def claims(size):
    """A PNG and a JPEG, a GIF and a BMP whose headers claim (height, width)."""
    height, width = size
    sof = PLAIN.index(b"\xff\xc0") + 5
    png, bmp, gif = EXACT["png"], EXACT["bmp"], EXACT["gif"]
    header = struct.pack(">II", width, height) + png[24:29]
    return {
        "jpeg": PLAIN[:sof] + struct.pack(">HH", height, width) + PLAIN[sof + 4 :],
        "png": png[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + png[33:],
        "bmp": bmp[:18] + struct.pack("<ii", width, -height) + bmp[26:],
        "gif": gif[:6] + struct.pack("<HH", width, height) + gif[10:],
    }


REFUSED = {
    "text": (b"this is no image", "no JPEG, PNG, GIF or BMP"),
    "nothing": (b"", "no JPEG, PNG, GIF or BMP"),
    "webp": (encode(PICTURE, "WEBP"), "no JPEG, PNG, GIF or BMP"),
    "bmp of 1 bit": (encode(PICTURE.convert("1"), "BMP"), "BMP must be uncompressed"),
    "half a jpeg": (PLAIN[: len(PLAIN) // 2], "JPEG"),
    "half a png": (EXACT["png"][: len(EXACT["png"]) // 2], "PNG"),
    "three bytes of jpeg": (PLAIN[:3], "JPEG"),
    "three bytes of bmp": (b"BM0", "BMP"),
} | {f"{kind} bomb": (data, "limit of 89478485 pixels") for kind, data in claims((10_001, 10_000)).items()}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses_with_a_reason(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_image(data)


def test_damaged_bytes_give_an_image_or_an_error():
    """Neither a crash nor an endless walk through segments."""
    random, refused = np.random.default_rng(0), 0
    for source in (ORIENTATIONS["JPEG exif 6 <"], ORIENTATIONS["PNG exif 6 >"], EXACT["bmp palette"], EXACT["gif"]):
        for _ in range(60):
            data = bytearray(source)
            for at in random.integers(0, min(len(data), 120), 4):
                data[at] = random.integers(256)
            try:
                assert decode_image(bytes(data)).shape[-1] == 3
            except tf.errors.InvalidArgumentError:
                refused += 1
    assert 0 < refused < 240


SIZES = [(480, 640), (375, 500), (640, 480), (40, 63), (1000, 700), (1, 1), (1500, 2), (3, 900), (320, 224)]


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop", "crop 224/232", "crop 1"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_fit_equals_what_prediction_does(size, resize):
    """On noise, the worst there is."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    fitted, new = fit(noise[None], (320, 224), resize)
    expected, _ = resizing.fit(noise, (320, 224), resize)
    if resize == "letterbox":
        np.testing.assert_array_equal(new, resizing.letterbox_factors(size, (320, 224))[0])
        np.testing.assert_array_equal(fitted[0, new[0] :], resizing.FILL)
    else:
        np.testing.assert_array_equal(new, (320, 224))
    difference = np.abs(fitted[0].numpy() - expected)
    assert fitted.dtype == tf.float32
    assert difference.max() == 0


def test_letterboxed_sizes_are_rounded_alike():
    random = np.random.default_rng(0)
    for size in random.integers(1, 400, (60, 2)).tolist() + [[25, 40], [40, 25], [7, 200]]:
        _, new = fit(np.zeros((1, *size, 3), np.uint8), (20, 32), "letterbox")
        assert tuple(new.numpy()) == resizing.letterbox_factors(size, (20, 32))[0], size


def test_fit_leaves_images_of_the_right_size_alone():
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3)).astype(np.float32)
    fitted, _ = fit(image, (8, 12), "letterbox")
    np.testing.assert_array_equal(fitted, image)


def test_crops_are_rounded_alike():
    """The corner's value is its place, so the first pixel of a crop says where it began."""
    random = np.random.default_rng(0)
    for size in random.integers(1, 200, (40, 2)).tolist() + [[16, 16], [48, 48], [7, 200]]:
        places = np.add.outer(np.arange(size[0]), np.arange(size[1]))[..., None].repeat(3, axis=-1) % 256
        places = places.astype(np.uint8)
        fitted, _ = fit(places[None], (20, 32), "crop")
        np.testing.assert_array_equal(fitted[0], resizing.fit(places, (20, 32), "crop")[0], err_msg=str(size))


def test_grey_equals_what_prediction_does():
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(to_channels(tf.cast(noise, tf.float32), 1), resizing.to_channels(noise, 1))


def test_fit_refuses_an_unknown_resize():
    with pytest.raises(ValueError, match=r"resize must be .*'crop'.*, not 'zoom'"):
        fit(np.zeros((1, 4, 4, 3), np.uint8), (4, 4), "zoom")

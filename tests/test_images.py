"""Every rule of the decoder, on files written here."""

import contextlib
import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from visionkit import image_files, images, limits
from visionkit.types import DataError

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 3, 3), np.uint8)).resize((48, 64), Image.BICUBIC))
GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def encode(image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(upright, orientation):
    """The pixels a camera stores for `upright`, by the table of the EXIF standard."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encode(np.ascontiguousarray(with_orientation(SMOOTH, orientation)), kind, exif=exif, **options)
    assert images.image_size(data) == (64, 48)
    found = images.read_image(data)
    assert found.shape == (64, 48, 3)
    assert np.abs(found.astype(int) - SMOOTH).max() <= (6 if kind == "JPEG" else 0)


def test_compressed_tiff_is_upright_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(with_orientation(SMOOTH, 6))
    data = encode(stored, "TIFF", exif=exif, compression="tiff_lzw")
    assert images.image_size(data) == (64, 48)
    np.testing.assert_array_equal(images.read_image(data), SMOOTH)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")  # Pillow's own, and what a person should see
def test_invalid_or_broken_exif_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 9
    for extra in (exif, b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"):
        data = encode(SMOOTH, "JPEG", exif=extra)
        assert images.read_image(data).shape == (64, 48, 3)
        assert images.image_size(data) == (64, 48)


def test_exif_behind_the_pixels_of_a_png():
    exif = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    plain = encode(np.ascontiguousarray(np.rot90(SMOOTH)))
    data = plain[:-12] + chunk + plain[-12:]  # before IEND, after IDAT
    assert images.image_size(data) == (64, 48)
    np.testing.assert_array_equal(images.read_image(data), SMOOTH)


def test_grey_and_one_bit_become_rgb():
    np.testing.assert_array_equal(images.read_image(encode(GREY)), np.stack([GREY] * 3, -1))
    bits = GREY > 100
    np.testing.assert_array_equal(images.read_image(encode(bits))[..., 1], bits * 255)


def palette_image(transparency=None):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8))
    image.putpalette([10, 20, 30, 200, 100, 50, 1, 2, 3])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def test_palette():
    found = images.read_image(encode(palette_image()))
    assert found.tolist() == [[[10, 20, 30], [200, 100, 50]], [[1, 2, 3], [200, 100, 50]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_transparent_palette_colour_shows_the_background(transparency):
    image = palette_image()
    found = images.read_image(encode(image, transparency=transparency))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]], [[1, 2, 3], [255, 255, 255]]]


def test_alpha_is_composited_on_white():
    rgba = np.array([[[100, 0, 200, 255], [100, 0, 200, 0], [100, 0, 200, 51]]], np.uint8)
    found = images.read_image(encode(rgba))
    # 51/255 = 0.2: 0.2 * (100, 0, 200) + 0.8 * 255 = (224, 204, 244)
    assert found.tolist() == [[[100, 0, 200], [255, 255, 255], [224, 204, 244]]]
    grey_alpha = Image.fromarray(np.array([[[60, 255], [60, 0]]], np.uint8))
    assert grey_alpha.mode == "LA"
    assert images.read_image(encode(grey_alpha)).tolist() == [[[60] * 3, [255] * 3]]


def test_transparent_colour_of_rgb_and_grey():
    assert images.read_image(encode(SMOOTH[:1, :1], transparency=tuple(SMOOTH[0, 0].tolist()))).tolist() == [
        [[255] * 3]
    ]
    assert images.read_image(encode(GREY, transparency=0))[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_keep_their_full_range(kind):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    found = images.read_image(encode(values, kind))
    assert found[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]  # 128 / 257 = 0.498, 129 / 257 = 0.502
    assert found.shape == (1, 6, 3)


def test_sixteen_bits_may_have_a_transparent_value_and_white_may_be_0():
    values = np.array([[0, 257, 65535]], np.uint16)
    assert images.read_image(encode(values, transparency=257))[0, :, 0].tolist() == [0, 255, 255]
    assert images.read_image(encode(values, "TIFF", tiffinfo={262: 0}))[0, :, 0].tolist() == [255, 254, 0]


def png_of_bits(rows: bytes, width, height, bits, colour) -> bytes:
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_keeps_the_high_byte():
    pixel = struct.pack(">3H", 65535, 0x8012, 255)
    assert images.read_image(png_of_bits(b"\x00" + pixel, 1, 1, 16, 2)).tolist() == [[[255, 128, 0]]]


def test_floats_and_wide_integers_are_scaled_by_range():
    def grey(values):
        return images.read_image(encode(np.array([values]), "TIFF"))[0, :, 0].tolist()

    assert grey(np.float32([0, 0.5, 1])) == [0, 128, 255]
    assert grey(np.float32([0, 100.4, 200])) == [0, 100, 200]
    assert grey(np.float32([-1, 0, 1])) == [0, 128, 255]
    assert grey(np.int32([0, 65535])) == [0, 255]
    assert grey(np.int32([-100000, 0, 100000])) == [0, 128, 255]
    with pytest.raises(DataError, match="not finite"):
        grey(np.float32([0, np.nan]))


def test_cmyk_jpeg():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    found = images.read_image(encode(cmyk, "JPEG", quality=100))
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (images.read_image(data) == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_truncated_file_is_named(tmp_path, kind):
    data = encode(RNG.integers(0, 256, (64, 64, 3), np.uint8), kind)
    file = tmp_path / f"cut.{kind.lower()}"
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=re.escape(str(file))):
        images.read_image(file)


@pytest.mark.parametrize("content,why", [(b"hello", "not an image"), (b"", "is empty")])
def test_text_named_jpg_is_named(tmp_path, content, why):
    file = tmp_path / "note.jpg"
    file.write_bytes(content)
    for read in (images.read_image, images.image_size, images.read_mask):
        with pytest.raises(DataError, match=f"note.jpg: .*{why}"):
            read(file)
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        images.read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize("side", [9_460, 10_000, 60_000])
def test_decompression_bomb_is_refused(side):
    with pytest.raises(DataError, match=str(limits.PIXELS)):
        images.read_image(png_of_bits(b"", side, side, 8, 2))
    with pytest.raises(DataError, match=str(limits.PIXELS)):
        images.image_size(png_of_bits(b"", side, side, 8, 2))


def test_postscript_is_not_run():
    with pytest.raises(DataError, match="not an image"):
        images.read_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_decoding_random_damage_raises_only_data_error():
    kinds = {"PNG": {}, "JPEG": {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00"}, "GIF": {}, "WEBP": {}}
    kinds |= {"TIFF": {"compression": "tiff_lzw"}, "BMP": {}, "PPM": {}}
    for kind, options in kinds.items():
        original = encode(SMOOTH[:16, :16], kind, **options)
        for _ in range(200):
            data = bytearray(original)
            for _ in range(RNG.integers(1, 6)):
                data[RNG.integers(len(data))] = RNG.integers(256)
            data = bytes(data[: RNG.integers(1, len(data) + 1)] if RNG.random() < 0.3 else data)
            for read in (images.read_image, images.image_size, images.read_mask):
                with contextlib.suppress(DataError):
                    read(data)


def test_mask_values_are_the_stored_numbers():
    assert images.read_mask(encode(palette_image())).tolist() == [[0, 1], [2, 1]]
    np.testing.assert_array_equal(images.read_mask(encode(GREY)), GREY)
    assert images.read_mask(encode(np.array([[0, 300, 65535]], np.uint16))).tolist() == [[0, 300, 65535]]
    assert images.read_mask(encode(GREY > 100)).tolist() == (GREY > 100).astype(int).tolist()
    np.testing.assert_array_equal(images.read_mask(encode(np.stack([GREY] * 3, -1))), GREY)
    assert images.read_mask(encode(GREY)).dtype == np.int32


@pytest.mark.parametrize("bits,rows,expected", [(4, b"\x00\x0f\x73", [0, 15, 7, 3]), (2, b"\x00\x1b", [0, 1, 2, 3])])
def test_mask_of_few_bits_is_not_stretched(bits, rows, expected):
    assert images.read_mask(png_of_bits(rows, 4, 1, bits, 0)).tolist() == [expected]


def test_mask_of_colours_or_jpeg_says_what_to_do():
    with pytest.raises(DataError, match="save it as a grey or palette PNG"):
        images.read_mask(encode(SMOOTH))
    with pytest.raises(DataError, match="save it as PNG"):
        images.read_mask(encode(GREY, "JPEG"))


def test_image_size_does_not_decode_pixels():
    data = encode(SMOOTH)
    assert images.image_size(data[:60]) == (64, 48)


@pytest.mark.parametrize("name", ["a.png", "sub/b.JPG"])
def test_write_then_read(tmp_path, name):
    images.write_image(tmp_path / name, SMOOTH)
    found = images.read_image(tmp_path / name).astype(int)
    assert np.abs(found - SMOOTH).mean() < (3 if "JPG" in name else 1e-9)
    assert [f.name for f in (tmp_path / name).parent.iterdir() if f.is_file()] == [name.split("/")[-1]]


def test_a_reader_of_the_old_file_never_sees_half_of_the_new(tmp_path):
    images.write_image(tmp_path / "a.png", GREY)
    before = (tmp_path / "a.png").read_bytes()
    with (tmp_path / "a.png").open("rb") as old:
        images.write_image(tmp_path / "a.png", SMOOTH)
        assert old.read() == before


def test_write_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(ValueError, match="float64"):
        images.write_image(tmp_path / "a.png", SMOOTH / 255)
    with pytest.raises(ValueError, match=r"\.png, \.jpg"):
        images.write_image(tmp_path / "a.gif", SMOOTH)
    assert not list(tmp_path.iterdir())


def test_find_images(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.webp", "sub/deep/d.tif", "note.md", "._b.png", ".trash/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("b.png\n\nsub/c.webp\n")

    def names(*paths):
        return [f.relative_to(tmp_path).as_posix() for f in image_files.find_images(paths)]

    assert names(tmp_path) == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.tif"]
    assert names(tmp_path / "b.png", tmp_path / "sub" / ".." / "b.png") == ["b.png"]
    assert names(tmp_path / "**" / "*.*") == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.tif"]
    assert names(str(tmp_path / "list.txt")) == ["b.png", "sub/c.webp"]
    assert image_files.find_images(tmp_path / "b.png") == [tmp_path / "b.png"]


def test_find_images_reads_lists_of_other_programs_and_follows_links(tmp_path):
    for name in ("photos/a.png", "elsewhere/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "photos")  # and back
    found = image_files.find_images(tmp_path / "photos")
    assert [file.relative_to(tmp_path).as_posix() for file in found] == ["photos/a.png", "photos/more/b.png"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfphotos/a.png\r\n\r\nelsewhere/b.png")
    assert [file.name for file in image_files.find_images(tmp_path / "list.txt")] == ["b.png", "a.png"]


def test_find_images_says_which_pictures_it_cannot_read(tmp_path, caplog):
    for name in ("a.jfif", "b.HEIC", "c.avif"):
        (tmp_path / name).touch()
    assert image_files.find_images(tmp_path) == [tmp_path / "a.jfif"]
    left = "2 pictures are left out, of a kind that is not read (b.HEIC, ...): save as JPEG or PNG"
    assert caplog.messages == [f"{tmp_path}: {left}"]


def test_find_images_names_what_is_missing(tmp_path):
    (tmp_path / "list.txt").write_text("gone.png\n")
    (tmp_path / "empty").mkdir()
    for path, name in (("gone", "gone"), ("list.txt", "gone.png"), ("*.png", r"\*.png"), ("empty", "empty")):
        with pytest.raises(DataError, match=name):
            image_files.find_images([tmp_path / path])


def test_strips_change_nothing(monkeypatch):
    alpha = np.dstack([SMOOTH, SMOOTH[..., 0]])
    wide = SMOOTH[..., 0].astype(np.uint16) * 257
    files = [encode(SMOOTH), encode(alpha), encode(palette_image(), transparency=1), encode(wide)]
    files += [encode(wide, transparency=int(wide[9, 9])), encode(Image.fromarray(SMOOTH).convert("CMYK"), "TIFF")]
    files += [encode(GREY > 100), encode(SMOOTH[..., 0].astype(np.float32), "TIFF")]
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[274] = orientation
        files += [encode(SMOOTH, exif=exif.tobytes()), encode(SMOOTH, "TIFF", exif=exif.tobytes())]
    whole = [images.read_image(file) for file in files]
    masks = [encode(palette_image()), encode(wide)]
    values = [images.read_mask(mask) for mask in masks]
    monkeypatch.setattr(images, "_STRIP", 100)  # two rows
    for file, image in zip(files, whole, strict=True):
        np.testing.assert_array_equal(images.read_image(file), image)
    for mask, found in zip(masks, values, strict=True):
        np.testing.assert_array_equal(images.read_mask(mask), found)

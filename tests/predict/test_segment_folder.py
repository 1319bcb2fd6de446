"""Maps of a folder as files, and the two ways to look harder: mirror images and windows."""

import csv

import numpy as np
import pytest
from PIL import Image
from support.painter import Painter, painted
from support.predictors import FakePredictor

from visionkit.cli import main
from visionkit.data.readers.masks import semantic_masks
from visionkit.images import read_image, read_mask, write_image, write_mask
from visionkit.predict.folders import classify_folder, detect_folder, segment_folder
from visionkit.predict.journal import Journal
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Predictor
from visionkit.types import DataError

HALVES = np.repeat([[0, 2]], 64, axis=1).repeat(96, axis=0).astype(np.int32)  # [96, 128]


@pytest.fixture
def folder(tmp_path):
    """Three images, two of one stem, and a broken one."""
    root = tmp_path / "photos"
    for name, classes in (("a.jpg", HALVES), ("a.png", HALVES[:, ::-1]), ("b/c.png", HALVES * 0 + 1)):
        write_image(root / name, painted(classes))
    (root / "broken.png").write_bytes(b"nothing")
    return root


def test_everything_is_written(folder, tmp_path):
    out = tmp_path / "out"
    report = segment_folder(Predictor(Painter()), folder, out, progress=False)
    assert (report.done, report.rows) == (3, 5)
    assert [failure.file.name for failure in report.failed] == ["broken.png"]
    files = sorted(f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file())
    masks = ["masks/a.jpg.png", "masks/a.png.png", "masks/b/c.png"]
    assert files == ["a.jpg", "a.png", "areas.csv", "b/c.png", "classes.txt", *masks, "results.jsonl"]

    with (out / "areas.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["file", "class", "pixels", "share"]
    assert rows[5] == ["b/c.png", "b", str(96 * 128), "1.0"]
    areas = {(file, name): (int(pixels), float(share)) for file, name, pixels, share in rows[1:]}
    for name in "ac":
        assert areas["a.png", name][0] == pytest.approx(96 * 64, abs=2 * 96)
        assert areas["a.png", name][1] == pytest.approx(0.5, abs=0.02)
    assert sum(pixels for (file, _), (pixels, _) in areas.items() if file == "a.jpg") == 96 * 128

    picture, source = read_image(out / "b" / "c.png"), painted(HALVES * 0 + 1)
    assert picture.shape[0] > 96  # a legend below
    assert picture.shape[1] == 128
    # README of the palette: 45 % of the image and 55 % of the colour.
    np.testing.assert_allclose(picture[40, 40], 0.45 * source[40, 40] + 0.55 * np.array(colour_of(1)), atol=1)


def test_the_masks_are_what_the_reader_of_class_maps_reads(folder, tmp_path):
    out = tmp_path / "out"
    for name in ("broken.png", "a.jpg", "b/c.png"):
        (folder / name).unlink()
    (folder / "b").rmdir()
    segment_folder(Predictor(Painter()), folder, out, progress=False, pictures=False)
    mask = read_mask(out / "masks" / "a.png")
    assert (mask[:, :60] == 2).all()
    assert (mask[:, 68:] == 0).all()
    with Image.open(out / "masks" / "a.png") as file:
        assert file.mode == "P"
        assert file.convert("RGB").getpixel((5, 5)) == colour_of(2)
    folder.rename(out / "images")
    data = semantic_masks(out)
    assert data.class_names == ["a", "b", "c"]
    np.testing.assert_array_equal(data[0].segmentation, mask)


@pytest.mark.parametrize("drawn", ["masks/a.png", "classes.txt"])
def test_masks_that_somebody_drew_are_not_overwritten(folder, drawn):
    file = folder / drawn
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"by hand")
    with pytest.raises(DataError, match="would be lost; choose another output folder"):
        segment_folder(Predictor(Painter()), folder / "a.png", folder, progress=False, pictures=False)
    assert file.read_bytes() == b"by hand"
    assert not (folder / "areas.csv").exists()


def test_masks_that_somebody_drew_beside_other_results_are_not_overwritten(folder):
    write_mask(folder / "masks" / "a.png", HALVES, [])
    detect_folder(FakePredictor(), folder / "a.png", folder, progress=False, pictures=False)
    before = (folder / "masks" / "a.png").read_bytes()
    with pytest.raises(DataError, match="would be lost; choose another output folder"):
        segment_folder(Predictor(Painter()), folder / "a.png", folder, progress=False, pictures=False)
    assert (folder / "masks" / "a.png").read_bytes() == before


def test_a_photo_in_a_folder_called_masks_does_not_meet_the_masks(tmp_path):
    for name, classes in (("a.jpg", HALVES), ("masks/a.png", HALVES[:, ::-1])):
        write_image(tmp_path / "photos" / name, painted(classes))
    out = tmp_path / "out"
    assert segment_folder(Predictor(Painter()), tmp_path / "photos", out, progress=False).done == 2
    assert (read_mask(out / "masks" / "a.png")[:, :60] == 0).all()
    assert (read_mask(out / "masks" / "masks" / "a.png")[:, :60] == 2).all()
    assert read_image(out / "masks" / "a.png.jpg").shape[1] == 128  # the picture


def test_a_mask_is_of_the_image_that_is_there(folder, tmp_path):
    out = tmp_path / "out"
    segment_folder(Predictor(Painter()), folder, out, progress=False, made_by="m")
    assert (read_mask(out / "masks" / "a.jpg.png")[:, :60] == 0).all()
    (folder / "a.jpg").unlink()
    segment_folder(Predictor(Painter()), folder, out, progress=False, made_by="m")  # masks/a.png is a.png's
    assert (read_mask(out / "masks" / "a.png")[:, :60] == 2).all()


def test_masks_that_somebody_corrected_stay(folder, tmp_path):
    out, options = tmp_path / "out", {"progress": False, "pictures": False, "replace": True}
    segment_folder(Predictor(Painter()), folder, out, **options, made_by="m")
    write_mask(out / "masks" / "a.jpg.png", HALVES * 0 + 2, [])
    write_mask(out / "masks" / "broken.png", HALVES * 0 + 2, [])  # drawn, and the photo saved anew
    write_image(folder / "broken.png", painted(HALVES))
    write_image(folder / "b" / "c.png", painted(HALVES))
    for made_by in ("m", "other", None):
        report = segment_folder(Predictor(Painter()), folder, out, **options, made_by=made_by)
        corrected = ["masks/broken.png"] + ([] if made_by == "m" else ["masks/a.jpg.png"])
        assert sorted(report.corrected) == sorted(corrected)  # a.jpg was not done again for "m"
        assert all((read_mask(out / name) == 2).all() for name in ("masks/a.jpg.png", "masks/broken.png"))
        assert (read_mask(out / "masks" / "b" / "c.png")[:, :60] == 0).all()  # the others are written again
    other = Predictor(Painter())
    other.class_names = ["b", "a", "c"]
    with pytest.raises(DataError, match=r"classes\.txt: labels there number other classes than this model"):
        segment_folder(other, folder, out, **options)


def test_a_killed_run_leaves_no_mask_that_counts_as_corrected(folder, tmp_path):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    out, options = tmp_path / "out", {"progress": False, "pictures": False, "replace": True}
    segment_folder(Predictor(Painter()), folder, out, **options, made_by="m")
    write_image(folder / "a.jpg", painted(HALVES * 0))
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Journal, "add", killed)  # the mask is there, its line is not
        segment_folder(Predictor(Painter()), folder, out, **options, made_by="m")
    write_image(folder / "a.jpg", painted(HALVES))
    assert segment_folder(Predictor(Painter()), folder, out, **options, made_by="other").corrected == []
    assert (read_mask(out / "masks" / "a.jpg.png")[:, :60] == 0).all()


def test_what_masks_number_is_said_before_them(folder, tmp_path):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Journal, "add", killed)
        segment_folder(Predictor(Painter()), folder, tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "classes.txt").read_text() == "a\nb\nc\n"


def test_any_value_of_a_byte_is_written_as_it_is(tmp_path):
    values = np.arange(256).reshape(16, 16)
    for count in (0, 2, 16, 256, 300):
        write_mask(tmp_path / "m.png", values, [(k % 256, 0, 0) for k in range(count)])
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), values)
    write_mask(tmp_path / "two.png", values % 2, [(0, 0, 0), (9, 9, 9)])
    np.testing.assert_array_equal(read_mask(tmp_path / "two.png"), values % 2)
    for wrong in (values + 1, values - 1, values / 2, values[0]):
        with pytest.raises(ValueError, match=r"m\.png: expected whole numbers 0\.\.255 \[H, W\], found"):
            write_mask(tmp_path / "m.png", wrong, [])
    with pytest.raises(ValueError, match=r"m\.jpg: expected the suffix \.png"):
        write_mask(tmp_path / "m.jpg", values, [])


class Left(Painter):
    """Says b of the left third of what it sees, wherever that is, and else what it reads."""

    def serving(self):
        serving = super().serving()

        class Leftish:
            def predict_on_batch(self, batch):
                found = np.array(serving.predict_on_batch(batch)["probabilities"])
                found[:, :, : batch.shape[2] // 3] += np.float32([0, 1.5, 0])
                return {"probabilities": found}

        return Leftish()


@pytest.mark.parametrize("size", [(48, 64), (96, 100)])
def test_flip_averages_with_the_mirror_image(size):
    """b has 1.5 / 2 on either side, which is less than the 1 of what was read; without flip it wins on the left."""
    classes = np.zeros(size, np.int32)
    plain = Predictor(Left())(painted(classes)).segmentation
    assert (plain[:, : size[1] // 4] == 1).all()
    assert (Predictor(Left(), flip=True)(painted(classes)).segmentation == classes).all()
    # What is read comes back to its own side, also where the letterbox has filled up the right.
    classes[:, size[1] // 2 :] = 2
    found = Predictor(Left(), flip=True)(painted(classes)).segmentation
    assert (found[:, : size[1] // 2 - 3] == 0).all()
    assert (found[:, size[1] // 2 + 3 :] == 2).all()


@pytest.mark.parametrize("flip", [False, True])
def test_a_window_sees_every_pixel_of_a_large_image(flip):
    classes = np.random.default_rng(0).integers(0, 3, (150, 203)).astype(np.int32)  # noise: no resize could keep it
    predictor = Predictor(Painter(), batch_size=2, window=True, flip=flip)
    first, second = predictor([painted(classes), painted(classes[:40, :50])])
    np.testing.assert_array_equal(first.segmentation, classes)
    np.testing.assert_array_equal(second.segmentation, classes[:40, :50])  # smaller than the window


def test_many_classes_make_small_batches():
    class Many(Painter):
        image_size, class_names = (512, 512), ["x"] * 100

    assert Predictor(Many(), batch_size=8).batch_size == 2  # 512 * 512 * 100 * 4 = 105 MB an image
    assert Predictor(Painter(), batch_size=8).batch_size == 8


def test_other_verbs_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="task segment: use visionkit segment"):
        classify_folder(Predictor(Painter()), folder, tmp_path / "out")


def test_on_the_command_line_unreadable_images_make_exit_code_3(folder, tmp_path, capsys, monkeypatch):
    opened = Predictor(Painter())
    monkeypatch.setattr("visionkit.open_model.open_predictor", lambda model, *options: opened)
    assert main(["segment", "run", str(folder), "--out", str(tmp_path / "out"), "--flip"]) == 3
    captured = capsys.readouterr()
    assert "3 images done, 1 not read, 5 rows of results" in captured.out
    assert "broken.png" in captured.err
    assert (opened.flip, opened.window) == (True, False)
    opened.task = "detect"
    assert main(["segment", "run", str(folder), "--out", str(tmp_path / "out"), "--window"]) == 1
    assert "flip and window are for segmenters; this model is for the task detect" in capsys.readouterr().err

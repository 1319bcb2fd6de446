"""The feed-forward network: normalisation by hand, learning, saving, tiles without seams, folders and videos."""

import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from support.paths import ROOT
from support.style import photo, stripes, tiny_features

from visionkit.cli import main
from visionkit.data.photos import photos
from visionkit.export import saved_model
from visionkit.export.export_model import export_model
from visionkit.export.exported import read_metadata
from visionkit.export.painter import Painter
from visionkit.export.verify import ExportError, check_export
from visionkit.images import read_image, write_image
from visionkit.open_model import open_style_network
from visionkit.style import network as style_network
from visionkit.style.canvas import Weights
from visionkit.style.folder import choose, stylize_path
from visionkit.style.layers import Moments, Restyle, StyleOfRow
from visionkit.style.losses import CONTENT_LEVELS, take_features
from visionkit.style.network import PERIOD, StyleNetwork
from visionkit.style.stylizer import Stylizer
from visionkit.style.video import smooth, stylize_video
from visionkit.train.recipe import load_recipe
from visionkit.train.run import run
from visionkit.types import DataError

pytestmark = pytest.mark.usefixtures("preloaded")
NAMES = ("enter", "colours", "grain/", "grain_restyle", "block", "up", "out")
CONFIG = ROOT / "configs" / "style_network.py"


def tiny_network(class_names, blocks=2):
    encoder = take_features(tiny_features(), CONTENT_LEVELS)
    return StyleNetwork(encoder, len(class_names), class_names, (32, 32), width=4, blocks=blocks)


@pytest.fixture(scope="module")
def network():
    """Two styles, with scales and shifts that were drawn: at first all styles are one."""
    keras.utils.set_random_seed(0)
    model = tiny_network(["spots", "lines"])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("scale", "shift")):
            weight.assign(rng.normal(1 if weight.path.endswith("scale") else 0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="module")
def stylizer(network):
    return Stylizer(network, whole=64 * 64, tile=128)


def test_restyle_is_instance_normalisation_with_the_scale_of_the_style():
    x = np.random.default_rng(0).normal(5, 3, (3, 4, 6, 2)).astype(np.float32)
    shares = np.float32([[1, 0], [0, 1], [0.5, 0.5]])
    layer = Restyle(2)
    moments = Moments()(x)
    layer(x, moments, shares)
    layer.set_weights([np.float32([[1, 2], [3, 4]]), np.float32([[0, 1], [2, -1]])])
    got = ops.convert_to_numpy(layer(x, moments, shares))
    for row, (scale, shift) in enumerate([((1, 2), (0, 1)), ((3, 4), (2, -1)), ((2, 3), (1, 0))]):
        plain = (x[row] - x[row].mean((0, 1))) / np.sqrt(x[row].var((0, 1)) + 1e-5)
        np.testing.assert_allclose(got[row], plain * scale + shift, atol=1e-4)
    together = ops.convert_to_numpy(Moments(jointly=True)(x))
    np.testing.assert_allclose(together[0], [x.mean((0, 1, 2)), x.var((0, 1, 2))], rtol=1e-5)


def test_rows_of_a_batch_take_turns():
    assert ops.convert_to_numpy(StyleOfRow(2)(np.zeros((3, 8, 8, 3)))).tolist() == [[1, 0], [0, 1], [1, 0]]


def test_the_styles_of_one_network_differ_and_mix(stylizer):
    image = photo((32, 48))
    one, other, both = (stylizer(image, share) for share in ([1, 0], [0, 1], [0.5, 0.5]))
    assert one.shape == image.shape
    assert (one != other).mean() > 0.5
    assert ((both != one) & (both != other)).mean() > 0.5


def test_grain_is_what_it_paints_on_where_the_photo_is_even(network, stylizer):
    """The same for every picture, and again after PERIOD pixels."""
    painted = stylizer(np.full((320, 320, 3), 120, np.uint8), [1, 0])
    inner = painted[120:184, 120:184].astype(int)  # where the border is not seen
    assert inner.std() > 2
    np.testing.assert_allclose(inner, painted[120 + PERIOD : 184 + PERIOD, 120:184], atol=1)
    np.testing.assert_allclose(inner, painted[120:184, 120 - PERIOD : 184 - PERIOD], atol=1)
    shifted = Stylizer(network, whole=64 * 64, tile=128)
    shifted.halo += 4  # windows do not begin where the grain does
    assert shifted.seams(photo((300, 332), seed=3), np.float32([0, 1])) > 1
    for tile in (100, 64):
        with pytest.raises(ValueError, match=r"a multiple of 64 pixels, at least 128, found tile="):
            Stylizer(network, tile=tile)


def test_colours_come_past_the_encoder():
    """VGG hardly tells light from dark; here it sees nothing at all."""
    model = tiny_network(["only"])
    for weight in model.non_trainable_variables:
        if not weight.path.startswith("grain_noise"):
            weight.assign(ops.zeros_like(weight))
    stylizer, image = Stylizer(model), photo((48, 64))
    assert np.abs(stylizer(image, [1]).astype(int) - stylizer(255 - image, [1])).mean() > 5


def test_the_encoder_does_not_learn_and_is_in_the_file(network, tmp_path):
    assert all(v.path.startswith(NAMES) for v in network.trainable_variables), "only layers of its own"
    network.save(tmp_path / "model.keras")
    loaded = open_style_network(tmp_path / "model.keras")
    assert [v.path for v in loaded.trainable_variables] == [v.path for v in network.trainable_variables]
    image = photo((32, 48))
    np.testing.assert_array_equal(Stylizer(loaded)(image, [1, 0]), Stylizer(network)(image, [1, 0]))


@pytest.mark.parametrize("size", [(33, 50), (16, 31)])
def test_any_size_goes_in_and_comes_out(stylizer, size):
    assert stylizer(photo(size), [1, 0]).shape == (*size, 3)


def test_a_picture_that_is_too_small_is_refused(stylizer):
    with pytest.raises(DataError, match="at least 16 pixels a side, found 20x12"):
        stylizer(photo((12, 20)), [1, 0])


def test_tiles_give_what_the_whole_gives_by_the_same_moments(network, stylizer):
    """Seen as float: nothing of a tile's border may reach what is kept of it."""
    image = photo((300, 332), seed=3)
    shares = np.float32([[0, 1]])
    moments = [np.asarray(m) for m in stylizer.moments(image, shares)]
    inputs = {"images": image[None].astype(np.float32), "shares": shares, "moments": moments}
    whole = network.painting().predict_on_batch(inputs)[0]
    tiled = stylizer(image, [0, 1]).astype(float)
    assert np.abs(tiled - whole).max() < 0.51  # rounding alone
    assert stylizer.seams(image, np.float32([0, 1])) <= 1
    assert whole.std() > 5


def test_tiles_that_find_moments_of_their_own_would_show_seams(stylizer, monkeypatch):
    """What the shared moments are for, and that `seams` sees it."""
    plain = stylizer._run
    alone = lambda graph, images, shares, **more: plain("serving" if graph == "painting" else graph, images, shares)  # noqa: E731
    monkeypatch.setattr(stylizer, "_run", alone)
    assert stylizer.seams(photo((300, 332), seed=3), np.float32([0, 1])) > 10


def test_a_halo_that_is_too_small_would_show(network, monkeypatch):
    small = Stylizer(network, whole=64 * 64, tile=128)
    monkeypatch.setattr(small, "halo", 8)
    assert small.seams(photo((300, 332), seed=3), np.float32([0, 1])) > 1


@pytest.mark.slow
def test_it_learns_and_a_run_opens_and_paints(tmp_path, monkeypatch, capsys):
    """The recipe, from files to a painted folder; the style's loss falls, and the critic is not in the file."""
    monkeypatch.setattr("visionkit.open_model.open_features", lambda name: tiny_features())
    for i in range(4):
        write_image(tmp_path / "data" / "content" / f"{i}.png", photo((40, 48), seed=i))
    write_image(tmp_path / "data" / "style" / "stripes.png", stripes())
    write_image(tmp_path / "data" / "style" / "spots.png", photo((64, 64), seed=9))
    knobs = {"data_dir": tmp_path / "data", "steps": 40, "crop": 32, "style_size": 48, "width": 4, "blocks": 1}
    sizes, plain = [], StyleNetwork.compute_loss
    spy = lambda self, x, *args, **kwargs: sizes.append(tuple(x.shape[1:3])) or plain(self, x, *args, **kwargs)  # noqa: E731
    monkeypatch.setattr(StyleNetwork, "compute_loss", spy)
    results = run(load_recipe(CONFIG), knobs | {"lr": 0.01, "style_weight": 20.0}, tmp_path / "run", CONFIG)
    assert results["class_names"] == ["spots", "stripes"]
    assert list(dict.fromkeys(sizes)) == [(32, 32), (32, 48)]  # crops, and at the end what whole pictures are like
    assert (tmp_path / "run" / "first_batch.jpg").is_file()
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    for name in ("style", "palette"):
        column = rows[0].split(",").index(name)
        losses = [float(row.split(",")[column]) for row in rows[1:]]
        assert losses[-1] < 0.6 * losses[0], name
    assert (tmp_path / "run" / "model.keras").stat().st_size < 400_000
    plan = load_recipe(CONFIG)(**knobs)
    muons = {v.path for v in plan.model.trainable_variables if not plan.phases[0].optimizer._should_use_adamw(v)}
    assert muons == {f"{name}/kernel" for name in ("enter", "colours", "grain", "block1_1", "block1_2", "up1", "up2")}
    for finish, rates in ((0.0, [0]), (1.0, [0]), (0.25, [1, 0])):  # whatever is left out, it ends at a rate of zero
        phases = load_recipe(CONFIG)(**knobs, lr=1.0, finish=finish).phases
        ends = [float(phase.optimizer._learning_rate(phase.epochs * 2)) for phase in phases]
        np.testing.assert_allclose(ends, rates, atol=1e-6)
    capsys.readouterr()

    (tmp_path / "data" / "content" / "broken.png").write_bytes(b"no image")
    words = [str(tmp_path / "data" / "content"), "--model", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert main(["stylize", *words]) == 1
    assert "several styles: choose with --style spots or stripes" in capsys.readouterr().err
    assert main(["stylize", *words, "--style", "stripes"]) == 3
    captured = capsys.readouterr()
    assert "4 pictures painted, 1 not read" in captured.out
    assert "broken.png" in captured.err
    assert main(["stylize", *words[:3], "--out", words[0], "--style", "stripes"]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    model = open_style_network(tmp_path / "run" / "model.keras")
    expected = Stylizer(model)(photo((40, 48), seed=1), [0, 1])
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "1.png"), expected)
    assert main(["stylize", *words, "--steps", "3"]) == 1
    assert "--steps is not for --model; leave it out" in capsys.readouterr().err


def test_half_precision_ends_before_the_picture_and_before_the_losses(monkeypatch):
    compared = []
    for name in ("style_loss", "content_loss"):
        plain = getattr(style_network, name)
        spy = lambda found, target, plain=plain: compared.extend(found.values()) or plain(found, target)  # noqa: E731
        monkeypatch.setattr(style_network, name, spy)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        features, model = tiny_features(), tiny_network(["stripes"], blocks=1)
        model.learn_from(features, [stripes()], Weights())
    finally:
        keras.config.set_dtype_policy("float32")
    images = photo((32, 32))[None].astype(np.float32)
    painted = model(images)
    assert {keras.backend.standardize_dtype(level.dtype) for level in features(images).values()} == {"bfloat16"}
    model.compute_loss(images, {}, painted)
    assert len(compared) > 4 and {keras.backend.standardize_dtype(level.dtype) for level in compared} == {"float32"}
    levels = ops.convert_to_numpy(painted["painted"])
    assert levels.dtype == np.float32
    assert (levels[levels > 128] % 1 != 0).any()  # bfloat16 has whole numbers only there


def test_it_says_that_it_was_not_told_what_to_learn(network):
    with pytest.raises(ValueError, match="learn_from"):
        network.compute_loss(np.zeros((1, 32, 32, 3)), {}, {})


def test_photos_are_all_images_of_a_folder_or_a_list(tmp_path):
    write_image(tmp_path / "a" / "1.png", photo((20, 30)))
    write_image(tmp_path / "b" / "1.jpg", photo((30, 20)))
    found = photos(tmp_path)
    assert [(s.id, s.image_size) for s in found.records] == [("a/1", (20, 30)), ("b/1", (30, 20))]
    assert found[1].image.shape == (30, 20, 3)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "mine.txt").write_text(f"../a/1.png\n{tmp_path / 'b' / '1.jpg'}\n")
    assert {s.id for s in photos(tmp_path / "lists" / "mine.txt").records} == {"a/1", "b/1"}


def test_styles_are_chosen_by_name_or_by_shares():
    assert choose(["a"], None, None).tolist() == [1]
    assert choose(["a", "b"], "b", None).tolist() == [0, 1]
    assert choose(["a", "b"], None, [3, 1]).tolist() == [0.75, 0.25]
    for style, shares, message in (
        ("c", None, "no style 'c'; it has a, b"),
        (None, [1], "2 --shares"),
        ("a", [1, 0], "one each for a, b"),
    ):
        with pytest.raises(DataError, match=message):
            choose(["a", "b"], style, shares)


def video(file, frames):
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return file


def test_a_video_goes_on_where_it_stopped_and_ends_the_same(tmp_path):
    wide = photo((48, 120), seed=5)
    file = video(tmp_path / "pan.avi", [wide[:, 4 * i : 4 * i + 64] for i in range(5)])
    calls = []

    def paint(frame):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(1)
        return 255 - frame

    stop = 99
    assert stylize_video(paint, file, tmp_path / "whole") == (5, None)
    assert cv2.VideoCapture(str(tmp_path / "whole" / "pan.webm")).get(cv2.CAP_PROP_FRAME_COUNT) == 5
    calls, stop = [], 3
    with pytest.raises(KeyboardInterrupt):
        stylize_video(paint, file, tmp_path / "parts")
    calls, stop = [], 99
    stylize_video(paint, file, tmp_path / "parts")
    assert len(calls) == 2  # of 5
    for i in range(5):
        name = Path("frames", f"{i:06}.png")
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(DataError, match=r"was begun with smoothing 0\.7, not 0\.2"):
        stylize_video(paint, file, tmp_path / "parts", smoothing=0.2)
    (tmp_path / "parts" / "frames" / "settings.json").write_text("")
    with pytest.raises(DataError, match=r"settings\.json: broken; name another --out"):
        stylize_video(paint, file, tmp_path / "parts")


def test_a_film_that_does_not_fit_on_the_disk_leaves_the_one_that_was_there(disk, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (12, 96, 128, 3), dtype=np.uint8)
    file, out = video(tmp_path / "a.avi", noise), tmp_path / "out"
    assert stylize_video(lambda frame: frame, file, out) == (12, None)
    shutil.move(out / "a.webm", disk / "a.webm")
    before = (disk / "a.webm").read_bytes()
    (disk / "ballast").write_bytes(bytes(2**19 - len(before) - 2**13))  # 8 KiB are left
    assert len(before) > 2**14
    (disk / "frames").symlink_to(out / "frames")
    with pytest.raises(DataError, match=r"a\.webm: only \d+ of 12 frames reached the disk; is it full\?"):
        stylize_video(lambda frame: frame, file, disk)
    assert (disk / "a.webm").read_bytes() == before
    assert sorted(f.name for f in disk.iterdir()) == ["a.webm", "ballast", "frames"]


def test_a_video_is_not_overwritten_and_one_that_ends_early_is_named(tmp_path):
    file = video(tmp_path / "a.avi", [photo((48, 64), seed=i) for i in range(30)])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    done, error = stylize_video(lambda frame: frame, file, tmp_path / "out")
    assert 0 < done < 15
    assert error == f"{file}: ends after {done} of 30 frames: cut short or broken"
    film = (tmp_path / "out" / "a.webm").rename(tmp_path / "a.webm")
    before = film.read_bytes()
    with pytest.raises(DataError, match="would overwrite its source"):
        stylize_video(lambda frame: frame, film, tmp_path)
    assert film.read_bytes() == before and not (tmp_path / "frames").exists()


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"x\.mp4: not a video"):
        stylize_video(lambda frame: frame, tmp_path / "x.mp4", tmp_path / "out")


def test_smoothing_stills_what_flickers_follows_what_moves_and_forgets_at_a_cut():
    rng, wide = np.random.default_rng(0), photo((64, 120), seed=5)
    before, now = wide[:, 0:96], wide[:, 5:101]  # the camera moves by 5 pixels

    def flickering(frame):
        return np.clip(frame + rng.normal(0, 25, frame.shape), 0, 255).astype(np.uint8)

    painted, fresh = flickering(before), flickering(now)
    held = smooth(fresh, painted, now, before, 0.7)
    inner = (slice(8, -8), slice(12, -12))
    shift = painted[:, 5:].astype(float)[:, :91]  # where the painting of before is to be found in `now`

    def difference(a):
        return np.abs(a[:, :91].astype(float) - shift)[inner].mean()

    assert difference(held) < 0.6 * difference(fresh)
    cut = 255 - now
    np.testing.assert_allclose(smooth(cut, painted, cut, before, 0.7)[inner].astype(float), cut[inner], atol=30)
    np.testing.assert_array_equal(smooth(fresh, painted, now, before, 0.0), fresh)


def test_a_video_has_its_own_size(network, tmp_path):
    file = video(tmp_path / "v.avi", [photo((32, 48))] * 2)
    with pytest.raises(DataError, match="--size is not for videos"):
        stylize_path(network, file, tmp_path / "out", np.float32([1, 0]), size=32)
    with pytest.raises(DataError, match="--smoothing is for videos; leave it out"):
        stylize_path(network, tmp_path, tmp_path / "out", np.float32([1, 0]), smoothing=0.2)
    assert stylize_path(network, file, tmp_path / "out", np.float32([1, 0])) == (2, [])
    assert (tmp_path / "out" / "v.webm").is_file()


def test_a_photo_too_small_to_paint_is_named_and_the_others_are_painted(network, tmp_path):
    for name, size in (("a", (32, 32)), ("b", (12, 20)), ("c", (32, 32))):
        write_image(tmp_path / "photos" / f"{name}.png", photo(size))
    done, failed = stylize_path(network, tmp_path / "photos", tmp_path / "out", np.float32([1, 0]))
    assert (done, len(failed)) == (2, 1) and "b.png: expected a picture of at least 16 pixels" in failed[0]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_each_photo_of_several_folders_gets_a_picture_and_pictures_are_not_painted_again(network, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "photos" / name / "1.png", photo((32, 32), seed=ord(name)))
    shares = np.float32([1, 0])
    assert stylize_path(network, tmp_path / "photos" / "*" / "1.png", tmp_path / "out", shares) == (2, [])
    assert len({(tmp_path / "out" / name / "1.png").read_bytes() for name in "ab"}) == 2
    for _ in range(2):
        assert stylize_path(network, tmp_path / "photos", tmp_path / "photos" / "painted", shares) == (2, [])
    below = tmp_path / "photos" / "below"
    below.mkdir()
    (below / "list.txt").write_text(f"../a/1.png\n{tmp_path / 'photos' / 'b' / '1.png'}\n")
    assert stylize_path(network, below / "list.txt", below / "painted", shares) == (2, [])
    assert len(list((below / "painted").rglob("1.png"))) == 2


def test_a_film_is_not_continued_by_a_network_that_was_trained_again(network, tmp_path, capsys):
    file, model = video(tmp_path / "v.avi", [photo((32, 32))] * 2), tmp_path / "run" / "model.keras"
    model.parent.mkdir()
    words = ["stylize", str(file), "--model", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--style", "spots"]
    network.save(model)
    assert main(words) == main(words) == 0
    network.save(model)
    capsys.readouterr()
    assert main(words) == 1
    assert "was begun with model" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("styles", [1, 2])
def test_the_saved_model_takes_files_and_gives_png_files(styles, network, tmp_path, capsys):
    """In a process without visionkit: JPEG, grey, alpha, an EXIF turn and odd sizes, as the network paints them."""
    pytest.importorskip("tensorflow")
    from visionkit.export.child import draw_images

    model = network if styles == 2 else tiny_network(["only"], blocks=1)
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "model.keras")
    (tmp_path / "photos").mkdir()
    draw_images(tmp_path / "photos")
    write_image(tmp_path / "photos" / "odd.jpg", photo((45, 71)))
    write_image(tmp_path / "photos" / "small.png", photo((9, 30)))
    words = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--check", str(tmp_path / "photos")]
    assert main(words) == 0
    assert "4 images" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "export_report.json").read_text())
    assert (report["verdict"], report["images"], report["compared"]) == ("passed", 4, 4)
    assert report["measures"]["level_difference"]["worst"] <= 1
    (unreadable,) = report["unreadable"]
    assert "small.png: expected a picture of at least 16 pixels a side, found 30x9" in unreadable
    metadata = read_metadata(tmp_path / "out")
    assert (metadata["task"], metadata["class_names"]) == ("style", model.class_names)
    assert main(["detect", str(tmp_path / "out"), str(tmp_path / "photos"), "--out", str(tmp_path / "x")]) == 1
    assert "out: a style network, which paints images: use visionkit stylize" in capsys.readouterr().err


def test_an_export_that_paints_otherwise_is_refused(network, tmp_path):
    pytest.importorskip("tensorflow")
    write_image(tmp_path / "a.png", photo((32, 32)))
    saved_model.save(tiny_network(["a", "b"]), tmp_path / "out")
    with pytest.raises(ExportError, match=r"a pixel differs by \d+ grey levels, more than 2 \(all in export_report"):
        check_export("saved_model", saved_model, Painter(network), tmp_path / "out", [tmp_path / "a.png"], 0, "photos")


def test_a_style_network_goes_only_where_it_can_be_painted_with(network, tmp_path, capsys):
    network.save(tmp_path / "model.keras")
    with pytest.raises(ExportError, match="onnx does not take style networks; keras_file and saved_model do"):
        export_model(tmp_path, "onnx", tmp_path / "out")
    assert main(["classify", str(tmp_path), str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "model.keras: a style network, which paints images" in capsys.readouterr().err

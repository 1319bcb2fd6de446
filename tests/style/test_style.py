"""Style transfer by optimisation: the losses by hand, gradients against finite differences, and what `paint` keeps."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image
from support.on_jax import ON_JAX
from support.paths import ROOT
from support.style import one_gradient, photo, stripes, tiny_features
from support.tiny import tiny_backbone

from visionkit.backbones import BACKBONES
from visionkit.cli import main
from visionkit.images import read_image, write_image
from visionkit.style import losses
from visionkit.style.canvas import Canvas, Weights, gradient_of
from visionkit.style.colours import luma, match_luma, recolour
from visionkit.style.optimise import paint
from visionkit.types import DataError


def numpy(x):
    return ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def features():
    return tiny_features()


def test_gram_is_the_mean_product_and_a_mask_leaves_places_out():
    f = np.float32([[[[1, 2]], [[3, 4]]]])  # two places, two channels
    assert numpy(losses.gram(ops.convert_to_tensor(f)))[0].tolist() == [[5, 7], [7, 10]]  # (1+9)/2, (2+12)/2, (4+16)/2
    mask = np.float32([[[[0]], [[0.5]]]])
    masked = numpy(losses.gram(ops.convert_to_tensor(f), ops.convert_to_tensor(mask)))[0]
    np.testing.assert_allclose(masked, [[9, 12], [12, 16]], rtol=1e-4)


@pytest.mark.parametrize(("kind", "largest"), [("bfloat16", 300.0), ("float16", 3000.0)])
def test_gram_matrices_of_half_precision_are_sums_of_full_precision(kind, largest):
    """Added up in bfloat16 the products of 40,000 places would come to 256 of one, in float16 to infinity."""
    f = ops.cast(np.random.default_rng(0).uniform(0, largest, (1, 200, 200, 6)), kind)
    exact = ops.convert_to_numpy(ops.cast(f, "float32")).astype(np.float64).reshape(-1, 6)
    found = losses.gram(f)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(numpy(found)[0], exact.T @ exact / 40_000, rtol={"bfloat16": 5e-3}.get(kind, 1e-4))


def test_losses_are_relative_and_the_variation_is_of_neighbours():
    target = {"C1": ops.convert_to_tensor(np.float32([[[3, 0], [0, 4]]]))}
    zero = {"C1": ops.zeros((1, 2, 2))}
    assert float(losses.style_loss(zero, target)[0]) == pytest.approx(1)
    assert float(losses.style_loss(target, target)[0]) == 0
    twice = {"C1": 2 * target["C1"], "C2": 2 * target["C1"]}
    both = {"C1": target["C1"], "C2": 2 * target["C1"]}
    assert float(losses.style_loss(twice, both)[0]) == pytest.approx(0.5)  # the mean of 1 and 0
    board = np.zeros((1, 2, 2, 1), np.float32)
    board[0, 0, 0] = 255  # one of two pairs differs, down and across
    assert float(losses.total_variation(ops.convert_to_tensor(board))[0]) == pytest.approx(1)


def test_a_level_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no level \['C0', 'C1', 'C2'\]; it has"):
        losses.take_features(tiny_backbone())


def test_palette_loss_is_0_for_the_photo_in_the_colours_of_the_painting():
    """By hand: what it wants is a photo whose lightness and colours were moved and stretched, whatever its texture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:70, 0:90].astype(np.float32)
    content = np.stack([x, y, x + y], axis=-1)[None]  # [1, 70, 90, 3]
    painting = rng.uniform(0, 255, (1, 50, 40, 3)).astype(np.float32)
    target = numpy(losses.palette(painting))

    def loss(picture, content=content):
        (found,) = numpy(losses.palette_loss(np.asarray(picture, np.float32), content, target))
        return found

    axes = np.float32(losses.AXES)
    (own, own_deviation), (mean, deviation) = (
        ((image @ axes).mean((0, 1, 2)), (image @ axes).std((0, 1, 2))) for image in (content, painting)
    )
    np.testing.assert_allclose(target, [[[mean], [deviation]]], rtol=1e-4)
    moved = ((content @ axes - own) / own_deviation * deviation + mean) @ np.linalg.inv(axes)
    even = 0 * moved + mean @ np.linalg.inv(axes)
    assert loss(moved) < 0.02
    assert loss(moved + rng.choice([-30, 30], moved.shape)) < 0.03
    assert loss(even) == pytest.approx(0.9, abs=0.1)  # blurred, the content deviates a little less
    assert loss(even, content=0 * content + 99) == pytest.approx(0, abs=1e-4)
    assert loss(moved[:, ::-1]) > 1.5
    assert loss(moved + 40) == pytest.approx(40**2 / (deviation**2).sum(), rel=0.1)
    assert np.isfinite(loss(content[:, :5, :9], content[:, :5, :9]))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("channels", [3, 1])
def test_the_gradient_is_that_of_finite_differences(masked, channels):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")  # float32 differences would test the rounding
    keras.config.set_dtype_policy("float64")
    try:
        features = tiny_features()
        rng = np.random.default_rng(0)
        content, start, style = (rng.uniform(20, 230, (*size, channels)) for size in ((24, 20), (24, 20), (8, 10)))
        mask = rng.uniform(0, 1, (24, 20, 1)) if masked else None
        canvas = Canvas(features, start, content, [style], [1.0], Weights(smooth=2.0, palette=3.0), mask)
        evaluate = gradient_of(canvas)
        _, gradient = evaluate(start)
        for _ in range(4):
            direction = rng.normal(size=start.shape)
            up, down = (evaluate(start + sign * 1e-3 * direction)[0]["loss"] for sign in (1, -1))
            assert gradient @ direction.ravel() == pytest.approx((up - down) / 2e-3, rel=1e-4)
        assert np.abs(gradient).max() > 1e-5
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


PROGRAM = """
import json, sys
sys.path.insert(0, {tests!r})
import keras, numpy as np
from support.style import one_gradient
with np.load({file!r}) as stored:
    losses, gradient = one_gradient([stored[name] for name in stored.files])
print(json.dumps([keras.backend.backend(), losses, gradient.tolist()]))
"""


@pytest.mark.slow
def test_tensorflow_and_jax_have_the_same_losses_and_gradient(features, tmp_path):
    weights = features.get_weights()
    np.savez(tmp_path / "weights.npz", *weights)
    code = PROGRAM.format(tests=str(ROOT / "tests"), file=str(tmp_path / "weights.npz"))
    environment = os.environ | ON_JAX
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    backend, losses, gradient = json.loads(done.stdout.splitlines()[-1])
    expected, slope = one_gradient(weights)
    assert backend == "jax"
    assert losses == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(gradient, slope, atol=1e-4 * np.abs(slope).max())


@pytest.mark.parametrize(("optimizer", "fall"), [("lbfgs", 6), ("adam", 3)])
def test_the_style_comes_near_and_the_same_seed_gives_the_same(features, optimizer, fall):
    seen = []
    options = {"size": 64, "steps": 25, "optimizer": optimizer, "weights": Weights(style=100.0)}
    picture = paint(photo(), [stripes()], features, seed=3, progress=seen.append, **options)
    assert (picture.shape, picture.dtype) == ((43, 64, 3), np.uint8)
    assert [step.number for step in seen][:3] == [0, 1, 2]
    assert seen[-1].number <= seen[-1].steps == 25
    first, last = seen[0].losses, seen[-1].losses
    assert last["style"] < first["style"] / fall
    parts = 1.0 * last["content"] + 100.0 * last["style"] + 0.5 * last["smooth"]  # and 0 * last["palette"]
    assert last["loss"] == pytest.approx(parts, rel=1e-4)
    np.testing.assert_array_equal(seen[-1].picture(), picture)
    options["steps"] = 4
    one, same, other = (paint(photo(), [stripes()], features, seed=seed, **options) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_coarse_sizes_come_first_with_more_steps(features):
    seen = []
    paint(photo((300, 150)), [stripes()], features, size=256, steps=2, progress=seen.append)
    assert [(s.number, s.size) for s in seen] == [
        *((n, (128, 64)) for n in (0, 1, 2, 3, 4)),
        *((n, (256, 128)) for n in (4, 5, 6)),
    ]


def test_kept_colours_are_the_photos(features):
    """I and Q of YIQ, where nothing is cut off at 0 or 255; the brightness is another."""
    content = (photo((32, 40)) // 4 + 96).astype(np.uint8)
    picture = paint(content, [stripes()], features, size=40, steps=5, keep_colours=True).astype(float)
    inside = ((picture > 0) & (picture < 255)).all(axis=-1)
    chroma = [x[..., 0] - x[..., 1] for x in (picture, content.astype(float))]
    assert inside.mean() > 0.5
    assert np.abs(chroma[0] - chroma[1])[inside].max() <= 1  # rounded to levels
    assert np.abs(picture - content).max() > 20


def test_luma_is_matched_and_recolour_changes_brightness_alone():
    one, other = photo(seed=1), photo(seed=2)
    matched = match_luma(one, other)
    assert (matched.mean(), matched.std()) == pytest.approx((luma(other).mean(), luma(other).std()), rel=1e-4)
    np.testing.assert_allclose(recolour(other, other), other, atol=1e-3)
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert recolour(np.full((4, 4, 1), 150.0), grey).round().tolist() == np.full((4, 4, 3), 150).tolist()


def test_outside_the_mask_the_photo_stays(features):
    content = photo((40, 40))
    mask = np.zeros((40, 40))
    mask[:, :20] = 1
    picture = paint(content, [stripes()], features, size=40, steps=5, mask=mask)
    np.testing.assert_array_equal(picture[:, 20:], content[:, 20:])
    assert np.abs(picture[:, :20].astype(int) - content[:, :20]).mean() > 5


def test_shares_choose_between_styles(features):
    flat = np.full((48, 48, 3), 240, np.uint8)
    content = photo((24, 20)).astype(np.float32)

    def target(styles, shares):
        return numpy(Canvas(features, content, content, styles, shares, Weights()).target_style["C1"])

    only, other = target([stripes()], [1.0]), target([flat], [1.0])
    np.testing.assert_allclose(target([stripes(), flat], [0.75, 0.25]), 0.75 * only + 0.25 * other, rtol=1e-5)
    one, same = (
        paint(content.astype(np.uint8), [stripes(), flat], features, shares=s, size=32, steps=3)
        for s in ([2, 0], [1, 0])
    )
    np.testing.assert_array_equal(one, same)  # shares need not sum to 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": [1, 1]}, "expected 1 shares, one for each style, found 2"),
        ({"shares": [-1]}, "expected shares >= 0, not all 0"),
        ({"size": 8}, "expected a size of at least 32 pixels, found 8"),
        ({"noise": 2}, "expected noise of 0 to 1, found 2"),
        ({"mask": np.zeros((4, 4))}, r"expected a mask of \(40, 60\), found \(4, 4\)"),
        ({"mask": np.zeros((40, 60))}, "expected a mask that is not black"),
    ],
)
def test_a_bad_argument_is_named(features, options, message):
    with pytest.raises(DataError, match=message):
        paint(photo(), [stripes()], features, **options)


def test_the_verb_reads_grey_alpha_and_turned_photos_and_previews(features, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("visionkit.open_model.open_features", lambda name: features)
    write_image(tmp_path / "style.png", stripes())
    turned = Image.fromarray(photo((40, 60)))
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    clear = Image.fromarray(photo((40, 60))).convert("L")
    clear.putalpha(128)
    clear.save(tmp_path / "grey.png")
    common = [str(tmp_path / "style.png"), "--size", "48", "--steps", "2", "--preview", "1"]
    for name, size in (("turned.jpg", (48, 32)), ("grey.png", (32, 48))):
        out = tmp_path / "out" / f"{name}.png"
        assert main(["stylize", str(tmp_path / name), *common, "--out", str(out)]) == 0
        assert read_image(out).shape[:2] == size
        captured = capsys.readouterr()
        assert "style loss" in captured.out
        assert "step 2/2" in captured.err
    assert main(["stylize", str(tmp_path / "grey.png"), *common, "--out", str(tmp_path / "x.gif")]) == 1
    assert "x.gif: expected a picture to write, .png or .jpg" in capsys.readouterr().err
    before = (tmp_path / "turned.jpg").read_bytes()
    assert main(["stylize", str(tmp_path / "turned.jpg"), *common, "--out", f"{tmp_path}/out/../turned.jpg"]) == 1
    assert "turned.jpg: would overwrite its source; name another with --out" in capsys.readouterr().err
    assert (tmp_path / "turned.jpg").read_bytes() == before


def test_constants_see_what_the_features_see():
    features = losses.take_features(BACKBONES["vgg16"]())
    image = ops.convert_to_tensor(np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32))
    see, expected = losses.with_constants(features), features(image)
    found = see(image)
    assert set(found) == set(expected)
    for level in found:
        np.testing.assert_allclose(ops.convert_to_numpy(found[level]), ops.convert_to_numpy(expected[level]), rtol=1e-5)
    features.set_weights([0 * weight for weight in features.get_weights()])
    np.testing.assert_array_equal(ops.convert_to_numpy(see(image)["C0"]), ops.convert_to_numpy(found["C0"]))

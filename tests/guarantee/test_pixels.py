"""Promises about the pixels of a class: what is promised, kept in maps, stored and refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from support import tiny_data
from support.painter import Painter, painted

import visionkit as vk
from visionkit.cli import main
from visionkit.guarantee.promise import FILE, PixelPromise
from visionkit.guarantee.stored import read_promise
from visionkit.images import read_image, write_image
from visionkit.metrics.risk import PROBABILITIES
from visionkit.predict.maps import to_map
from visionkit.predict.predictor import Predictor
from visionkit.types import IGNORE, DataError

NAMES, SIZE = ["a", "b", "c"], (60, 80)


def scenes(count=24, seed=0):
    """(uint8 `[H, W, 3]`, int32 `[H, W]`) of a block of b between a and c, which is harder to see in some images."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        truth = np.zeros(SIZE, np.int32)
        truth[:, 60:] = 2
        if i % 6:  # some images have no b
            truth[10:40, 20 : 30 + int(rng.integers(5, 20))] = 1
        seen = painted(truth).astype(int)
        seen[..., 0] += np.where(truth == 1, rng.normal(-rng.uniform(0, 75), 12, SIZE), 0).astype(int)
        truth[50:, :10] = IGNORE
        yield np.clip(seen, 0, 255).astype(np.uint8), truth


def data(names=NAMES, **options):
    order = np.full(IGNORE + 1, IGNORE, np.int32)
    order[: len(NAMES)] = [names.index(name) for name in NAMES]
    return vk.Dataset(
        [
            vk.Sample(id=str(i), image_size=SIZE, image=image, segmentation=order[truth])
            for i, (image, truth) in enumerate(scenes(**options))
        ],
        names,
        source="scenes",
    )


def missed_by(model, there):
    """The share of the pixels of b that is missed in each image that has some."""
    shares = []
    for record, said in zip(there, model(there), strict=True):
        is_b = record.segmentation == there.class_names.index("b")
        if is_b.any():
            shares.append((said.segmentation[is_b] != NAMES.index("b")).mean())
    return shares


def test_the_maps_keep_the_promise_and_are_as_bold_as_it_allows():
    predictor, there = Predictor(Painter()), data()
    safe = vk.guarantee(predictor, there, miss=0.2, of="b")
    promise = safe.promise
    shares = missed_by(safe, there)
    assert len(shares) == promise.images == 20
    assert np.mean(shares) == pytest.approx(promise.missed, abs=1e-6)
    assert (sum(shares) + 1) / 21 <= 0.2
    assert np.mean(missed_by(predictor, there)) > 0.25 and predictor.least is None  # without it, more is missed
    following = float(PROBABILITIES[np.searchsorted(PROBABILITIES, np.float32(promise.threshold)) + 1])
    safe.predictor.least = (1, following)
    assert (sum(missed_by(safe, there)) + 1) / 21 > 0.2
    safe.predictor.least = (1, promise.threshold)
    marked = [said.segmentation == 1 for said in safe(there)]
    known = [record.segmentation != IGNORE for record in there]
    right = [record.segmentation == 1 for record in there]
    total = sum((m & k).sum() for m, k in zip(marked, known, strict=True))
    assert promise.marked == pytest.approx(total / sum(k.sum() for k in known))
    assert promise.right == pytest.approx(sum((m & r).sum() for m, r in zip(marked, right, strict=True)) / total)
    assert vk.guarantee(predictor, data(["c", "b", "a"]), miss=0.2, of="b").promise.threshold == promise.threshold


def test_on_other_images_no_more_is_missed_than_was_promised():
    means, predictor = [], Predictor(Painter())
    for seed in range(1, 25):
        safe = vk.guarantee(predictor, data(count=20, seed=seed), miss=0.2, of="b")
        means.append(np.mean(missed_by(safe, data(count=12, seed=1000 + seed))))
    assert 0.05 < np.mean(means) < 0.2 + 2 * np.std(means) / len(means) ** 0.5


def test_a_map_with_a_threshold_has_the_best_of_the_other_classes_elsewhere():
    probabilities = np.float32([[[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.1, 0.8, 0.1], [0.5, 0.1, 0.4]]])
    assert to_map(probabilities, (1, 4), (1, 0.3)).tolist() == [[1, 1, 1, 0]]
    assert to_map(probabilities, (1, 4), (1, 0.9)).tolist() == [[0, 2, 0, 0]]
    assert to_map(probabilities, (1, 4), (1, 0.0)).tolist() == [[1, 1, 1, 1]]


def test_what_cannot_be_promised_about_pixels_is_refused():
    predictor, there = Predictor(Painter()), data()
    for options, message in (
        ({}, "--of: expected the class that the promise is about; the model has a, b, c"),
        ({"of": "d"}, "--of: no class 'd'; the model has a, b, c"),
        ({"of": "b", "miss": 0.01}, "20 images with pixels of b are too few to promise 1%: at least 99 are needed"),
        ({"of": "b", "miss": 0.0}, "--miss: expected a share above 0 and below 1, found 0"),
        ({"of": "b", "per_class": True}, "--per-class is about a detector; this model is for the task segment"),
        ({"of": "b", "margin": True}, "--margin is about a detector; this model is for the task segment"),
        ({"of": "b", "false_alarms": 1.0}, "--false-alarms is about a detector; this model is for the task segment"),
    ):
        with pytest.raises(DataError, match=message):
            vk.guarantee(predictor, there, **options)
    with pytest.raises(DataError, match="made with a Predictor, without flip and window"):
        vk.guarantee(Predictor(Painter(), flip=True), there, of="b")
    with pytest.raises(DataError, match="made with a Predictor, without flip and window"):
        vk.guarantee(SimpleNamespace(task="segment", class_names=NAMES), there, of="b")


def test_the_verbs(tmp_path, monkeypatch, capsys):
    for i, (image, truth) in enumerate(scenes()):
        write_image(tmp_path / "data" / "images" / f"{i}.png", image)
        tiny_data.mask(tmp_path / "data" / "masks" / f"{i}.png", truth)
    tiny_data.text(tmp_path / "data" / "classes.txt", "a\nb\nc\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").write_bytes(b"some weights")
    asked = []

    def opened(*arguments, **_):
        asked.append(arguments[3] if len(arguments) > 3 else "keras")
        return Predictor(Painter())

    monkeypatch.setattr("visionkit.open_model.open_predictor", opened)
    assert main(["guarantee", str(run), str(tmp_path / "data"), "--miss", "0.2", "--of", "b"]) == 0
    printed = capsys.readouterr().out
    assert "Promised: on average at most 20% of an image's pixels of b are missed. On the 20 calibration" in printed
    assert f"stored: {run / FILE}; visionkit segment {run} IMAGES --out DIR --guarantee uses it" in printed
    promise = read_promise(run)
    assert isinstance(promise, PixelPromise) and str(promise).splitlines() == promise.in_words()
    assert promise.threshold == vk.guarantee(Predictor(Painter()), data(), miss=0.2, of="b").promise.threshold

    words = ["segment", str(run), str(tmp_path / "data" / "images"), "--out", str(tmp_path / "out"), "--guarantee"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("Promised: on average at most 20%")
    assert asked == ["keras", "keras"]  # by which the threshold was chosen, and not the fastest
    shares = [
        (read_mask(tmp_path / "out" / "masks" / f"{i}.png")[truth == 1] != 1).mean()
        for i, (_, truth) in enumerate(scenes())
        if (truth == 1).any()
    ]
    assert np.mean(shares) == pytest.approx(promise.missed, abs=1e-6)
    first = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])
    assert promise.fingerprint in json.dumps(first)
    for option in ("flip", "window"):
        assert main([*words, f"--{option}"]) == 1
        assert f"--{option} and --guarantee: the guarantee was made without" in capsys.readouterr().err
    assert main(["detect", *words[1:]]) == 1
    assert f"{run}: its guarantee is about pixels: use visionkit segment" in capsys.readouterr().err


def read_mask(file):
    """The class ids of a written map: int `[H, W]`, by the palette's place."""
    from PIL import Image

    assert read_image(file).shape[:2] == SIZE
    with Image.open(file) as image:
        return np.asarray(image)

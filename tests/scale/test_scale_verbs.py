"""`visionkit detect` at scale, as a user types it."""

import re
from importlib.util import find_spec

import pytest
from support.command_line import visionkit
from support.scale import Brightness, draw_images

from visionkit import open_model
from visionkit.predict.folders import detect_folder
from visionkit.scale import store


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Ten photos and a file that stands for a model, which opens as a predictor without a network."""
    draw_images(tmp_path / "photos", 10)
    (tmp_path / "model.keras").write_bytes(b"first")
    monkeypatch.setattr(open_model, "open_predictor", lambda *words: Brightness())
    return tmp_path / "photos"


def detect(folder, *words):
    return visionkit(["detect", "model.keras", "photos", *words], folder)


def test_the_engine_local_writes_the_tables_of_the_plain_command(photos, tmp_path):
    done = detect(tmp_path, "--out", "out", "--engine", "local", "--shard", "4", "--score", "0.1")
    assert done.returncode == 0
    first, last = done.stdout.splitlines()
    assert re.fullmatch(
        r"10 images in 3 shards, 3 of them to do; listed \S+ \S+ UTC \(--relist looks for new ones\)", first
    )
    assert last == f"10 images done, 0 not read, 10 rows of results: {tmp_path}/out"
    detect_folder(Brightness(), photos, tmp_path / "here", 0.1, progress=False, pictures=False)
    for name in ("detections.json", "detections.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("detections.json", "detections.csv", "settings.json"),
        *("manifest", "results"),
    }
    again = detect(tmp_path, "--out", "out", "--engine", "local", "--shard", "4", "--score", "0.1")
    assert again.stdout.splitlines()[1].startswith("10 images done, 0 not read (10 of these by an earlier run), ")


def test_a_store_needs_no_engine_to_be_named(photos, tmp_path):
    done = detect(tmp_path, "--out", "memory://verbs/out", "--format", "jsonl")
    assert done.returncode == 0
    assert len(store.read("memory://verbs/out/results.jsonl").splitlines()) == 10


def test_images_that_cannot_be_read_are_named_and_the_exit_code_is_3(photos, tmp_path):
    (photos / "x.jpg").write_bytes(b"no image")
    done = detect(tmp_path, "--out", "out", "--engine", "local", "--format", "parquet")
    assert done.returncode == 3
    assert f"not read: {photos}/x.jpg: is not an image that can be read" in done.stderr.splitlines()
    assert done.stdout.splitlines()[1].startswith("10 images done, 1 not read, ")
    assert not (tmp_path / "out" / "detections.json").exists()


def test_another_model_is_refused_whatever_its_name(photos, tmp_path):
    assert detect(tmp_path, "--out", "out", "--engine", "local").returncode == 0
    (tmp_path / "model.keras").rename(tmp_path / "moved.keras")
    same = visionkit(["detect", "moved.keras", "photos", "--out", "out", "--engine", "local"], tmp_path)
    assert same.returncode == 0
    (tmp_path / "model.keras").write_bytes(b"other")
    done = detect(tmp_path, "--out", "out", "--engine", "local")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"visionkit: error: {tmp_path}/out: results of another model, now ")


def test_the_plan_says_what_a_run_takes_and_writes_nothing(photos, tmp_path):
    done = detect(tmp_path, "--out", "out", "--engine", "ray", "--plan", "--shard", "4")
    assert done.returncode == 0
    images, speed, time = done.stdout.splitlines()
    size = sum(file.stat().st_size for file in photos.rglob("*.png"))
    assert images == f"images: 10, {size / 1e6:.1f} MB, in 3 shards of 4"
    assert re.fullmatch(r"speed: [\d.]+ images/s in one worker, measured here on 10 images, reading included", speed)
    assert re.fullmatch(r"time: 0.00 hours with one worker; for one day it takes 1 of them, for one hour 1", time)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--engine", "local", "--pictures"],
            "--pictures: not offered at scale, with --engine or a store; leave it out",
        ),
        (["--engine", "local", "--guarantee"], "--guarantee: not offered at scale"),
        (["--engine", "local", "--track"], "--track: not offered at scale"),
        (["--engine", "local", "--frames", "3"], "--frames: not offered at scale"),
        (["--engine", "local", "--format", "yolo"], "--format yolo: one file an image is not written at scale"),
        (["--engine", "local", "--workers", "3"], "--workers is for --engine ray; leave it out"),
        (["--engine", "ray", "--workers", "0"], "--workers: expected 1 or more, found 0"),
        (["--engine", "ray", "--gpus=-1"], "--gpus: expected 0 or more, found -1"),
        (["--engine", "local", "--shard", "0"], "--shard: expected 1 or more, found 0"),
        (["--engine", "local", "--score", "2"], "--score: expected 0 to 1, found 2"),
        (["--address", "127.0.0.1:1"], "--address is for --engine ray; leave it out"),
        (["--plan"], "--plan is for --engine local or ray; leave it out, or name one"),
        (["--retry-errors"], "--retry-errors is for --engine local or ray; leave it out, or name one"),
    ],
)
def test_options_that_do_not_fit_are_named(photos, tmp_path, words, message):
    done = detect(tmp_path, "--out", "out", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"visionkit: error: {message}")
    assert done.stderr.count("\n") == 1


def test_a_store_that_does_not_answer_is_one_line(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    out = "s3://lot/out?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
    done = detect(tmp_path, "--out", out)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("visionkit: error: s3://lot/out/settings.json?endpoint_override=127.0.0.1:9")
    assert "the store does not answer, or not as it should" in done.stderr


@pytest.mark.parametrize(
    ("engine", "missing", "what"),
    [
        ("local", "pyarrow", "images in a store, and --engine: pyarrow"),
        ("ray", "ray", "--engine ray: ray"),
    ],
)
def test_what_is_not_installed_is_named_before_anything_is_done(photos, tmp_path, monkeypatch, engine, missing, what):
    monkeypatch.setattr("visionkit.cli.scale.find_spec", lambda name: None if name == missing else find_spec(name))
    done = detect(tmp_path, "--out", "out", "--engine", engine)
    assert (done.returncode, done.stderr) == (
        1,
        f"visionkit: error: {what} is not installed; it comes with visionkit's extra scale: "
        "pip install 'keras-visionkit[scale]'\n",
    )
    assert not (tmp_path / "out").exists()

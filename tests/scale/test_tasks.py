"""Classes, class maps and paintings at scale: what a folder gives, as rows."""

import io

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from support.command_line import visionkit
from support.scale import Brightness, Negative, draw_images, run_all

from visionkit import images, open_model
from visionkit.cli import scale as verbs
from visionkit.predict.folders import classify_folder, segment_folder
from visionkit.types import DataError


@pytest.fixture
def photos(tmp_path):
    """Six photos and a broken one."""
    draw_images(tmp_path / "photos", 6)
    (tmp_path / "photos" / "b" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


def rows_in(out):
    return parquet.read_table(out / "results").to_pylist()


def test_classes_are_those_that_a_folder_gives(photos, tmp_path):
    here = classify_folder(Brightness(task="classify"), photos, tmp_path / "here", progress=False, pictures=False)
    _, summary = run_all(photos, tmp_path / "scale", task="classify", formats=("csv", "jsonl"))
    assert (summary.done, summary.rows, summary.failed) == (6, here.rows, 1)
    assert (tmp_path / "scale" / "classes.csv").read_bytes() == (tmp_path / "here" / "classes.csv").read_bytes()
    row = rows_in(tmp_path / "scale")[0]
    light = round(float(images.read_image(photos / "a" / "000.png").mean()) / 255, 5)
    scores = {found["class"]: found["score"] for found in row["best"]}
    assert scores["dög"] == pytest.approx(light, abs=2e-5)
    assert [found["score"] for found in row["best"]] == sorted(scores.values(), reverse=True)
    assert rows_in(tmp_path / "scale")[-1]["best"] is None


def test_class_maps_are_those_that_a_folder_gives(photos, tmp_path):
    here = segment_folder(Brightness(task="segment"), photos, tmp_path / "here", progress=False)
    _, summary = run_all(photos, tmp_path / "scale", task="segment", formats=("csv",))
    assert (summary.done, summary.rows, summary.failed) == (6, here.rows, 1)
    assert (tmp_path / "scale" / "areas.csv").read_bytes() == (tmp_path / "here" / "areas.csv").read_bytes()
    *rows, broken = rows_in(tmp_path / "scale")
    for row in rows:
        name = row["uri"].removeprefix(f"{photos}/").removesuffix(".png")
        assert row["mask"] == (tmp_path / "here" / "masks" / f"{name}.png").read_bytes()
        values = np.asarray(Image.open(io.BytesIO(row["mask"])))
        assert {found["label"]: found["pixels"] for found in row["areas"]} == dict(
            zip(*map(np.ndarray.tolist, np.unique(values, return_counts=True)), strict=True)
        )
    assert (broken["mask"], broken["areas"]) == (None, None)


def test_paintings_are_written_beside_the_rows(photos, tmp_path):
    images.write_image(photos / "c" / "low.png", np.zeros((9, 10, 3), np.uint8))
    images.write_image(photos / "c" / "soft.jpg", np.full((10, 12, 3), 50, np.uint8))
    plan, summary = run_all(photos, tmp_path / "out", task="stylize", formats=("parquet",), shard=3)
    assert (summary.done, summary.rows, summary.failed) == (7, 7, 2)
    rows = {row["uri"]: row for row in rows_in(tmp_path / "out")}
    assert rows[f"{photos}/c/low.png"]["error"] == f"{photos}/c/low.png: expected a picture of another height"
    for uri, row in rows.items():
        if row["error"]:
            continue
        painted, source = images.read_image(row["picture"]), images.read_image(uri)
        assert (row["height"], row["width"]) == painted.shape[:2] == source.shape[:2]
        assert np.abs(painted.astype(int) + source - 255).max() <= 2 * uri.endswith(".jpg")
    last = plan.names[-1]
    assert rows[f"{photos}/c/soft.jpg"]["picture"] == f"{tmp_path}/out/pictures/{last}/000002.jpg"
    (photos / "c" / "soft.jpg").unlink()
    run_all(photos, tmp_path / "out", task="stylize", formats=("parquet",), shard=3, relist=True)
    assert not (tmp_path / "out" / "pictures" / last).exists()  # as the results of that shard


@pytest.mark.parametrize(
    ("task", "format", "message"),
    [
        ("classify", "coco", "no format 'coco'; at scale there are csv, jsonl, parquet"),
        ("segment", "json", "no format 'json'; at scale there are csv, jsonl, parquet"),
        ("stylize", "csv", "no format 'csv'; at scale there are jsonl, parquet"),
    ],
)
def test_formats_of_other_tasks_are_named(photos, tmp_path, task, format, message):
    with pytest.raises(DataError, match=message):
        run_all(photos, tmp_path / "out", task=task, formats=(format,))


@pytest.fixture
def model(photos, tmp_path, monkeypatch):
    """Makes files that stand for models; they open as predictors without a network, by their names."""
    for task in ("classify", "segment", "stylize"):
        (tmp_path / f"{task}.keras").write_text(task)
    monkeypatch.setattr(open_model, "open_predictor", lambda model, *words: Brightness(task=model.stem))
    monkeypatch.setattr(verbs, "open_painter", lambda *words: Negative())
    monkeypatch.setattr("visionkit.cli.style.open_painter", lambda *words: Negative())


@pytest.mark.parametrize(
    ("words", "files", "rows"),
    [
        (["classify", "classify.keras", "photos"], {"classes.csv"}, 6),
        (["segment", "segment.keras", "photos", "--format", "csv", "jsonl"], {"areas.csv", "results.jsonl"}, 12),
        (["stylize", "photos", "--model", "stylize.keras"], {"pictures"}, 6),
    ],
)
def test_the_verbs_take_an_engine(model, tmp_path, words, files, rows):
    done = visionkit([*words, "--out", "out", "--engine", "local", "--shard", "4"], tmp_path)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == f"6 images done, 1 not read, {rows} rows of results: {tmp_path}/out"
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"settings.json", "manifest", "results", *files}
    plan = visionkit([*words, "--out", "other", "--engine", "local", "--plan"], tmp_path)
    assert (plan.returncode, plan.stdout.count("\n")) == (0, 3)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classify", "classify.keras", "photos", "--pictures"], "--pictures: not offered at scale"),
        (["classify", "segment.keras", "photos"], "the model is for the task segment: use visionkit segment"),
        (["segment", "classify.keras", "photos", "--flip"], "flip and window are for segmenters"),
        (["stylize", "photos", "--model", "x.keras", "--smoothing", "0.5"], "--smoothing: not offered at scale"),
        (["stylize", "photos", "painting.png"], "at scale, with --engine or a store, stylize needs --model RUN"),
    ],
)
def test_what_is_not_offered_at_scale_is_named(model, tmp_path, words, message):
    done = visionkit([*words, "--out", "out", "--engine", "local"], tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"visionkit: error: {message}")


@pytest.mark.parametrize("verb", ["classify", "segment"])
def test_formats_are_for_runs_at_scale(model, tmp_path, verb):
    done = visionkit([verb, f"{verb}.keras", "photos", "--out", "out", "--format", "csv"], tmp_path)
    message = "visionkit: error: --format is for --engine local or ray; leave it out, or name one\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_another_way_of_looking_is_kept_out(model, tmp_path):
    words = ["segment", "segment.keras", "photos", "--out", "out", "--engine", "local"]
    assert visionkit(words, tmp_path).returncode == 3
    done = visionkit([*words, "--flip"], tmp_path)
    assert done.stderr.startswith(f"visionkit: error: {tmp_path}/out: made with --flip False, now True; choose another")

"""A run: what it leaves behind, and that what it scored is what it saved."""

import contextlib
import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from support import tiny_data
from support.recipes import SIZE, recipe, sorter

from visionkit.cli import main
from visionkit.data.batches import batch_ids, batches
from visionkit.data.dataset import Dataset
from visionkit.data.readers.folder import folder
from visionkit.data.shapes import shapes
from visionkit.evaluate.scores import evaluate
from visionkit.images import read_image, write_image
from visionkit.open_model import open_predictor
from visionkit.predict.palette import colour_of
from visionkit.train import first_batch, training
from visionkit.train import recipe as recipe_module
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe, load_recipe
from visionkit.train.run import run
from visionkit.types import DataError


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        results = run(recipe, {"lr": 3e-3, "epochs": 3, "seed": 1}, out)
    (out.parent / "printed.txt").write_text(printed.getvalue())
    return out, results


def test_the_run_folder_holds_everything(done):
    out, results = done
    assert json.loads((out / "knobs.json").read_text()) == {"lr": 3e-3, "epochs": 3, "seed": 1}
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["train_images"] == 16
    assert results["environment"]["versions"]["keras"] == keras.__version__
    assert list((out / "events").glob("events.out.tfevents.*"))
    assert not list(out.glob("*partial*"))


def test_the_address_of_a_store_is_no_run_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ("s3://lot/run", Path("s3://lot/run")):  # pathlib makes one slash of two
        with pytest.raises(DataError, match="s3://lot/run: expected a folder on this machine"):
            run(recipe, {}, out)
    assert not any(tmp_path.iterdir())


def test_a_detectors_run_says_how_its_anchors_suit_the_data(done):
    lines = (done[0].parent / "printed.txt").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("anchors: ")]
    assert " objects have none of IoU >= 0.5 at 64x96" in line


def test_the_time_spent_waiting_for_data_is_noted(done):
    _, results = done
    assert 0 <= results["waited"] < results["seconds"]


def test_history_has_a_row_an_epoch_and_scores_where_there_were_any(done):
    out, _ = done
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    assert [bool(row["val_mAP50"]) for row in rows] == [False, True, True]  # every second epoch, and the last


def outline(box, scale, corner):
    """Rows and columns of a box's outline in a picture in which its image is enlarged and begins at `corner`."""
    x1, y1, x2, y2 = np.rint(np.asarray(box) * scale).astype(int) + [corner[1], corner[0]] * 2
    ys, xs = np.arange(y1, y2), np.arange(x1, x2)
    rows = [np.full(len(xs), y1), np.full(len(xs), y2 - 1), ys, ys]
    return np.concatenate(rows), np.concatenate([xs, xs, np.full(len(ys), x1), np.full(len(ys), x2 - 1)])


def test_the_first_batch_is_drawn_with_its_boxes(done):
    picture = read_image(done[0] / "first_batch.jpg").astype(int)
    plan = recipe(seed=1)
    _, targets = next(iter(batches(plan.train, plan.transform, 4, task="detect", seed=1, epochs=3)))
    height, width = picture.shape[0] // 2, picture.shape[1] // 2  # of a cell: four samples, two by two
    scale = (width - 8) / SIZE[1]  # a margin of 4 pixels around the image, and the sample's number below it
    assert (targets["labels"] >= 0).sum() == 11
    for i, (boxes, labels) in enumerate(zip(targets["boxes"], targets["labels"], strict=True)):
        corner = 4 + i // 2 * height, 4 + i % 2 * width
        for box, label in zip(boxes[labels >= 0], labels[labels >= 0], strict=True):
            pixels = picture[outline(box, scale, corner)]

            def distance(colour, pixels=pixels):  # of most of the outline; a JPEG blurs thin lines
                return np.median(np.abs(pixels - colour).max(axis=1))

            assert distance(colour_of(label)) < 80 < 100 < distance(colour_of(label + 1))


def test_the_saved_model_scores_what_the_run_said(done):
    out, results = done
    predictor = open_predictor(out)
    val = shapes(6, SIZE, seed=1, split="val")
    assert predictor.class_names == val.class_names
    scores = evaluate(predictor, val, closely=True)
    assert scores["mAP50"] == pytest.approx(results["mAP50"], abs=1e-6)
    assert all(0 <= row["threshold"] <= 1 for row in scores["per_class"].values() if row["objects"])


def test_the_same_seed_gives_the_same_weights(done, tmp_path):
    out, _ = done
    run(recipe, {"lr": 3e-3, "epochs": 3, "seed": 1}, str(tmp_path / "again"))
    first, second = (keras.saving.load_model(folder / "model.keras") for folder in (out, tmp_path / "again"))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_is_no_recipe(tmp_path):
    model = keras.Sequential()
    with pytest.raises(TypeError, match=r"expected a recipe, a function .* or the path of its file; found Sequential"):
        run(model, {}, tmp_path / "out")
    with pytest.raises(DataError, match=r"none\.py: there is no such recipe file"):
        run(tmp_path / "none.py", {}, tmp_path / "out")


def test_a_used_folder_is_refused(done):
    with pytest.raises(DataError, match="must be new or empty"):
        run(recipe, {}, done[0])


@pytest.fixture
def photos(tmp_path):
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        tiny_data.picture(tmp_path / "photos" / f"{name}.jpg", SIZE)
    return tmp_path / "photos"


def test_an_image_that_breaks_off_is_named_in_one_line(photos, capsys, monkeypatch):
    data = photos / "dog" / "2.jpg"
    write_image(data, np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8))
    data.write_bytes(data.read_bytes()[:-3000])  # its header is whole, so it is found out when it is learned from
    monkeypatch.chdir(photos.parent)
    Path("mine.py").write_text("from support.recipes import sorter as recipe\n")
    assert batch_ids(folder(photos), 1, 0, 0, 0) != ["dog/2"]  # the first batch is read before TensorFlow does
    assert main(["train", "mine.py", "--data", str(photos), "--no-val", "--out", "out"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("visionkit: error: ") and str(data) in error and "broken image" in error
    assert "while preparing sample 'dog/2'" in error and "Graph execution" not in error


def test_what_is_wrong_with_the_validation_images_is_found_before_the_first_step(photos, tmp_path):
    def with_val(data: Path, val: Path) -> Recipe:
        return replace(sorter(data), val=folder(val))

    tiny_data.picture(tmp_path / "val" / "dog" / "3.jpg", SIZE)
    tiny_data.picture(tmp_path / "val" / "wasp" / "4.jpg", SIZE)
    with pytest.raises(DataError, match="classes that the model lacks: wasp"):
        run(with_val, {"data": photos, "val": tmp_path / "val"}, tmp_path / "out")
    (tmp_path / "val" / "wasp").rename(tmp_path / "val" / "cat")
    broken = tmp_path / "val" / "cat" / "4.jpg"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"4\.jpg: .*broken image"):
        run(with_val, {"data": photos, "val": tmp_path / "val"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def at_once(monkeypatch):
    """Training steps are run operation by operation: a few are over before their graph would be traced."""
    compile = keras.Model.compile
    monkeypatch.setattr(keras.Model, "compile", lambda *args, **more: compile(*args, **more | {"run_eagerly": True}))


def test_validation_images_without_objects_choose_no_epoch(tmp_path, capsys, at_once):
    def without(epochs: int = 3) -> Recipe:
        plan = recipe(epochs=epochs)
        empty = [replace(r, boxes=np.zeros((0, 4), np.float32), labels=np.int32([])) for r in plan.val.records]
        train = plan.train.subset(range(4))
        return replace(plan, train=train, val=Dataset(empty, plan.val.class_names, plan.val.load))

    results = run(without, {}, tmp_path / "out")
    assert "images hold no object to score by; the last epoch is kept" in capsys.readouterr().out
    assert (results["epoch"], results["val_images"]) == (3, 0)
    assert (tmp_path / "out" / "model.keras").is_file()


def test_the_average_of_one_phase_is_not_what_the_next_begins_with(photos, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(training, "take_average", lambda model: taken.append(int(model.optimizer.iterations)))
    run(sorter, {"data": photos, "val": False}, tmp_path / "out")
    assert taken == [5 * 4]  # once, after the second phase's steps


def test_patience_begins_with_the_last_phase(photos, tmp_path):
    results = run(sorter, {"data": photos, "patience": 2}, tmp_path / "out")
    with (tmp_path / "out" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5  # of 8: the first phase's 3, and 2 more
    assert results["epoch"] == 5  # of equal scores the last


def test_what_is_wrong_with_a_recipe_leaves_no_folder_behind(photos, tmp_path):
    with pytest.raises(DataError, match="--patience 2: no images are held back to be scored on"):
        run(sorter, {"data": photos, "patience": 2, "val": False}, tmp_path / "out")
    with pytest.raises(DataError, match="--keep-checkpoints: expected 1 or more, found 0"):
        run(sorter, {"data": photos}, tmp_path / "out", options=Options(keep_checkpoints=0))
    assert not (tmp_path / "out").exists()


def test_a_recipe_is_a_python_file(tmp_path):
    (tmp_path / "recipe.txt").write_text("")
    with pytest.raises(DataError, match=r"recipe\.txt: a recipe is a Python file; its name must end in \.py"):
        load_recipe(tmp_path / "recipe.txt")


@pytest.mark.parametrize(("name", "epochs", "batch_size"), [("epochs", 0, 1), ("batch_size", 1, 0)])
def test_batches_and_phases_of_nothing_are_refused(name, epochs, batch_size):
    with pytest.raises(DataError, match=f"{name}: expected 1 or more"):
        Recipe(model=None, train=None, phases=[Phase(epochs, keras.optimizers.SGD())], batch_size=batch_size)


def test_no_more_objects_are_learned_than_the_recipe_says(tmp_path, monkeypatch, capsys, at_once):
    seen, feed = [], recipe_module.batches
    monkeypatch.setattr(recipe_module, "batches", lambda *a, **k: seen.append(k["max_objects"]) or feed(*a, **k))
    run(lambda **knobs: replace(recipe(**knobs), max_objects=3, val=None), {"epochs": 2}, tmp_path / "out")
    assert set(seen) == {3}
    assert "this run cannot be resumed with `visionkit train --resume`" in capsys.readouterr().out  # it is a lambda


def test_the_first_batch_bears_the_names_of_its_files(photos, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(first_batch, "draw_samples_grid", lambda *args, captions: drawn.append(captions))
    plan = replace(sorter(photos), batch_size=3)
    feed = batches(plan.train, plan.transform, 3, task="classify", seed=plan.seed, epochs=2)
    for epoch, batch in enumerate(feed):  # of one step each
        first_batch.check_and_draw(batch, plan, tmp_path / "batch.jpg", epoch, 0)
        assert drawn.pop() == [Path(id).name + ".jpg" for id in batch_ids(plan.train, 3, plan.seed, epoch, 0)]

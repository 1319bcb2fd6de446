"""Runs that are interrupted: they end as uninterrupted ones do, or say in one line why they cannot go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import grain
import keras
import numpy as np
import pytest
from support import recipes
from support.on_jax import ON_JAX
from support.paths import ROOT
from support.tiny import tiny_backbone
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from visionkit.backbones import BACKBONES
from visionkit.cli import main
from visionkit.data.batches import batch_ids
from visionkit.data.figures import figures
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.files import write_json
from visionkit.recipes.detect import detect
from visionkit.train import checkpoint
from visionkit.train.callbacks import History, Score
from visionkit.train.feed import Timed
from visionkit.train.learning import Learning
from visionkit.train.options import Options
from visionkit.train.resume import MOVED, fingerprint, knobs_of, read_started, recipe_by_name, recipe_name
from visionkit.train.run import resume, run
from visionkit.train.save import save_model
from visionkit.train.state import averaged, keep_from_averaging, restore, state_of, take_average
from visionkit.types import DataError


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "kills"), [("tensorflow", 2), ("jax", 1)])
def test_a_killed_run_ends_as_one_that_was_not_to_the_bit(backend, kills, tmp_path):
    command = [sys.executable, "-m", "visionkit", "selftest", "resume", "--kills", str(kills)]
    environment = os.environ | ON_JAX | {"KERAS_BACKEND": backend}
    # Every start would compile the same programs again, which on JAX takes most of its time.
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{backend}, 0 workers: {kills} kills in ")
    assert done.stdout.endswith("to the bit\n")


@pytest.mark.slow
def test_a_run_from_before_the_recipes_moved_ends_as_it_would_have_to_the_bit(tmp_path, monkeypatch, capsys):
    """Its resume.json names the recipe by its old module; the folder is as SIGKILL would have left it in mid-epoch."""
    monkeypatch.setitem(BACKBONES, "efficientnet_lite0", tiny_backbone)
    monkeypatch.setattr("visionkit.recipes.shared.load_weights", lambda *args, **options: None)
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        write_coco(shapes(count, (64, 64), split=split), tmp_path / "data", split)
    whole, killed, real = tmp_path / "whole", tmp_path / "killed", checkpoint.save

    def save(folder, step, *rest):
        real(folder, step, *rest)
        if folder.parent == whole and step == 6:
            shutil.copytree(whole, killed)

    monkeypatch.setattr(checkpoint, "save", save)
    knobs = {"data": tmp_path / "data", "epochs": 2, "image_size": 64, "batch_size": 4, "freeze": None}
    knobs |= {"learning": Learning(ema=0.9), "seed": 1}
    results = run(detect, knobs, whole, options=Options(checkpoint_steps=1))

    assert checkpoint.newest(killed / "checkpoints")[1]["step"] == 2  # of 4
    started = json.loads((killed / "resume.json").read_text())
    assert started["recipe"] == "visionkit.recipes.detect:detect"
    write_json(killed / "resume.json", started | {"recipe": "visionkit.train.finetune:detect"})
    capsys.readouterr()
    assert main(["finetune", "--resume", str(killed)]) == 0
    assert "\non the test split, which was not learned from:\nmAP" in capsys.readouterr().out
    resumed = json.loads((killed / "results.json").read_text())
    arrays, again = (checkpoint.newest(out / "checkpoints")[0] for out in (whole, killed))
    assert len(arrays) > 30
    assert list(arrays) == list(again)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
    best, best_again = (keras.saving.load_model(out / "model.keras").get_weights() for out in (whole, killed))
    for array, same in zip(best, best_again, strict=True):
        np.testing.assert_array_equal(same, array)
    assert list(resumed) == list(results)
    assert resumed["mAP50"] == results["mAP50"]
    tested = (killed / "test.json").read_text()
    (killed / "test.json").unlink()  # as if it had been interrupted just then: all else has finished
    assert main(["finetune", "--resume", str(killed)]) == 0
    assert capsys.readouterr().out.startswith("on the test split")
    assert json.loads((killed / "test.json").read_text()) | {"seconds": 0} == json.loads(tested) | {"seconds": 0}
    assert main(["finetune", "--resume", str(killed)]) == 1


@pytest.mark.parametrize("name", MOVED)
def test_every_recipe_that_moved_is_found_by_its_old_name(name):
    assert recipe_name(recipe_by_name(name)) == MOVED[name]


@pytest.mark.slow
def test_the_self_test_finds_what_a_broken_resume_gets_wrong():
    faults = {
        "none": "",
        "seeds": r"\d+ of \d+ differ from the uninterrupted run: \['model/.*",  # of the dropout, and so the weights
        "momenta": r"\d+ of \d+ differ from the uninterrupted run: \['model/.*",
        "losses": r"1 of \d+ differ from the uninterrupted run: \['row \d of history\.csv'\]",  # their means only
        "data": r"\d+ of \d+ differ from the uninterrupted run: \['model/.*",  # one batch too far
    }
    command = [sys.executable, ROOT / "tests" / "support" / "broken_resume.py", *faults]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for fault, said in json.loads(done.stdout).items():
        assert re.fullmatch(faults[fault], said), (fault, said)


FEED = """
import time
from visionkit.data.batches import batches
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
if __name__ == "__main__":
    for _ in batches(shapes(2, (32, 32), background="noise"), None, 2, epochs=10_000, workers=2):
        print("fed", flush=True)
        time.sleep(0.5)
"""


def test_the_workers_of_a_killed_run_leave_with_it(tmp_path):
    (tmp_path / "feed.py").write_text(FEED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen([sys.executable, tmp_path / "feed.py"], stdout=subprocess.PIPE, text=True, env=environment)
    assert [run.stdout.readline() for _ in range(2)] == ["fed\n"] * 2  # by one worker, and by the other
    workers = [file.name for file in Path("/proc").iterdir() if parent_of(file.name) == str(run.pid)]
    assert len(workers) >= 2
    for pid in workers:
        os.kill(int(pid), signal.SIGINT)  # as a terminal does at Ctrl-C
    assert [run.stdout.readline() for _ in range(3)] == ["fed\n"] * 3
    assert all(parent_of(pid) == str(run.pid) for pid in workers)
    run.kill()
    run.wait()
    run.stdout.close()  # not read to its end, which would be that of a worker left over
    for _ in range(600):
        if not any(Path("/proc", pid).exists() for pid in workers):
            break
        time.sleep(0.1)
    assert not [pid for pid in workers if Path("/proc", pid).exists()]


def parent_of(pid):
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:  # it has just gone
        return None


def started(out, **changes):
    """A run folder as it is before the first checkpoint, of `support.recipes`."""
    (out / "checkpoints").mkdir(parents=True)
    (out / "knobs.json").write_text(json.dumps({"seed": 1}))
    said = {"recipe": "support.recipes:recipe", "sha256": "", "backend": keras.backend.backend(), "options": {}}
    (out / "resume.json").write_text(json.dumps(said | changes))
    return out


def test_what_is_no_run_or_has_finished_cannot_be_resumed(tmp_path, capsys):
    with pytest.raises(DataError, match=r"expected the folder of a run, found no resume.json there"):
        resume(tmp_path / "nowhere")
    out = started(tmp_path / "run")
    (out / "results.json").write_text("{}")
    for verb in ("train", "finetune"):
        assert main([verb, "--resume", str(out)]) == 1
        error = capsys.readouterr().err
        assert error == f"visionkit: error: {out}: this run has finished; there is nothing to resume\n"


@pytest.mark.parametrize(
    "more", [["--check"], ["--epochs", "60"], ["--out", "second"], ["--clip", "1"], ["--workers", "1"]]
)
def test_a_resumed_run_takes_no_other_options(tmp_path, capsys, more):
    assert main(["finetune", "--resume", str(started(tmp_path / "run")), *more]) == 1
    assert "--resume takes a run folder and nothing else" in capsys.readouterr().err


def test_a_changed_recipe_is_refused(tmp_path):
    out = started(tmp_path / "run")
    (out / "recipe.py").write_text("x")
    with pytest.raises(DataError, match=r"recipe\.py: changed since the run began"):
        read_started(out)


def test_another_backend_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"was trained on other; set KERAS_BACKEND=other"):
        resume(started(tmp_path / "run", backend="other"))


def test_changed_data_are_refused(tmp_path):
    out = started(tmp_path / "run")
    state = {"phase": 0, "epoch": 1, "step": 0, "stopped": False, "seconds": 1, "data": ["other", "data"], "rows": []}
    checkpoint.save(out / "checkpoints", 4, {}, state)
    with pytest.raises(DataError, match=r"split train, seed 1: not the data that .*run began with"):
        resume(out, trust=True)  # the folder was written by hand


def test_the_fingerprint_is_that_of_the_annotations():
    dataset = shapes(3, (40, 50))
    first = fingerprint(dataset)
    assert fingerprint(shapes(3, (40, 50))) == first
    dataset.records[1].boxes[0, 0] += 1
    assert fingerprint(dataset) != first
    assert fingerprint(shapes(2, (40, 50))) != first
    dataset = figures(2)
    first = fingerprint(dataset)
    dataset.records[1].keypoints[0, 0] += 1
    assert fingerprint(dataset) != first


def test_knobs_come_back_with_their_types(tmp_path):
    def recipe(data: Path, weights: Path | None = None, size: tuple[int, int] = (1, 2), learning: Learning = None): ...

    knobs = {"data": Path("d"), "weights": None, "size": (3, 4), "learning": Learning(ema=0.5, clip=None)}
    write_json(tmp_path / "knobs.json", knobs)
    assert knobs_of(recipe, json.loads((tmp_path / "knobs.json").read_text())) == knobs


precisions = []  # those that `poisoned` was called under


def poisoned(seed):
    precisions.append(keras.config.dtype_policy().name)
    return recipes.recipe(poison=True, seed=seed)


@pytest.mark.parametrize(
    ("every", "reason"),
    [
        (None, r"the loss became (nan|inf) at epoch 1, step 2"),
        (1, r"a weight, or what the optimizer keeps of it, is no longer a number at epoch 1, step 1"),
    ],
)
def test_a_loss_or_weight_that_is_no_number_leaves_a_crash_folder(tmp_path, every, reason):
    out, knobs = tmp_path / "run", {"seed": 3}
    precision = "mixed_bfloat16" if every else "float32"
    with pytest.raises(DataError, match=f"{reason}; lower the learning rate, or look at the batch in crash/"):
        run(poisoned, knobs, out, options=Options(checkpoint_steps=every, precision=precision))
    assert precisions.pop() == precision
    assert keras.config.dtype_policy().name == "float32"
    assert not list((out / "checkpoints").iterdir())  # what is no number is not kept
    told = json.loads((out / "crash" / "crash.json").read_text())
    data, step = shapes(16, recipes.SIZE, seed=3), told["step"] - 1
    assert [sample["id"] for sample in told["samples"]] == batch_ids(data, 4, 3, 0, step)
    by_id = {record.id: record for record in data.records}
    for sample in told["samples"]:
        np.testing.assert_array_equal(np.float32(sample["boxes"]), by_id[sample["id"]].boxes)
    assert (told["knobs"], told["reproduce"]) == (knobs, f"visionkit train --resume {out}")
    assert (out / "crash" / "batch.jpg").stat().st_size > 1000
    if every:
        with pytest.raises(DataError, match=reason):  # the command leads there again
            resume(out)


def test_a_run_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(
        DataError, match=r"runs/x: cannot be written \(Not a directory\); name another folder with --out"
    ):
        run(recipes.recipe, {}, tmp_path / "runs" / "x")


def test_events_and_rows_after_a_checkpoint_do_not_come_twice(tmp_path):
    def values():
        events = [event for file in (tmp_path / "events").iterdir() for event in EventFileLoader(str(file)).Load()]
        return [(event.step, value.tag) for event in events for value in event.summary.value]

    history = History(tmp_path)
    history.on_train_begin()
    for epoch in range(3):
        history.on_epoch_end(epoch, {"loss": 1.0})
    history.on_train_end()
    assert values() == [(1, "loss"), (2, "loss"), (3, "loss")]
    again = History(tmp_path)
    again.restore(history.rows[:1])
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2
    assert values() == [(1, "loss")]
    again.on_train_begin()
    again.on_epoch_end(1, {"loss": 0.5, "val_mAP50": 0.1})
    again.on_train_end()
    assert sorted(values()) == [(1, "loss"), (2, "loss"), (2, "val_mAP50")]
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3


def small_model(optimizer):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(inputs)))
    model.compile(optimizer=optimizer, loss="mse")
    model.optimizer.build(model.trainable_variables)
    keep_from_averaging(model.optimizer)
    return model


def test_the_average_of_the_weights_is_taken_where_it_is_looked_at_and_only_there():
    model = small_model(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    x, y = np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32)
    mean = None
    for _ in range(3):
        model.fit(x, y, batch_size=3, verbose=0)
        mean = model.get_weights()[0] * (0.5 if mean is not None else 1) + (0 if mean is None else 0.5 * mean)
    raw = model.get_weights()
    assert not np.allclose(raw[0], mean)
    with averaged(model):
        np.testing.assert_allclose(model.get_weights()[0], mean, rtol=1e-6)
    for before, after in zip(raw, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    take_average(model)
    np.testing.assert_allclose(model.get_weights()[0], mean, rtol=1e-6)


def test_the_state_holds_seeds_momenta_and_the_loss_scale():
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
    model = small_model(scaled)
    model.fit(np.eye(3), np.ones((3, 2)), batch_size=1, verbose=0)
    state = state_of(model)
    shapes_of = {group: [a.shape for n, a in state.items() if n.startswith(group)] for group in ("model", "optimizer")}
    assert sorted(shapes_of["model"]) == [(2,), (2,), (3, 2)]  # bias, the dropout's seed, kernel
    assert 2.0**15 in [float(a) for n, a in state.items() if n.startswith("optimizer") and a.shape == ()]
    assert shapes_of["optimizer"].count((3, 2)) == 1
    other = small_model(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)))
    restore(other, state)
    for name, array in state_of(other).items():
        if not name.startswith("metric"):
            np.testing.assert_array_equal(array, state[name])
    with pytest.raises(DataError, match="the checkpoint does not fit the recipe"):
        restore(small_model("sgd"), state)


def test_training_stops_when_no_score_was_better_for_long_enough(capsys):
    saved, scores = [], iter([0.1, 0.3, 0.2, 0.3, 0.25])
    score = Score(lambda: {"mAP50": next(scores)}, 2, 20, "mAP50", lambda: saved.append(True), patience=6)
    model = small_model("sgd")
    score.set_model(model)
    model.stop_training = False
    for epoch in range(10):
        assert not model.stop_training
        score.on_epoch_end(epoch, {})
    assert model.stop_training  # scored in epochs 2, 4 (the best), 6, 8 (as good) and 10
    assert (score.best, score.last, len(saved)) == ({"mAP50": 0.3, "epoch": 8}, 0.25, 3)
    assert score.risen == 4
    assert "mAP50 has not risen since epoch 4: stopping" in capsys.readouterr().err


def test_mixed_precision_stays_out_of_the_saved_model(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = recipes.recipe().model
    finally:
        keras.config.set_dtype_policy("float32")
    assert any(layer.compute_dtype == "bfloat16" for layer in model._flatten_layers())
    save_model(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Slow:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        time.sleep(0.1)
        return index


def test_the_time_that_training_waits_for_data_is_measured():
    feed = Timed(grain.MapDataset.source(Slow()).to_iter_dataset(grain.ReadOptions(num_threads=0)))
    for _ in feed:
        time.sleep(0.2)  # what training itself takes
    assert 0.4 <= feed.waited < 0.4 + 4 * 0.2

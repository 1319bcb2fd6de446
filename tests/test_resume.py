"""Runs that are interrupted: they end as uninterrupted ones do, or say in one line why they cannot go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import test_run
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from visionkit.cli import main
from visionkit.data.batches import batch_ids
from visionkit.data.shapes import shapes
from visionkit.train import checkpoint
from visionkit.train.callbacks import History
from visionkit.train.learning import Learning
from visionkit.train.options import Options
from visionkit.train.resume import fingerprint, knobs_of, read_started, write_json
from visionkit.train.run import resume, run
from visionkit.train.state import averaged, keep_from_averaging, restore, state_of, take_average
from visionkit.types import DataError


@pytest.mark.parametrize(("backend", "kills"), [("tensorflow", 2), ("jax", 1)])
def test_a_killed_run_ends_as_one_that_was_not_to_the_bit(backend, kills):
    command = [sys.executable, "-m", "visionkit", "selftest", "resume", "--kills", str(kills)]
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{backend}, 0 workers: {kills} kills in ")
    assert done.stdout.endswith("to the bit\n")


def started(out, **changes):
    """A run folder as it is before the first checkpoint, of the recipe of test_run."""
    (out / "checkpoints").mkdir(parents=True)
    (out / "knobs.json").write_text(json.dumps({"seed": 1}))
    said = {"recipe": "test_run:recipe", "sha256": "", "backend": keras.backend.backend(), "options": {}}
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
    state = {"phase": 0, "epoch": 1, "step": 0, "stopped": False, "seconds": 1, "data": ["other", "data"]}
    checkpoint.save(out / "checkpoints", 4, {}, state)
    with pytest.raises(DataError, match=r"split train, seed 1: not the data that .*run began with"):
        resume(out)


def test_the_fingerprint_is_that_of_the_annotations():
    dataset = shapes(3, (40, 50))
    first = fingerprint(dataset)
    assert fingerprint(shapes(3, (40, 50))) == first
    dataset.records[1].boxes[0, 0] += 1
    assert fingerprint(dataset) != first
    assert fingerprint(shapes(2, (40, 50))) != first


def test_knobs_come_back_with_their_types(tmp_path):
    def recipe(data: Path, weights: Path | None = None, size: tuple[int, int] = (1, 2), learning: Learning = None): ...

    knobs = {"data": Path("d"), "weights": None, "size": (3, 4), "learning": Learning(ema=0.5, clip=None)}
    write_json(tmp_path / "knobs.json", knobs)
    assert knobs_of(recipe, json.loads((tmp_path / "knobs.json").read_text())) == knobs


@pytest.mark.parametrize(
    ("every", "reason"),
    [
        (None, r"the loss became (nan|inf) at epoch 1, step 2"),
        (1, r"a weight, or what the optimizer keeps of it, is no longer a number at epoch 1, step 1"),
    ],
)
def test_a_loss_or_weight_that_is_no_number_leaves_a_crash_folder(tmp_path, every, reason):
    out, knobs = tmp_path / "run", {"poison": True, "seed": 3}
    with pytest.raises(DataError, match=f"{reason}; lower the learning rate, or look at the batch in crash/"):
        run(test_run.recipe, knobs, out, options=Options(checkpoint_steps=every))
    assert not list((out / "checkpoints").iterdir())  # what is no number is not kept
    told = json.loads((out / "crash" / "crash.json").read_text())
    data, step = shapes(16, test_run.SIZE, seed=3), told["step"] - 1
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
        run(test_run.recipe, {}, tmp_path / "runs" / "x")


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

"""--minutes: what is chosen by real steps, what is refused, and what happens where steps are slower than measured."""

import csv
import json
import math
import re
import shutil
import time
from importlib import import_module
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import visionkit
from support.tiny import tiny_backbone

from visionkit.backbones import BACKBONES
from visionkit.checks import budget
from visionkit.checks.pace import Measured
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.models import MODELS
from visionkit.recipes.detect import detect
from visionkit.train import checkpoint, deadline
from visionkit.train.deadline import Budget
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe, schedule
from visionkit.train.run import resume, run
from visionkit.types import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    for split, count in (("train", 16), ("val", 2), ("test", 2)):
        write_coco(shapes(count, (64, 64), split=split), root, split)
    return root


@pytest.fixture
def tiny(monkeypatch):
    """Recipes of finetune train a tiny network, by default for 10 epochs."""
    module = import_module("visionkit.recipes.detect")
    monkeypatch.setitem(BACKBONES, "efficientnet_lite0", tiny_backbone)
    monkeypatch.setattr("visionkit.recipes.shared.load_weights", lambda *args, **options: None)
    monkeypatch.setattr(module, "IMAGES", 16)


@pytest.mark.slow
def test_the_plan_is_measured_and_stored_as_the_knobs_of_the_run(tiny, data, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "MOST", 1)
    words = ["finetune", str(data), "--minutes", "30", "--image-size", "64", "--batch-size", "8", "--out", "run"]
    start = time.monotonic()
    done = visionkit(words, tmp_path)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    said = r"--minutes 30: a step takes \S+ s here at 64x64, so 10 epochs of 2 steps; the end is expected after \d.*\n"
    assert re.search(said, done.stdout)
    plan = json.loads((tmp_path / "run" / "budget.json").read_text())
    assert plan["chosen"] == {"epochs": 10, "image_size": 64}
    assert seconds / 20 < plan["expected_seconds"] < 20 * seconds  # other programs may run
    assert min(*plan["measured"]["steps"], *(plan["measured"][name] for name in ("build", "save", "checkpoint"))) > 0
    knobs = json.loads((tmp_path / "run" / "knobs.json").read_text())
    assert (knobs["epochs"], knobs["image_size"]) == (10, 64)
    with (tmp_path / "run" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 10
    assert done.stdout.count("choosing the best epoch on val") == 1  # the trial is quiet


@pytest.mark.slow
def test_too_short_a_time_names_the_least(tiny, data, tmp_path):
    done = visionkit(["finetune", str(data), "--minutes", "0.01", "--batch-size", "8", "--out", "run"], tmp_path)
    assert done.returncode == 1
    measuring, error = done.stderr.splitlines()
    assert measuring == "--minutes 0.01: measuring how long steps take here"
    said = r"visionkit: error: --minutes 0\.01: too short for one epoch of 2 steps; the least is about ([\d.]+) here"
    assert float(re.fullmatch(said, error)[1]) > 0.1
    assert not (tmp_path / "run").exists()


def trial_of(image_size, counts=(30,), step=1.0):
    """A trial of a recipe that has what a plan and a message read of one."""
    recipe = SimpleNamespace(train=range(40), batch_size=8, val=range(4), evaluate_every=5)
    recipe.model = SimpleNamespace(image_size=(image_size, image_size))
    recipe.phases = [Phase(n, None) for n in counts]
    recipe.epochs = sum(counts)
    measured = Measured(steps=[step, 2 * step][: len(counts)], scoring=4.0, compiling=9.0)
    return budget._Trial(recipe=recipe, measured=measured, build=2.0, save=1.5, checkpoint=0.5, test=3.0)


@pytest.fixture
def slow(monkeypatch):
    """Trials that take no time and find 10 seconds a step at 384x384: the image sizes that were tried."""
    tried = []

    def measure(recipe_function, knobs, options):
        tried.append(knobs.get("image_size"))
        size = knobs.get("image_size", 384)
        return trial_of(size, step=10.0 * (size / 384) ** 2)

    monkeypatch.setattr(budget, "_try", measure)
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.setattr(keras.utils, "clear_session", lambda: None)
    return tried


@pytest.mark.parametrize(
    ("minutes", "given", "sizes", "epochs"),
    [
        (100, {}, [None], 90),  # 3 times 30
        (20, {}, [None], 21),
        (9, {}, [None, 320], 13),
        (5, {}, [None, 256], 10),
        (5, {"image_size": 384}, [384], 5),  # the user's own is kept
    ],
)
def test_smaller_images_are_tried_where_too_few_would_be_seen(minutes, given, sizes, epochs, slow, capsys):
    knobs, planned = budget.knobs_within(detect, given, minutes, begun=100.0)
    assert slow == sizes
    assert knobs["epochs"] == epochs
    assert knobs.get("image_size") == sizes[-1]
    assert planned.ends == 100 + 0.95 * 60 * minutes - trial_of(384).after
    assert 25 < planned.plan["expected_seconds"] <= 0.95 * 60 * minutes
    assert f"--minutes {minutes}: a step takes" in capsys.readouterr().out


def test_no_second_trial_is_made_where_it_could_not_help(slow):
    with pytest.raises(DataError, match=r"too short for one epoch of 5 steps; the least is about 1\.5 here"):
        budget.knobs_within(detect, {}, 1.0, begun=100.0)
    assert slow == [None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0"], "--minutes: expected more than 0, found 0"),
        (["--minutes", "nan"], "--minutes: expected more than 0, found nan"),
        (["--minutes", "5", "--epochs", "3"], "--minutes 5 cannot be combined with --epochs; leave one of the two out"),
        (["--minutes", "5", "--check"], "--minutes 5 cannot be combined with --check; leave one of the two out"),
        (["--minutes", "5", "--devices", "2"], "--minutes 5 cannot be combined with --devices; leave one of the two"),
        (["--minutes", "5", "--resume", "run"], "--resume takes a run folder and nothing else"),
    ],
)
def test_what_minutes_do_not_go_with(words, message, data, tmp_path):
    done = visionkit(["finetune", str(data), *words], tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def small(epochs: int = 9) -> Recipe:
    """Two phases, the second with half a cosine; 4 steps an epoch."""
    train, val = shapes(8, (64, 64)), shapes(2, (64, 64), split="val")
    model = MODELS["ssd"](tiny_backbone(), 4, class_names=train.class_names, image_size=(64, 64), pyramid_channels=8)
    second = keras.optimizers.Adam(schedule((epochs - 1) * 4, 1e-3, warmup=0.0))
    phases = [Phase(1, keras.optimizers.Adam(1e-3)), Phase(epochs - 1, second)]
    return Recipe(model=model, train=train, val=val, phases=phases, batch_size=2, evaluate_every=100)


@pytest.mark.slow
def test_a_late_run_leaves_out_epochs_and_its_rate_decays_and_it_resumes_to_the_bit(tmp_path, monkeypatch, capsys):
    whole, killed, real = tmp_path / "whole", tmp_path / "killed", checkpoint.save
    monkeypatch.setattr(deadline, "SURE", 2)

    def save(folder, step, *rest):
        real(folder, step, *rest)
        if folder.parent == whole and step == 10:
            shutil.copytree(whole, killed)

    monkeypatch.setattr(checkpoint, "save", save)
    rates = []
    see = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(float(see.model.optimizer.learning_rate))
    )
    late = Budget(ends=time.monotonic(), plan={"minutes": 1})
    results = run(small, {}, whole, options=Options(checkpoint_steps=1), callbacks=[see], budget=late)
    assert "slower than planned: 6 of the 7 epochs left are left out" in capsys.readouterr().err
    assert results["epoch"] == 3  # one of the first phase, one of the second, and the last one, which was scored
    assert len(rates) == 3 * 4
    usual = [1e-3 * (1 + math.cos(math.pi * step / 32)) / 2 for step in (1, 2, 3, 4, 29, 30, 31, 32)]
    assert rates[4:] == pytest.approx(usual, abs=2e-5)
    assert json.loads((whole / "budget.json").read_text()) == {"minutes": 1}

    assert checkpoint.newest(killed / "checkpoints")[1]["left_out"] == 6
    resumed = resume(killed, recipe=(small, {}))
    assert resumed["mAP50"] == results["mAP50"]
    arrays, again = (checkpoint.newest(out / "checkpoints")[0] for out in (whole, killed))
    assert list(arrays) == list(again)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=2), st.floats(0.1, 3), st.floats(1, 900))
def test_the_longest_training_fits_and_one_more_epoch_would_not(counts, step, seconds):
    trial = trial_of(384, counts, step)
    epochs = trial.longest(seconds)
    needed = [trial.before + trial.training(n) + trial.after for n in range(1, 3 * trial.recipe.epochs + 1)]
    assert needed == sorted(needed)
    assert epochs == sum(one <= seconds for one in needed)

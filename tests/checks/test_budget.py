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
from visionkit.train import checkpoint, deadline
from visionkit.train.deadline import Budget
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe, schedule
from visionkit.train.run import resume, run


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
    monkeypatch.setattr(module, "load_weights", lambda *args, **options: None)
    monkeypatch.setattr(module, "IMAGES", 16)


def test_a_run_has_the_epochs_that_fit_and_ends_in_time(tiny, data, tmp_path):
    start = time.monotonic()
    words = ["finetune", str(data), "--minutes", "1", "--image-size", "64", "--batch-size", "8", "--out", "run"]
    done = visionkit(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 60
    said = re.search(r"--minutes 1: a step takes \S+ s here at 64x64, so (\d+) epochs of 2 steps; the end", done.stdout)
    epochs = int(said[1])
    assert 10 <= epochs <= 30  # three times as many images as without a budget are enough
    plan = json.loads((tmp_path / "run" / "budget.json").read_text())
    assert plan["chosen"] == {"epochs": epochs, "image_size": 64}
    assert 0 < plan["expected_seconds"] < 57
    knobs = json.loads((tmp_path / "run" / "knobs.json").read_text())
    assert (knobs["epochs"], knobs["image_size"]) == (epochs, 64)
    with (tmp_path / "run" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) <= epochs
    assert done.stdout.count("choosing the best epoch on val") == 1  # the trials are quiet


def test_too_short_a_time_names_the_least_after_smaller_images_were_tried(tiny, data, tmp_path, monkeypatch):
    sizes = []
    real = budget._try
    monkeypatch.setattr(budget, "_try", lambda *args: sizes.append(args[1].get("image_size")) or real(*args))
    done = visionkit(["finetune", str(data), "--minutes", "0.01", "--batch-size", "8", "--out", "run"], tmp_path)
    assert done.returncode == 1
    said = r"visionkit: error: --minutes 0\.01: too short for one epoch of 2 steps; the least is about ([\d.]+) here\n"
    assert 0.1 < float(re.fullmatch(said, done.stderr)[1]) < 5
    assert sizes == [None, 256]
    assert not (tmp_path / "run").exists()


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
    recipe = SimpleNamespace(  # as far as a plan reads it
        train=range(40), batch_size=8, val=range(4), evaluate_every=2, phases=[Phase(n, None) for n in counts]
    )
    recipe.epochs = sum(counts)
    measured = Measured(steps=[step, 2 * step][: len(counts)], scoring=4.0, compiling=9.0)
    trial = budget._Trial(recipe=recipe, measured=measured, build=2.0, save=1.5, checkpoint=0.5, test=3.0)
    epochs = trial.longest(seconds)
    needed = [trial.before + trial.training(n) + trial.after for n in range(1, 3 * recipe.epochs + 1)]
    assert needed == sorted(needed)
    assert epochs == sum(one <= seconds for one in needed)

"""Ctrl-C and SIGTERM: the training ends with a checkpoint, says how to go on, and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support.paths import ROOT

from visionkit.backbones import BACKBONES
from visionkit.cli import main
from visionkit.data.arrays import arrays
from visionkit.models import MODELS
from visionkit.train import checkpoint
from visionkit.train.interrupt import Interrupted, Interruption
from visionkit.train.options import Options
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.resume import command_to_resume
from visionkit.train.run import resume, run
from visionkit.types import DataError


def recipe(seed=0):
    """A small network on noise, which compiles in no time: 4 steps an epoch, scored after each."""
    rng = np.random.default_rng(0)
    data = arrays(rng.integers(0, 256, (16, 8, 8), np.uint8), rng.integers(0, 2, 16), ["a", "b"])
    backbone = BACKBONES["mlp"]((8, 8, 1), widths=(8,))
    model = MODELS["classifier"](backbone, 2, class_names=["a", "b"], image_size=(8, 8), resize="stretch", dropout=0.5)
    phases = [Phase(3, keras.optimizers.Adam(0.01))]
    return Recipe(model=model, train=data, val=data, phases=phases, batch_size=4, evaluate_every=1, seed=seed)


class Presses(keras.callbacks.Callback):
    """Somebody who presses Ctrl-C in the second step of the second epoch, and a callback of the user's."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.steps = 0
        self.scores = []

    def on_train_batch_end(self, batch, logs):
        self.steps += 1
        if self.steps == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def on_epoch_end(self, epoch, logs):
        self.scores.append((logs["loss"], logs["val_top1"]))


@pytest.fixture
def wandb(monkeypatch):
    """What a logger's package is asked for."""
    asked = []
    fake = SimpleNamespace(
        init=lambda **options: asked.append(("init", options)),
        log=lambda numbers, step: asked.append(("log", step, sorted(numbers))),
        finish=lambda exit_code: asked.append(("finish", exit_code)),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return asked


@pytest.fixture(autouse=True)
def usual_handler():
    """Python's own handler of Ctrl-C, which a process that was started in the background of a shell script lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_ends_as_an_uninterrupted_one_to_the_bit(tmp_path, wandb, capfd):
    presses, whole = Presses(4 + 2), Presses(0)
    out = str(tmp_path / "out")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        run(recipe, {"seed": 1}, out, options=Options(log="wandb"), callbacks=[presses])
    assert signal.getsignal(signal.SIGINT) is before
    said = (
        f"interrupted in epoch 2 after 2 of 4 steps; a checkpoint was written, to go on: visionkit train --resume {out}"
    )
    assert (str(caught.value), caught.value.number) == (said, signal.SIGINT)
    assert "ending after this step, with a checkpoint; Ctrl-C again ends at once" in capfd.readouterr().err
    assert checkpoint.newest(tmp_path / "out" / "checkpoints")[1]["step"] == 2

    resume(out, recipe=(recipe, {"seed": 1}), callbacks=[presses])
    run(recipe, {"seed": 1}, tmp_path / "whole", callbacks=[whole])
    assert presses.scores == whole.scores and len(set(whole.scores)) == 3
    arrays, again = (checkpoint.newest(tmp_path / name / "checkpoints")[0] for name in ("whole", "out"))
    assert len(arrays) > 10 and list(arrays) == list(again)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)

    first, second = (row[1] for row in wandb if row[0] == "init")
    assert first["id"] == second["id"] and first["name"] == "out" and first["config"] == {"seed": 1}
    assert [row[1] for row in wandb if row[0] == "finish"] == [1, 0]
    logged = [row for row in wandb if row[0] == "log"]
    assert [row[1] for row in logged] == [1, 2, 3]
    assert logged[-1][2] == ["accuracy", "loss", "val_top1"]


def test_a_logger_that_is_not_installed_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(DataError, match=r"--log mlflow: needs its package: pip install 'keras-visionkit\[mlflow\]'"):
        run(recipe, {}, tmp_path / "out", options=Options(log="mlflow"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Interrupted("interrupted in epoch 3", signal.SIGTERM), 143, "visionkit: interrupted in epoch 3\n"),
        (KeyboardInterrupt(), 130, "visionkit: interrupted\n"),
    ],
)
def test_the_command_line_says_how_to_go_on(error, code, said, monkeypatch, capsys):
    def interrupted():
        raise error

    monkeypatch.setattr("visionkit.environment.import_keras_quietly", interrupted)
    assert main(["selftest", "resume"]) == code
    assert capsys.readouterr().err == said


SLEEPS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from visionkit.train.interrupt import Interruption
with Interruption().noticed():
    print("ready", flush=True)
    for _ in range(600):  # a signal that comes just before a sleep is noted after it
        time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    sleeping = subprocess.Popen(
        [sys.executable, "-c", SLEEPS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert sleeping.stdout.readline() == "ready\n"
    sleeping.send_signal(number)
    assert sleeping.stderr.readline() == "\n"
    assert sleeping.stderr.readline().startswith("ending after this step")
    assert sleeping.poll() is None
    sleeping.send_signal(number)
    assert sleeping.wait(10) == -number
    sleeping.stdout.close()
    sleeping.stderr.close()


def test_signals_that_the_program_ignores_or_handles_are_left_alone(monkeypatch):
    def own(*_):
        pass

    kept = {signal.SIGINT: signal.SIG_IGN, signal.SIGTERM: own}
    before = {number: signal.signal(number, handler) for number, handler in kept.items()}
    try:
        with Interruption().noticed():
            assert {number: signal.getsignal(number) for number in kept} == kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("visionkit.recipes.detect:detect", "visionkit finetune --resume '{out}'"),
        ("recipe.py", "visionkit train --resume '{out}'"),
        ("__main__:recipe", "vk.resume('{out}', recipe=(function, knobs))"),
        ("mine:outer.<locals>.recipe", "vk.resume('{out}', recipe=(function, knobs))"),
    ],
)
def test_the_command_that_goes_on_is_one_that_works(name, command, tmp_path):
    out = tmp_path / "my run"
    out.mkdir()
    (out / "resume.json").write_text(f'{{"recipe": "{name}"}}')
    assert command_to_resume(out) == command.format(out=out)

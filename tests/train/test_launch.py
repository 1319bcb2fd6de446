"""Processes that are started together have one stream of output and one end."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.command_line import visionkit
from support.on_jax import ON_JAX
from support.paths import ROOT

from visionkit.train import launch as launching
from visionkit.train.interrupt import Interrupted
from visionkit.train.launch import backend_of, commands, launch
from visionkit.types import DataError

INDEX = "import os, sys, time; i = int(os.environ['KERAS_DISTRIBUTION_PROCESS_ID']); "


def program(code):
    return [sys.executable, "-c", INDEX + code]


def test_the_first_process_is_shown_and_each_knows_its_place(capfd, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    names = "('KERAS_BACKEND', 'KERAS_DISTRIBUTION_NUM_PROCESSES', 'KERAS_DISTRIBUTION_PROCESS_ID')"
    code = f"print(*[os.environ[name] for name in {names}]); print('noted', file=sys.stderr)"
    assert launch(program(code), 2, "jax") == 0
    assert capfd.readouterr() == ("[0] jax 2 0\n", "[0] noted\n")


def test_a_crash_of_one_ends_all_with_its_message_and_exit_code(capfd):
    """The others wait for a step that it will never take."""
    code = "i == 1 and sys.exit('visionkit: error: photo 7 is broken'); print('step 1', flush=True); time.sleep(60)"
    began = time.monotonic()
    assert launch(program(code), 3, "jax") == 1
    assert time.monotonic() - began < 30
    out, err = capfd.readouterr()
    assert out in ("[0] step 1\n", "")
    assert "[1] visionkit: error: photo 7 is broken\n" in err
    assert "visionkit: process 1 failed (exit code 1), so all were ended\n" in err
    assert "[2]" not in err


def test_an_error_that_all_have_is_shown_once(capfd):
    """The one that fails last is not asked to end before it has come to the error too."""
    code = "time.sleep(i / 2); sys.exit('visionkit: error: photos: no such folder')"
    assert launch(program(code), 3, "jax") == 1
    out, err = capfd.readouterr()
    assert (out, err.count("visionkit: error: photos: no such folder\n")) == ("", 1)
    assert err.endswith("visionkit: all 3 processes failed with this error (exit code 1)\n")


def test_an_error_that_some_have_is_shown_once_and_the_others_are_ended(capfd, monkeypatch):
    monkeypatch.setattr(launching, "ALIKE", 2.0)
    code = "i == 0 and time.sleep(60); print(i, file=sys.stderr); sys.exit('visionkit: error: no disk')"
    assert launch(program(code), 3, "jax") == 1
    err = capfd.readouterr().err
    first = err[1]
    assert err == (
        f"[{first}] {first}\n[{first}] visionkit: error: no disk\n"
        "visionkit: 2 of 3 processes failed with this error (exit code 1), so all were ended\n"
    )


def test_what_the_first_process_makes_of_the_failure_of_another_is_not_shown(capfd):
    code = "i == 0 and (time.sleep(1), sys.exit('visionkit: error: connection lost')); sys.exit('visionkit: error: no')"
    assert launch(program(code), 2, "jax") == 1
    said = "[1] visionkit: error: no\nvisionkit: process 1 failed (exit code 1), so all were ended\n"
    assert capfd.readouterr().err == said


def test_a_killed_process_has_the_exit_code_that_a_shell_gives_it(capfd):
    assert launch(program("os.kill(os.getpid(), 9)"), 2, "jax") == 137
    assert "failed (exit code 137)" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_even_one_that_ignores_it(number, capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(launching, "GRACE", 1.0)
    code = (
        "import signal; own = lambda *_: sys.exit('visionkit: interrupted; to go on: visionkit train --resume run'); "
    )
    code += "signal.signal(signal.SIGINT, signal.SIG_IGN if i else own); "
    code += f"open('{tmp_path}/' + str(os.getpid()), 'w'); time.sleep(60)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background, which they must not inherit

    def send():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    try:
        sender.start()
        with pytest.raises(Interrupted, match="interrupted; all processes have ended") as caught:
            launch(program(code), 2, "jax")
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
        sender.join()
    assert caught.value.number == number
    for file in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name), 0)
    assert capfd.readouterr() == ("", "")  # not what each process says of its end and of how it alone would go on


def test_ctrl_c_names_the_one_command_to_go_on_with(tmp_path, monkeypatch):
    def interrupted(command, count, backend):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "resume.json").touch()
        raise Interrupted("interrupted; all processes have ended", signal.SIGINT)

    monkeypatch.setattr(launching, "launch", interrupted)
    words = ["--backend", "jax", "--", "finetune", "photos", "--out", "run"]
    done = visionkit(["launch", "-n", "3", *words], tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == [
        "to go on: visionkit launch -n 3 --backend jax -- finetune --resume run",
        "visionkit: interrupted; all processes have ended",
    ]


def test_the_backend_is_the_one_that_keras_will_choose(tmp_path):
    assert backend_of({"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path)}) == "jax"
    assert backend_of({"KERAS_HOME": str(tmp_path)}) == "tensorflow"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    assert backend_of({"KERAS_HOME": str(tmp_path)}) == "jax"
    with pytest.raises(DataError, match="launch: the backend is torch; several processes train on jax or tensorflow"):
        backend_of({"KERAS_BACKEND": "torch"})


def test_the_commands_for_several_machines_say_who_is_who(tmp_path):
    done = visionkit(
        ["launch", "--backend", "jax", "--hosts", "10.0.0.1, 10.0.0.2", "--", "finetune", "my photos", "--out", "x"],
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[::2] == ["on 10.0.0.1:", "on 10.0.0.2:"]
    words = shlex.split(lines[3])
    assert words == [
        "KERAS_BACKEND=jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES=10.0.0.1:2222",
        "KERAS_DISTRIBUTION_NUM_PROCESSES=2",
        "KERAS_DISTRIBUTION_PROCESS_ID=1",
        *["visionkit", "finetune", "my photos", "--out", "x", "--devices", "auto"],
    ]
    (line,) = commands(["visionkit"], "tensorflow", ["a:1"])
    config = shlex.split(line)[1].removeprefix("TF_CONFIG=")
    assert json.loads(config) == {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", "detect", "x"], "launch: expected train or finetune with its options behind --, found 'detect'"),
        ([], "launch: expected train or finetune with its options behind --, found none"),
        (["--", "train"], "launch: train needs what it is to learn from, behind it"),
        (["-n", "1", "--", "finetune", "x"], "-n 1: expected 2 or more processes; one needs no launch"),
        (
            ["-n", "3", "--hosts", "a,b", "--", "finetune", "x"],
            "-n 3: --hosts names 2 machines, each with a process",
        ),
        (["--", "finetune", "x", "--devices=2"], "--devices 2: several processes use all of their devices"),
        (["--", "finetune", "x", "--batch_size", "auto"], "--batch-size auto and --check are for one process"),
        (["--", "finetune", "x", "--check"], "--batch-size auto and --check are for one process"),
        (["--", "finetune", "x", "--minutes", "5"], "--minutes is for one process, and not for visionkit launch"),
        (
            ["-n", "4", "--", "finetune", "x", "--batch-size", "6"],
            "batches of 6 images cannot be shared evenly by 4 processes; take a batch size of 4 or 8",
        ),
        (
            ["--hosts", "a,b", "--", "train", "x.py", "--batch-size=1"],
            "batches of 1 images cannot be shared evenly by 2 processes; take a batch size of 2",
        ),
        (["--hosts", "a", "--", "finetune", "x"], "--hosts a: expected two or more names or addresses"),
    ],
)
def test_what_cannot_be_launched_is_refused(words, said, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    done = visionkit(["launch", *words], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"visionkit: error: {said}")


RECIPE = f"""
import os, sys
from pathlib import Path

sys.path.insert(0, {str(ROOT / "tests")!r})
from support.tiny_classifier import recipe as tiny
from visionkit.types import DataError


def recipe(epochs: int = 6):
    plan = tiny(epochs=epochs)

    def look(sample, seed):
        second = os.environ["KERAS_DISTRIBUTION_PROCESS_ID"] == "1"
        if second and Path("run/history.csv").exists() and not Path("mended").exists():
            raise DataError("photo 7 is broken")
        return sample

    plan.transform = look
    return plan
"""


@pytest.mark.slow
def test_a_training_whose_second_process_fails_is_ended_and_goes_on_as_it_says(tmp_path):
    (tmp_path / "mine.py").write_text(RECIPE)
    environment = os.environ | ON_JAX | {"PYTHONPATH": str(ROOT)}

    def run(words):
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    done = run(["visionkit", "launch", "-n", "2", "--", "train", "mine.py", "--out", "run"])
    assert done.returncode == 1, done.stderr
    assert "[0] epoch 1/6 | loss " in done.stderr
    assert "[1] visionkit: error: photo 7 is broken; while preparing sample '0/" in done.stderr
    go_on = "to go on: visionkit launch -n 2 -- train --resume run"
    assert done.stderr.splitlines()[-2:] == ["visionkit: process 1 failed (exit code 1), so all were ended", go_on]

    (tmp_path / "mended").touch()
    done = run(shlex.split(go_on.removeprefix("to go on: ")))
    assert done.returncode == 0, done.stderr
    assert "[0] run: resuming in epoch " in done.stdout
    assert "[0] run folder: run" in done.stdout and "[1]" not in done.stdout + done.stderr
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 7

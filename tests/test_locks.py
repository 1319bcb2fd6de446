"""Two processes in one output folder: the second is refused, and a lock outlives no process."""

import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import pytest
from support.paths import ROOT
from support.tiny_classifier import recipe
from support.tiny_data import picture

from visionkit.experiments.runs import finish
from visionkit.files import LOCK, locked
from visionkit.predict.folders import classify_folder
from visionkit.predict.journal import Journal
from visionkit.train.options import Options
from visionkit.train.run import resume, run
from visionkit.types import DataError


@contextmanager
def another_process(folder):
    """A process that holds the folder's lock: (process, what a refusal says of it)."""
    command = [sys.executable, ROOT / "tests" / "support" / "holds_lock.py", folder]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, env=environment, **pipes)
    try:
        assert process.stdout.readline() == "locked\n"
        yield process, rf"another process writes there \(process {process.pid} on {socket.gethostname()}\); wait until"
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path):
    with another_process(tmp_path) as (process, said):
        with pytest.raises(DataError, match=said), locked(tmp_path):
            pass
        process.communicate("")
        assert not (tmp_path / LOCK).exists()
        with locked(tmp_path):
            assert (tmp_path / LOCK).read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_the_lock_of_a_killed_process_is_no_obstacle(tmp_path):
    with another_process(tmp_path) as (process, _):
        process.kill()
        process.wait()
        assert str(process.pid) in (tmp_path / LOCK).read_text()
        with locked(tmp_path):
            assert str(process.pid) not in (tmp_path / LOCK).read_text()
    assert not (tmp_path / LOCK).exists()


def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    said = {
        "recipe": "visionkit.recipes.detect:detect",
        "sha256": "",
        "backend": keras.backend.backend(),
        "options": {},
    }
    (out / "resume.json").write_text(json.dumps(said))
    (out / "knobs.json").write_text("{}")
    new = tmp_path / "new"
    new.mkdir()
    with another_process(out) as (_, refusal):
        with pytest.raises(DataError, match=refusal):
            resume(out, recipe=(recipe, {}))
        (out / "resume.json").unlink()
        with pytest.raises(DataError, match=refusal):
            finish(recipe, {}, out, None, Options())
        assert (out / "knobs.json").exists()
    with another_process(new) as (_, refusal), pytest.raises(DataError, match=refusal):
        run(recipe, {}, new)
    assert [file.name for file in new.iterdir()] == [LOCK]  # of the killed process
    assert run(recipe, {"epochs": 1}, new)["epoch"] == 1
    assert not (new / LOCK).exists()


@dataclass
class Classifier:
    """What a folder's results depend on; it is not asked for any."""

    task = "classify"
    class_names = ("cat", "dog")


def test_a_results_folder_that_another_process_fills_is_left_alone(tmp_path):
    picture(tmp_path / "photos" / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    with another_process(out) as (_, refusal), pytest.raises(DataError, match=refusal):
        classify_folder(Classifier(), tmp_path / "photos", out, progress=False, made_by="me")
    assert [file.name for file in out.iterdir()] == [LOCK]


APPENDER = """
import sys
from pathlib import Path
from visionkit.predict.journal import Journal
with Journal(Path(sys.argv[1]), {}) as journal:
    print("open", flush=True)
    sys.stdin.readline()
    for i in range(300):
        journal.add(f"{sys.argv[2]}-{i}", [i, i], {"objects": [sys.argv[2] * (i % 97) * 50]})
"""


def test_lines_of_two_processes_do_not_mix(tmp_path):
    """Where the file system knows no locks."""
    file = tmp_path / "results.jsonl"
    with Journal(file, {}):
        pass
    command = [sys.executable, "-c", APPENDER, str(file)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    processes = [subprocess.Popen([*command, name], text=True, **pipes) for name in "ab"]
    for process in processes:
        assert process.stdout.readline() == "open\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    names = [f"{name}-{i}" for name in "ab" for i in range(300)]
    with Journal(file, {}) as journal:
        records = {name: journal.record(name) for name in names}
    assert all(records[f"{name}-{i}"]["objects"] == [name * (i % 97) * 50] for name in "ab" for i in range(300))


def test_threads_find_their_lines_again(tmp_path):
    with Journal(tmp_path / "results.jsonl", {}) as journal:

        def add(name):
            for i in range(100):
                journal.add(f"{name}-{i}", [i, i], {"objects": [zlib.crc32(f"{name}{i}".encode())]})

        threads = [threading.Thread(target=add, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in "abc":
            for i in range(100):
                assert journal.record(f"{name}-{i}")["objects"] == [zlib.crc32(f"{name}{i}".encode())]

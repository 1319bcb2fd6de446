"""Proves on this machine that a run that is killed, again and again, ends as an uninterrupted one: equal to the bit."""

import csv
import io
import os
import signal
import statistics
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import keras
import matplotlib  # noqa: F401, imported here, as tensorboard is, so that the forks need not spend a second on it
import numpy as np
import tensorboard.summary.writer.event_file_writer  # noqa: F401

from visionkit.checks.selftest_recipe import recipe
from visionkit.train import checkpoint
from visionkit.train.options import Options
from visionkit.train.run import resume, run
from visionkit.types import DataError


def selftest_resume(folder: Path, kills: int = 20, workers: int = 0, seed: int = 0) -> str:
    """Trains `selftest_recipe` without and then with interruptions: SIGKILL at random moments in mid-epoch.

    Every start is a process of its own. It is forked from this one, which has imported the framework but must not have
    computed anything with it.

    Args:
        folder: for the runs; empty.
        kills: how many in all; each run is killed a few times, and as many runs are made as that takes.
        workers: see `Options`.
        seed: of the moments.

    Returns:
        One line that says what was seen.

    Raises:
        DataError: a run that was killed did not end as the uninterrupted one; says how they differ.
    """
    rng = np.random.default_rng(seed)
    options = Options(workers=workers, checkpoint_steps=3)
    whole = folder / "whole"
    _finish(_fork(partial(run, recipe, {}, whole, options=options), folder), folder)
    expected = outcome_of(whole)
    with (whole / "history.csv").open() as file:
        times = [float(row["time"]) for row in csv.DictReader(file)]
    epoch_seconds = statistics.median(np.diff(times))

    places = []  # the newest checkpoint's step at each kill
    runs = 0
    while len(places) < kills:
        out = folder / f"killed{runs}"
        runs += 1
        start = partial(run, recipe, {}, out, options=options)
        while not (out / "results.json").exists():
            if len(places) == kills:
                _finish(_fork(start, folder), folder)
            elif _start_and_kill(start, out, folder, rng, epoch_seconds):
                places.append(_newest(out))
            start = partial(resume, out)
        compare(expected, outcome_of(out), out)
    backend = keras.backend.backend()
    return (
        f"{backend}, {workers} workers: {kills} kills in {runs} runs, last checkpoints before them {places}: weights, "
        "optimizer, averages, seeds, best model and history equal those of the uninterrupted run to the bit"
    )


def _start_and_kill(start: Callable, out: Path, folder: Path, rng: np.random.Generator, epoch_seconds: float) -> bool:
    """Forks `start` and kills it at a random moment after its first checkpoint; False if it finished before that."""
    before = _newest(out)
    pid = _fork(start, folder)
    while _newest(out) == before and not _ended(pid):
        time.sleep(0.001)
    time.sleep(rng.uniform(0, epoch_seconds))
    if _ended(pid):
        _finish(pid, folder)
        return False
    os.killpg(pid, signal.SIGKILL)  # with its workers
    os.waitpid(pid, 0)
    return not (out / "results.json").exists()


def _fork(work: Callable, folder: Path) -> int:
    """Runs `work()` in a new process, the leader of a process group; what it prints is appended to `folder`/log."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _finish(pid: int, folder: Path) -> None:
    """Waits for a process to end; `DataError` if it failed."""
    if os.waitpid(pid, 0)[1]:
        last = (folder / "log").read_text().strip().splitlines()[-1:]
        raise DataError(f"a run of the self-test failed: {' '.join(last)} (its whole output: {folder / 'log'})")


def _newest(out: Path) -> int:
    """The step of the newest checkpoint, -1 before the first one."""
    return max((int(file.stem.partition("-")[2]) for file in out.glob("checkpoints/step-*.ckpt")), default=-1)


def outcome_of(out: Path) -> dict[str, np.ndarray]:
    """Everything that a run leaves behind, except for times, by name."""
    saved = checkpoint.newest(out / "checkpoints")
    assert saved is not None  # a finished run keeps its last checkpoint
    arrays, _ = saved
    with (out / "history.csv").open() as file:
        for row in csv.DictReader(file):
            row.pop("time")
            arrays[f"row {row['epoch']} of history.csv"] = np.array(list(row.values()))
    # The raw bytes: to build the model would start the framework in this process.
    arrays["model.keras"] = np.frombuffer(_weights(out / "model.keras"), np.uint8)
    return arrays


def _weights(file: Path) -> bytes:
    """The names and values of all weights in a .keras file."""
    values = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            values[name] = item[()]

    with zipfile.ZipFile(file) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as weights:
        weights.visititems(collect)
    return b"".join(name.encode() + np.ascontiguousarray(values[name]).tobytes() for name in sorted(values))


def compare(expected: dict[str, np.ndarray], outcome: dict[str, np.ndarray], out: Path) -> None:
    """Raises a `DataError` unless the run in `out`, with this `outcome_of`, ended as the uninterrupted one."""
    different = [name for name in expected | outcome if not _equal(expected.get(name), outcome.get(name))]
    if different:
        raise DataError(
            f"{out}: {len(different)} of {len(expected)} differ from the uninterrupted run: {different[:4]}"
        )


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)

"""Shows on this machine that a run that was killed, and killed again, ends as one that was not: to the bit."""

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
import matplotlib  # noqa: F401, with the next it takes a second to import, which the forks need not spend
import numpy as np
import tensorboard.summary.writer.event_file_writer  # noqa: F401

from visionkit.checks.selftest_recipe import recipe
from visionkit.train import checkpoint
from visionkit.train.options import Options
from visionkit.train.run import resume, run
from visionkit.types import DataError


def selftest_resume(folder: Path, kills: int = 20, workers: int = 0, seed: int = 0) -> str:
    """Trains `selftest_recipe` once without and then with interruptions: SIGKILL at random moments in mid-epoch.

    Every start is a process of its own. It is forked off this one, which has imported the framework, but must not have
    computed anything with it.

    Args:
        folder: for the runs; empty.
        kills: how many. A run takes some of them; as many runs are made as it takes.
        workers: see `Options`.
        seed: of the moments.

    Returns:
        One line that says what was seen.

    Raises:
        DataError: a run that was killed did not end as the other one; says in what.
    """
    rng, options = np.random.default_rng(seed), Options(workers=workers, checkpoint_steps=3)
    whole = folder / "whole"
    _finish(_fork(partial(run, recipe, {}, whole, options=options), folder), folder)
    expected, places, runs = _outcome(whole), [], 0
    with (whole / "history.csv").open() as file:
        times = [float(row["time"]) for row in csv.DictReader(file)]
    epoch_seconds = statistics.median(np.diff(times))

    while len(places) < kills:
        out, runs = folder / f"killed{runs}", runs + 1
        start = partial(run, recipe, {}, out, options=options)
        while not (out / "results.json").exists():
            before, pid = _newest(out), _fork(start, folder)
            start = partial(resume, out)
            if len(places) == kills:
                _finish(pid, folder)
                break
            while _newest(out) == before and not _ended(pid):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, epoch_seconds))
            if _ended(pid):
                _finish(pid, folder)
                break
            os.killpg(pid, signal.SIGKILL)  # with its workers
            os.waitpid(pid, 0)
            if (out / "results.json").exists():
                break  # it was as good as over
            places.append(_newest(out))
        _compare(expected, _outcome(out), out)
    backend = keras.backend.backend()
    return (
        f"{backend}, {workers} workers: {kills} kills in {runs} runs, last checkpoints before them {places}: weights, "
        "optimizer, averages, seeds, best model and history equal those of the uninterrupted run to the bit"
    )


def _fork(work: Callable, folder: Path) -> int:
    """Runs `work()` in a process of its own, the head of a group; what it prints goes to the end of `folder`/log."""
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


def _ended(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _finish(pid, folder):
    if os.waitpid(pid, 0)[1]:
        last = (folder / "log").read_text().strip().splitlines()[-1:]
        raise DataError(f"a run of the self-test failed: {' '.join(last)} (all it said: {folder / 'log'})")


def _newest(out):
    """The step of the newest checkpoint, -1 before the first."""
    return max((int(file.stem.partition("-")[2]) for file in out.glob("checkpoints/step-*.ckpt")), default=-1)


def _outcome(out) -> dict[str, np.ndarray]:
    """All that a run leaves behind and that is not a time, by name."""
    arrays, _ = checkpoint.newest(out / "checkpoints")
    with (out / "history.csv").open() as file:
        for row in csv.DictReader(file):
            row.pop("time")
            arrays[f"row {row['epoch']} of history.csv"] = np.array(list(row.values()))
    # Read as it lies there: a model that is built would start the framework in this process.
    arrays["model.keras"] = np.frombuffer(_weights(out / "model.keras"), np.uint8)
    return arrays


def _weights(file):
    with zipfile.ZipFile(file) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as weights:
        found = []
        weights.visititems(lambda name, item: found.append((name, item[()])) if hasattr(item, "dtype") else None)
    return b"".join(name.encode() + np.ascontiguousarray(value).tobytes() for name, value in sorted(found))


def _compare(expected, found, out):
    different = [
        name
        for name in expected | found
        if name not in expected
        or name not in found
        or expected[name].dtype != found[name].dtype
        or not np.array_equal(expected[name], found[name])
    ]
    if different:
        raise DataError(
            f"{out}: {len(different)} of {len(expected)} differ from the uninterrupted run: {different[:4]}"
        )

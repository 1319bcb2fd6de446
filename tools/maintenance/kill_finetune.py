"""Kills `visionkit finetune` of a detector again and again, and compares it with an uninterrupted run, to the bit.

python tools/maintenance/kill_finetune.py FOLDER [--backend jax] [--kills 20] [--workers 2] [--seed 0]

The data are drawn shapes, the detector is SSD on EfficientNet-Lite0, and every start is a command of its own. Half of
the kills come at a moment between the start and the first new checkpoint, wherever that finds the process, and half
after one to three new checkpoints. A test with fewer kills and a smaller model is `visionkit selftest resume`.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from visionkit.checks.selftest import compare, outcome_of
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.types import DataError

LONGEST = 1200  # seconds that a start may take to reach a checkpoint


def newest(out: Path) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    steps = [int(file.stem.partition("-")[2]) for file in out.glob("checkpoints/step-*.ckpt")]
    return max(steps, default=0)


class Runs:
    """The commands, and the environment that they run in."""

    def __init__(self, folder: Path, backend: str, workers: int, epochs: int):
        self.folder = folder
        self.options = f"--epochs {epochs} --image-size 64 --batch-size 8 --checkpoint-steps 1 --seed 3".split()
        self.options += ["--workers", str(workers)]
        self.environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        # Every start would compile the same programs again, which on JAX takes most of its time.
        self.environment |= {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        self.environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def start(self, out: Path) -> subprocess.Popen:
        """Starts the run in `out`, or continues it, in a process group of its own: a kill ends its workers too."""
        if (out / "resume.json").is_file():
            words = ["--resume", str(out)]
        else:
            shutil.rmtree(out, ignore_errors=True)  # killed before there was anything to continue
            words = [str(self.folder / "data"), "--out", str(out), *self.options]
        command = [sys.executable, "-m", "visionkit", "finetune", *words]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )

    def finish(self, out: Path) -> None:
        """Runs it to the end."""
        if self.start(out).wait():
            raise DataError(f"{out}: finetune failed; {self.folder / 'log'} has its output")


def kill(runs: Runs, out: Path, draw: random.Random, seconds: float) -> int | None:
    """Starts the run and kills it at a random moment; the newest checkpoint's step, or None if it ended before that.

    Args:
        runs: the commands.
        out: the run folder.
        draw: where the moments come from.
        seconds: about what a start takes to reach a checkpoint.
    """
    before, begun = newest(out), time.monotonic()
    checkpoints = draw.choice([0, 0, 0, 1, 2, 3])
    delay = draw.uniform(0, 1.2 * seconds if checkpoints == 0 else 1.0)
    process = runs.start(out)
    while checkpoints and newest(out) < before + checkpoints and process.poll() is None:
        if time.monotonic() - begun > LONGEST:
            os.killpg(process.pid, signal.SIGKILL)
            raise DataError(f"{out}: no checkpoint in {LONGEST} s; {runs.folder / 'log'} has the output")
        time.sleep(0.002)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None if (out / "results.json").exists() else newest(out)  # the training had ended, and only printed
    if process.returncode:
        raise DataError(f"{out}: finetune failed; {runs.folder / 'log'} has its output")
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills a fine-tuning and compares it with an uninterrupted one.")
    parser.add_argument("folder", type=Path, help="for the data and the runs; new")
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=8, help="of 8 steps; a checkpoint after each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    for split, count in (("train", 64), ("val", 8)):
        write_coco(shapes(count, (64, 64), split=split), folder / "data", split)
    runs, draw = Runs(folder, options.backend, options.workers, options.epochs), random.Random(options.seed)

    runs.finish(folder / "whole")
    expected, begun = outcome_of(folder / "whole"), time.monotonic()
    process = runs.start(folder / "killed0")  # the first life, whose beginning is timed
    while not newest(folder / "killed0"):
        if process.poll() is not None:
            raise DataError(f"{folder / 'killed0'}: ended before its first checkpoint; see {folder / 'log'}")
        time.sleep(0.002)
    seconds = time.monotonic() - begun
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    places, number = [newest(folder / "killed0")], 0
    while len(places) < options.kills:
        out = folder / f"killed{number}"
        place = kill(runs, out, draw, seconds)
        if place is not None:
            places.append(place)
            print(f"kill {len(places)}: after step {place} of run {number}", flush=True)
        else:
            compare(expected, outcome_of(out), out)
            number += 1
    runs.finish(folder / f"killed{number}")
    compare(expected, outcome_of(folder / f"killed{number}"), folder / f"killed{number}")
    print(
        f"{options.backend}, {options.workers} workers: {len(places)} kills in {number + 1} runs, last checkpoints "
        f"before them {places}: {len(expected)} arrays (weights, optimizer, averages, seeds, history, best model) "
        "equal those of the uninterrupted run to the bit"
    )


if __name__ == "__main__":
    main()

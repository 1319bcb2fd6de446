"""Finds the largest batch that fits into memory, in a child process, so that running out of memory kills nothing else.

`python -m visionkit.checks.largest_batch FOLDER LIMIT` is that process.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from visionkit.environment import free_memory, peak_memory
from visionkit.files import write_json
from visionkit.processes import run_python
from visionkit.train.options import Options, Precision
from visionkit.train.resume import read_started, recipe_of, write_started
from visionkit.types import DataError

LARGEST = 64  # with larger batches an epoch has too few steps to learn much
SHARE = 0.8  # of the free memory may be used
_FITS = "fits:"  # the child prints this, the batch size and the peak memory in bytes


def largest_batch(
    recipe_function: Callable, knobs: dict, recipe_file: Path | None = None, precision: Precision = "float32"
) -> int:
    """The largest batch of 1, 2, 4, ... images that fits, by two steps of the recipe's last phase with each.

    Args:
        recipe_function: has a knob `batch_size`; it, `knobs` and `recipe_file` are as for `run`.
        precision: see `Options`.

    Raises:
        DataError: not even one image fits, or the recipe fails; says how.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if recipe_file:
            shutil.copy(recipe_file, folder / "recipe.py")
        write_json(folder / "knobs.json", knobs | {"batch_size": 1})
        write_started(folder, recipe_function, "", Options(precision=precision))
        ended = run_python(["-m", __name__, name, str(int(SHARE * free_memory()))])
    fitting = [line.removeprefix(_FITS).split() for line in ended.output.splitlines() if line.startswith(_FITS)]
    if not fitting:
        raise DataError(
            f"batch size: not even one image could be trained on; the trial said: {ended.failure or 'nothing'}"
        )
    size, peak = fitting[-1]
    print(f"batch size: {size} is the largest power of two up to {LARGEST} that fits ({int(peak) / 2**30:.1f} GiB)")
    return int(size)


def next_fits(peaks: list[int], limit: int) -> bool:
    """Whether a batch of twice the size is expected to stay below `limit` bytes.

    Memory grows linearly: if n more images took so much, 2 n more will take twice as much.

    Args:
        peaks: memory in bytes with 1, 2, 4, ... images.
    """
    return len(peaks) < 2 or peaks[-1] + 2 * (peaks[-1] - peaks[-2]) <= limit


def _try(folder: Path, limit: int) -> None:
    """The child process: prints a line for each size that fits."""
    import keras

    from visionkit.train.devices import Devices
    from visionkit.train.recipe import build_recipe

    started = read_started(folder)
    recipe_function, knobs = recipe_of(folder, started, trust=True)  # the parent process has just written it
    recipe = build_recipe(recipe_function, knobs, started.options.precision)
    model = recipe.model
    phase = recipe.phases[-1]
    Devices().prepare(model)  # as the run does
    phase.prepare()
    model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
    size = 1
    peaks = []
    while size <= min(LARGEST, len(recipe.train)) and next_fits(peaks, limit):
        images, targets = next(iter(recipe.feed(phase, batch_size=size)))
        for _ in range(2):
            model.train_on_batch(images, targets)
        peaks.append(peak_memory())
        if peaks[-1] > limit:
            break
        print(_FITS, size, peaks[-1], flush=True)
        size *= 2


if __name__ == "__main__":
    _try(Path(sys.argv[1]), int(sys.argv[2]))

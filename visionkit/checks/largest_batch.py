"""The largest batch that fits into memory, found in a process of its own, so that finding the limit kills nothing else.

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
from visionkit.train.options import Options
from visionkit.train.resume import read_started, recipe_of, write_started
from visionkit.types import DataError

LARGEST = 64  # beyond it an epoch has too few steps to learn by
SHARE = 0.8  # of the free memory may be used
_FITS = "fits:"  # begins a line of the child's


def largest_batch(recipe: Callable, knobs: dict, recipe_file: Path | None = None, precision: str = "float32") -> int:
    """Trains two steps each with 1, 2, 4, ... images, as the recipe's last phase does, and gives the largest that fits.

    Args:
        recipe: has a knob `batch_size`; it and `knobs` as for `run`.

    Raises:
        DataError: not even one image does, or the recipe fails; says how.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if recipe_file:
            shutil.copy(recipe_file, folder / "recipe.py")
        write_json(folder / "knobs.json", knobs | {"batch_size": 1})
        write_started(folder, recipe, "", Options(precision=precision))
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
    """Whether twice the batch will stay below `limit` bytes, by the peaks at 1, 2, 4, ... images so far.

    What n images more cost, 2 n images more cost twice.
    """
    return len(peaks) < 2 or peaks[-1] + 2 * (peaks[-1] - peaks[-2]) <= limit


def _try(folder: Path, limit: int):
    import keras

    from visionkit.data.batches import batches
    from visionkit.train.recipe import planned

    started = read_started(folder)
    recipe, knobs = recipe_of(folder, started)
    plan = planned(recipe, knobs, started.options.precision)
    model, phase = plan.model, plan.phases[-1]
    phase.prepare()
    model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
    size, peaks = 1, []
    while size <= min(LARGEST, len(plan.train)) and next_fits(peaks, limit):
        options = {"task": model.task, "mix": plan.mix, "channels": model.channels, "max_objects": plan.max_objects}
        images, targets = next(iter(batches(plan.train, plan.transform_in(phase), size, **options)))
        for _ in range(2):
            model.train_on_batch(images, targets)
        peaks.append(peak_memory())
        if peaks[-1] > limit:
            break
        print(_FITS, size, peaks[-1], flush=True)
        size *= 2


if __name__ == "__main__":
    _try(Path(sys.argv[1]), int(sys.argv[2]))

"""What the experiments share: a folder of runs in which an interrupted one continues, and statistics of many runs."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from visionkit.evaluate.scores import MONITOR
from visionkit.files import LOCK, as_json, locked, sha256_of, write_json
from visionkit.train.options import Options
from visionkit.train.precision import settled
from visionkit.train.recipe import Recipe
from visionkit.train.resume import recipe_name
from visionkit.train.run import resume, run
from visionkit.types import DataError

FILE = "experiment.json"
DRAWS = 10_000  # of the bootstrap


def begin(out: Path, recipe_function: Callable, recipe_file: Path | None, settings: dict) -> None:
    """Makes the folder of an experiment, or checks that an existing one was made with the same recipe and settings.

    Args:
        recipe_file: is copied to `out`/recipe.py.
        settings: everything that decides what the experiment does, besides the recipe; as JSON it goes into
            experiment.json.

    Raises:
        DataError: `out` holds something else.
    """
    sha256 = sha256_of(recipe_file) if recipe_file else ""
    name = recipe_file.name if recipe_file else recipe_name(recipe_function)
    settings = as_json({"recipe": name, "sha256": sha256} | settings)
    if (out / FILE).is_file():
        before = json.loads((out / FILE).read_text())
        for key in before | settings:
            if before.get(key) != settings.get(key):
                raise DataError(
                    f"{out}: holds an experiment with another {key}, {before.get(key)!r} and not "
                    f"{settings.get(key)!r}; name another folder with --out, or remove this one"
                )
        if recipe_file and sha256_of(out / "recipe.py") != sha256:  # it is executed again by the runs
            raise DataError(f"{out / 'recipe.py'}: is not the copy of {recipe_file} that it should be; put it back")
        return
    if out.exists() and any(file.name != LOCK for file in out.iterdir()):
        raise DataError(f"{out}: expected a new or empty folder, or the folder of this experiment")
    out.mkdir(parents=True, exist_ok=True)
    if recipe_file:
        shutil.copy(recipe_file, out / "recipe.py")
    write_json(out / FILE, settings)


def settle(options: Options, recipe_function: Callable[..., Recipe], knobs: dict, out: Path) -> Options:
    """`options` with a precision in place of "auto": that of the experiment in `out`, or else see `settled`."""
    if options.precision == "auto" and (out / FILE).is_file():
        before = json.loads((out / FILE).read_text()).get("precision", "auto")
        options = replace(options, precision=before)
        print(f"precision: {before}, with which this experiment began (--precision auto)")
    return settled(options, recipe_function, knobs)


def finish(
    recipe_function: Callable[..., Recipe],
    knobs: dict,
    out: Path,
    recipe_file: Path | None,
    options: Options,
    watch: Callable[[list[dict]], bool] | None = None,
) -> dict:
    """The results of the run in `out`, which is started or resumed if it has not finished; arguments as for `run`."""
    if (out / "results.json").is_file():
        return json.loads((out / "results.json").read_text())
    if (out / "resume.json").is_file():
        # With the caller's recipe and knobs: what the folder names could be anybody's.
        return as_json(resume(out, watch, (recipe_function, knobs)))
    if out.exists():
        with locked(out):
            shutil.rmtree(out)  # it was interrupted before resume.json was written
    return as_json(run(recipe_function, knobs, out, recipe_file, options, watch))


def metric_of(scores: dict, out: Path) -> str:
    """The name of the score that decides, in the results of `run` or `evaluate` for the run in `out`.

    Raises:
        DataError: there is none.
    """
    for name in dict.fromkeys(MONITOR.values()):
        if name in scores:
            return name
    raise DataError(f"{out}: has no score; its recipe has no validation images, or they hold no objects")


def summary(values: Sequence[float], seed: int = 0) -> dict:
    """`mean`, `std` (dividing by n - 1), `min`, `max`, and the ends `low` and `high` of a 95 % interval of the mean.

    The interval is the bootstrap's: percentiles of the means of 10,000 resamples with replacement (Efron 1979). With
    fewer than about ten values it is too narrow: with five it holds the true mean in about 84 of 100 cases, not 95.
    """
    array = np.asarray(values, np.float64)
    means = np.random.default_rng(seed).choice(array, (DRAWS, len(array))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    figures = {
        "mean": array.mean(),
        "std": array.std(ddof=1) if len(array) > 1 else 0.0,
        "min": array.min(),
        "max": array.max(),
        "low": low,
        "high": high,
    }
    return {key: round(float(value), 6) for key, value in figures.items()}

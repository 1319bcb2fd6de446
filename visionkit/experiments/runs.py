"""What the experiments share: a folder of runs that a stopped one finds again, and the figures of many runs."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from visionkit.evaluate.scores import MONITOR
from visionkit.files import as_json, write_json
from visionkit.train.options import Options
from visionkit.train.resume import recipe_name
from visionkit.train.run import resume, run
from visionkit.types import DataError

FILE = "experiment.json"
DRAWS = 10_000  # of a bootstrap


def begin(out: Path, recipe: Callable, recipe_file: Path | None, said: dict) -> None:
    """Makes the folder of an experiment, or makes sure that the one that is there was begun with the same command.

    Args:
        recipe_file: is copied to `out`/recipe.py.
        said: all that decides what the experiment does, besides the recipe.

    Raises:
        DataError: `out` holds something else.
    """
    sha256 = hashlib.sha256(recipe_file.read_bytes()).hexdigest() if recipe_file else ""
    said = as_json({"recipe": recipe_file.name if recipe_file else recipe_name(recipe), "sha256": sha256} | said)
    if (out / FILE).is_file():
        before = json.loads((out / FILE).read_text())
        if changed := [key for key in before | said if before.get(key) != said.get(key)]:
            key = changed[0]
            raise DataError(
                f"{out}: holds an experiment with another {key}, {before.get(key)!r} and not {said.get(key)!r}; name "
                "another folder with --out, or remove this one"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: expected a new or empty folder, or that of this experiment")
    out.mkdir(parents=True, exist_ok=True)
    if recipe_file:
        shutil.copy(recipe_file, out / "recipe.py")
    write_json(out / FILE, said)


def finish(
    recipe: Callable,
    knobs: dict,
    out: Path,
    recipe_file: Path | None,
    options: Options,
    watch: Callable[[list[dict]], bool] | None = None,
) -> dict:
    """The results of the run in `out`: of one that has finished as they are, else it is begun or resumed first."""
    if (out / "results.json").is_file():
        return json.loads((out / "results.json").read_text())
    if (out / "resume.json").is_file():
        return as_json(resume(out, watch))
    if out.exists():
        shutil.rmtree(out)  # it was stopped before its first file was whole
    return as_json(run(recipe, knobs, out, recipe_file, options, watch))


def metric_of(scores: dict, out: Path) -> str:
    """The name of the score that decides, in what `run` or `evaluate` gave for the run in `out`.

    Raises:
        DataError: there is none.
    """
    for name in dict.fromkeys(MONITOR.values()):
        if name in scores:
            return name
    raise DataError(f"{out}: has no score; its recipe has no validation images, or there is nothing to find in them")


def summary(values: Sequence[float], seed: int = 0) -> dict:
    """`mean`, `std` (n - 1 below the line), `min`, `max`, and `low` and `high` of the mean's 95 % bootstrap interval.

    The interval is that of the percentiles of the means of 10,000 draws with replacement (Efron 1979). From fewer than
    some ten values it comes out too narrow: of five it holds the true mean in about 84 of 100 cases instead of 95.
    """
    values = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    figures = {"mean": values.mean(), "std": values.std(ddof=1) if len(values) > 1 else 0.0}
    figures |= {"min": values.min(), "max": values.max(), "low": low, "high": high}
    return {key: round(float(value), 6) for key, value in figures.items()}

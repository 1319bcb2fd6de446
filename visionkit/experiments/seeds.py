"""The same training with different seeds: how much of a score is luck."""

import json
from collections.abc import Callable
from pathlib import Path

from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import evaluate, numbers
from visionkit.experiments.runs import begin, finish, metric_of, settle, summary
from visionkit.files import as_json, write_json
from visionkit.open_model import open_predictor
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe
from visionkit.train.resume import fingerprint
from visionkit.types import DataError


def seeds(
    recipe_function: Callable[..., Recipe],
    knobs: dict,
    count: int,
    out: Path,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
    test: Dataset | None = None,
) -> dict:
    """Trains `recipe_function(**knobs)` with `count` seeds, from its knob `seed` on, in the run folders `out`/seed-N.

    If it is interrupted, the same arguments continue it.

    Args:
        count: at least 2.
        test: the data that the models are scored on; by default the recipe's own validation images, with the score of
            each run's best epoch.

    Returns:
        What it writes to `out`/seeds.json: `metric`, its name; `rows`, a dict with seed, score and seconds for each
        run; and `summary` of the scores.

    Raises:
        DataError: the recipe has no knob `seed`, or no validation images while `test` is None; or see `begin`.
    """
    if "seed" not in knobs:
        raise DataError("the recipe has no knob seed")
    if count < 2:
        raise DataError(f"--count {count}: expected at least 2 seeds")
    if test is None and recipe_function(**knobs).val is None:
        raise DataError("the recipe has no validation images to score with; name labelled data with --test-data")
    options = settle(options, recipe_function, knobs, out)
    scored_on = None if test is None else f"{test.source}, SHA-256 {fingerprint(test)}"
    settings = {"verb": "seeds", "knobs": knobs, "precision": options.precision, "test": scored_on}
    begin(out, recipe_function, recipe_file, settings)
    rows = []
    for seed in range(knobs["seed"], knobs["seed"] + count):
        folder = out / f"seed-{seed}"
        results = finish(recipe_function, knobs | {"seed": seed}, folder, recipe_file, options)
        scores = results if test is None else _tested(folder, test)
        metric = metric_of(scores, folder)
        rows.append({"seed": seed, metric: scores[metric], "seconds": results["seconds"]})
    experiment = {"metric": metric, "rows": rows, "summary": summary([row[metric] for row in rows])}
    write_json(out / "seeds.json", experiment)
    return experiment


def _tested(folder: Path, test: Dataset) -> dict:
    """The scores of the run in `folder` on `test`, from its test.json if they are there already."""
    file = folder / "test.json"
    if not file.is_file():
        write_json(file, as_json(numbers(evaluate(open_predictor(folder), test, intervals=False))))
    return json.loads(file.read_text())

"""A search for good knobs: at random first, then near the best ones so far; runs that fall behind are stopped.

The knobs are drawn by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24), and runs are
stopped by its median rule (Golovin et al. 2017, Google Vizier, section 3.2.2). Each draw depends only on search.json
and the seed, so an interrupted search continues as if it had not been interrupted. Several processes that share one
search are in `together`.
"""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from visionkit.evaluate.learning_curves import read_history
from visionkit.evaluate.scores import MONITOR
from visionkit.experiments.folds import held_out, held_out_knobs
from visionkit.experiments.runs import begin, finish, settle
from visionkit.files import write_json
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe
from visionkit.types import DataError

RANDOM = 6  # this many trials at the start are drawn at random, and none of them is stopped
HELD_OUT = 5  # if a recipe has no validation images, one of this many folds of its training images takes their place
DONE, BEHIND, FAILED = "finished", "stopped: behind the others", "failed: the loss was no longer a number"


def read_space(text: str) -> dict[str, Any]:
    """The knobs to search, as Optuna's distributions by name, from text like `lr=1e-4..1e-1:log,batch_size=8|16|32`.

    `a..b` is a range of numbers, integers if both ends are; `:log` draws their logarithm uniformly; `a|b|c` are
    choices, which stay text.

    Raises:
        DataError: a part has none of these forms or a name comes twice, or Optuna is not installed.
    """
    distributions = open_optuna().distributions
    space = {}
    for part in text.split(","):
        name, equals, values = part.strip().partition("=")
        name = name.strip().replace("-", "_")
        try:
            if not (name and equals) or name in space:
                raise ValueError
            space[name] = _distribution(distributions, values)
        except ValueError:
            raise DataError(
                f"--space: expected knobs such as lr=1e-4..1e-1:log or batch_size=8|16|32, each once; found {part!r}"
            ) from None
    return space


def _distribution(distributions: Any, text: str) -> Any:
    """The one of Optuna's `distributions` that `text` describes, see `read_space`; `ValueError` if there is none."""
    if "|" in text:
        return distributions.CategoricalDistribution(text.split("|"))
    ends, _, scale = text.partition(":")
    low, high = ends.split("..")
    if scale not in ("", "log"):
        raise ValueError
    log = scale == "log"
    if low.strip().isdigit() and high.strip().isdigit():
        distribution = distributions.IntDistribution(int(low), int(high), log=log)
    else:
        distribution = distributions.FloatDistribution(float(low), float(high), log=log)
    if not distribution.low < distribution.high:
        raise ValueError
    return distribution


def ends(space: dict[str, Any]) -> list[dict[str, str]]:
    """Values of all knobs, as text, such that each choice and each end of a range occurs at least once."""
    columns = {
        name: list(kind.choices) if hasattr(kind, "choices") else [_text(kind.low), _text(kind.high)]
        for name, kind in space.items()
    }
    most = max(map(len, columns.values()))
    return [{name: column[min(i, len(column) - 1)] for name, column in columns.items()} for i in range(most)]


def search(
    recipe_function: Callable[..., Recipe],
    knobs_with: Callable[[dict[str, str]], dict],
    space: str,
    trials: int,
    out: Path,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> dict:
    """Trains a recipe with `trials` choices of knobs, in the run folders `out`/trial-N.

    The score on the recipe's validation images decides; if it has none, the score on a fifth of its training images,
    which is held out. If the search is interrupted, the same arguments continue it; with more trials, it continues
    from there.

    Args:
        knobs_with: returns all knobs of the recipe, with the given ones, each as text by its name, among them; raises
            if one of them is invalid.
        space: see `read_space`.
        seed: of the draws.

    Returns:
        What it writes to `out`/search.json: `metric`, its name; `trials`, a list of dicts with number, values, state,
        score (of the best epoch), scores (by epoch) and seconds; and `best`, the one with the best score.

    Raises:
        DataError: see `read_space` and `begin`; or no trial has a score.
    """
    kinds, metric, settings, train = plan(recipe_function, knobs_with, space, out, recipe_file, options)
    begin(out, recipe_function, recipe_file, settings | {"seed": seed})
    file = out / "search.json"
    rows = json.loads(file.read_text())["trials"] if file.is_file() else []
    for number in range(trials):
        if number < len(rows) and "state" in rows[number]:
            continue
        unfinished = rows.pop() if number < len(rows) else None
        trial = _ask(kinds, rows, seed, unfinished)
        row = {"number": number, "values": as_text(trial.params), "scores": {}}
        write_json(file, {"metric": metric, "trials": [*rows, row]})
        print(f"trial {number + 1} of {trials}: {in_one_line(row['values'])}")
        chosen = knobs_with(row["values"])
        carry_out(train, chosen, out / f"trial-{number}", Watch(trial, row, metric), first=not rows)
        rows.append(row)
        write_json(file, {"metric": metric, "trials": rows})
    return table(metric, rows, out)


class Plan(NamedTuple):
    """A search: Optuna's distributions by knob, the score's name, what it depends on, and what trains a trial.

    `train(knobs, folder, watch)` begins or continues the run in `folder` and returns its results.
    """

    kinds: dict[str, Any]
    metric: str
    settings: dict
    train: Callable[..., dict]


def plan(
    recipe_function: Callable[..., Recipe],
    knobs_with: Callable[[dict[str, str]], dict],
    space: str,
    out: Path,
    recipe_file: Path | None,
    options: Options,
) -> Plan:
    """What `search` does with the same arguments, once all ends of the space have been tried; nothing is written."""
    kinds = read_space(space)
    knobs, recipe = _try_ends(recipe_function, knobs_with, kinds)
    options = settle(options, recipe_function, knobs, out)
    fixed = {name: value for name, value in knobs.items() if name not in kinds}
    kept = out / "recipe.py" if recipe_file else None

    def train(knobs: dict, folder: Path, watch: Callable[[list[dict]], bool]) -> dict:
        if recipe.val is not None:
            return finish(recipe_function, knobs, folder, recipe_file, options, watch)
        knobs = held_out_knobs(recipe_function, kept, knobs, HELD_OUT, 0, last=False)
        return finish(held_out, knobs, folder, None, options, watch)

    settings = {"verb": "search", "knobs": fixed, "space": space, "precision": options.precision}
    return Plan(kinds, MONITOR[recipe.model.task], settings, train)


def table(metric: str, rows: list[dict], out: Path) -> dict:
    """Writes search.json of the trials, all of which have ended, and returns its content; see `search`."""
    scored = [row for row in rows if "score" in row]
    if not scored:
        raise DataError(f"{out}: no trial has a score; see why in {out / 'trial-0' / 'crash'}")
    experiment = {"metric": metric, "trials": rows, "best": max(scored, key=lambda row: row["score"])}
    write_json(out / "search.json", experiment)
    return experiment


def _try_ends(
    recipe_function: Callable[..., Recipe], knobs_with: Callable[[dict[str, str]], dict], kinds: dict[str, Any]
) -> tuple[dict, Recipe]:
    """Builds the recipe with the ends of all ranges, so that an invalid one raises now; the last (knobs, recipe)."""
    knobs: dict = {}
    recipe = None
    with contextlib.redirect_stdout(io.StringIO()):  # recipes print what they will train, but nothing is trained yet
        for values in ends(kinds):
            knobs = knobs_with(values)
            recipe = recipe_function(**knobs)
    assert recipe is not None
    return knobs, recipe


class Watch:
    """The `watch` of a trial's run: passes its scores on, and stops it when it has fallen behind.

    Args:
        trial: Optuna's.
        row: the trial's in search.json; its scores are filled in.
        metric: the name of the score.
    """

    def __init__(self, trial: Any, row: dict, metric: str):
        self.trial = trial
        self.row = row
        self.metric = metric
        self.behind = False

    def __call__(self, history: Sequence[Mapping]) -> bool:
        for line in history:
            epoch, score = int(line["epoch"]), line.get(f"val_{self.metric}")
            if score is not None and str(epoch) not in self.row["scores"]:
                self.row["scores"][str(epoch)] = score
                self.trial.report(score, epoch)
                self.behind = self.trial.should_prune()
        return self.behind


def carry_out(train: Callable[..., dict], knobs: dict, folder: Path, watch: Watch, first: bool) -> None:
    """Trains a trial and adds its state, score and seconds to its row.

    Args:
        first: what fails in the first trial is wrong with all of them, and is raised.
    """
    metric = watch.metric
    try:
        results = train(knobs, folder, watch)
        watch(read_history(folder))  # the run may have ended before the search was interrupted
        if metric not in results:
            raise DataError(f"{folder}: has no {metric}; the images it is scored on hold no objects")
        state = BEHIND if watch.behind else DONE
        watch.row.update(state=state, score=results[metric], seconds=results["seconds"])
    except Exception as error:
        diverged = isinstance(error, DataError) and (folder / "crash").exists()
        if not diverged and (isinstance(error, DataError) or first):
            raise
        print(f"failed: {next(iter(str(error).splitlines()), type(error).__name__)}")  # such as out of memory
        watch.row["state"] = FAILED


def _ask(kinds: dict[str, Any], rows: list[dict], seed: int, unfinished: dict | None) -> Any:
    """Optuna's next trial after `rows`, or the unfinished one again."""
    optuna = open_optuna()
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM, seed=seed * 10_007 + len(rows)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=RANDOM),
    )
    states = {DONE: optuna.trial.TrialState.COMPLETE}
    for row in rows:
        study.add_trial(
            optuna.trial.create_trial(
                state=states.get(row["state"], optuna.trial.TrialState.PRUNED),
                params={name: _value(kinds[name], text) for name, text in row["values"].items()},
                distributions=kinds,
                value=row.get("score"),
                intermediate_values={int(epoch): score for epoch, score in row["scores"].items()},
            )
        )
    if unfinished:
        study.enqueue_trial({name: _value(kinds[name], text) for name, text in unfinished["values"].items()})
    return study.ask(kinds)  # the trial keeps a reference to the study


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(kind: Any, text: str) -> Any:
    """The value that was drawn, as precise as its text is; never outside the range."""
    if hasattr(kind, "choices"):
        return text
    return min(max(type(kind.low)(text), kind.low), kind.high)


def as_text(values: dict[str, Any]) -> dict[str, str]:
    """Values of knobs as search.json has them, and as the command line takes them."""
    return {name: _text(value) for name, value in values.items()}


def in_one_line(values: dict[str, str]) -> str:
    """Names and values, to be printed."""
    return "  ".join(f"{name} {text}" for name, text in values.items())


def open_optuna() -> Any:
    """The module Optuna, which says less than usual; `DataError` where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise DataError(
            "search needs Optuna, which comes with visionkit's extra search: pip install 'keras-visionkit[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna

"""A search for good knobs: at random first, then where the best ones were; runs that fall behind are stopped.

The drawing is Optuna's tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24) and the stopping its median
rule (Golovin et al. 2017, Google Vizier, section 3.2.2). search.json is all that a search remembers, and each draw
follows from it and the seed alone, so a search that was stopped goes on as one that was not.
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

from visionkit.evaluate.learning_curves import read_history
from visionkit.evaluate.scores import MONITOR
from visionkit.experiments.folds import held_out, held_out_knobs
from visionkit.experiments.runs import begin, finish
from visionkit.files import write_json
from visionkit.train.options import Options
from visionkit.types import DataError

RANDOM = 6  # the first so many trials are drawn at random, and none of them is stopped
HELD_OUT = 5  # where a recipe has no validation images, one of so many folds of its training images takes their place
DONE, BEHIND, FAILED = "finished", "stopped: behind the others", "failed: the loss was no longer a number"


def read_space(text: str) -> dict:
    """The knobs to be searched, Optuna's distributions by name, from such as `lr=1e-4..1e-1:log,batch_size=8|16|32`.

    `a..b` is a range of numbers, whole ones where both ends are; `:log` draws their logarithm evenly; `a|b|c` are
    choices, which stay text.

    Raises:
        DataError: a part that is none of these, or Optuna is not installed.
    """
    distributions = _optuna().distributions
    space = {}
    for part in text.split(","):
        name, equals, values = part.strip().partition("=")
        name = name.strip().replace("-", "_")
        try:
            if not (name and equals) or name in space:
                raise ValueError
            if "|" in values:
                space[name] = distributions.CategoricalDistribution(values.split("|"))
                continue
            ends, _, scale = values.partition(":")
            low, high = ends.split("..")
            if scale not in ("", "log"):
                raise ValueError
            whole = low.strip().isdigit() and high.strip().isdigit()
            kind, number = (distributions.IntDistribution, int) if whole else (distributions.FloatDistribution, float)
            space[name] = kind(number(low), number(high), log=scale == "log")
            if not number(low) < number(high):
                raise ValueError
        except ValueError:
            raise DataError(
                f"--space: expected knobs such as lr=1e-4..1e-1:log or batch_size=8|16|32, each once; found {part!r}"
            ) from None
    return space


def ends(space: dict) -> list[dict[str, str]]:
    """Values of all knobs, as text, such that each choice and each end of a range occurs in one."""
    columns = {
        name: list(kind.choices) if hasattr(kind, "choices") else [_text(kind.low), _text(kind.high)]
        for name, kind in space.items()
    }
    most = max(map(len, columns.values()))
    return [{name: column[min(i, len(column) - 1)] for name, column in columns.items()} for i in range(most)]


def search(
    recipe: Callable,
    knobs_with: Callable[[dict[str, str]], dict],
    space: str,
    trials: int,
    out: Path,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
    seed: int = 0,
) -> dict:
    """Trains `recipe` with `trials` choices of knobs, a run folder each, `out`/trial-N.

    What decides is the score on the recipe's validation images; of a recipe without them, on a fifth of its training
    images, which is held out. Stopped and begun again with the same arguments, it goes on where it was; with more
    trials, it goes on from there.

    Args:
        knobs_with: gives all knobs of the recipe, with these among them, a text each by name; raises where one is not
            right.
        space: see `read_space`.
        seed: of the draws.

    Returns:
        What it writes to `out`/search.json: `metric`, its name; `trials`, a list of dicts with number, values, state,
        score (of the best epoch), scores (by the epoch) and seconds; and `best`, the one with the best score.

    Raises:
        DataError: see `read_space` and `begin`; or no trial has a score.
    """
    kinds = read_space(space)
    with contextlib.redirect_stdout(io.StringIO()):  # recipes speak of the training, which this is not yet
        for values in ends(kinds):
            knobs = knobs_with(values)
            plan = recipe(**knobs)
    without = {name: value for name, value in knobs.items() if name not in kinds}
    said = {"verb": "search", "knobs": without, "space": space, "seed": seed, "precision": options.precision}
    begin(out, recipe, recipe_file, said)
    own, metric = plan.val is not None, MONITOR[plan.model.task]
    kept = out / "recipe.py" if recipe_file else None
    file = out / "search.json"
    rows = json.loads(file.read_text())["trials"] if file.is_file() else []
    for number in range(trials):
        if number < len(rows) and "state" in rows[number]:
            continue
        row = rows.pop() if number < len(rows) else None  # one that was stopped in its midst
        trial = _ask(kinds, rows, seed, row)
        row = {"number": number, "values": {name: _text(value) for name, value in trial.params.items()}, "scores": {}}
        write_json(file, {"metric": metric, "trials": [*rows, row]})
        print(f"trial {number + 1} of {trials}: {_said(row['values'])}")
        behind = False

        def watch(history, row=row, trial=trial):
            nonlocal behind
            for line in history:
                epoch, score = int(line["epoch"]), line.get(f"val_{metric}")
                if score is not None and str(epoch) not in row["scores"]:
                    row["scores"][str(epoch)] = score
                    trial.report(score, epoch)
                    behind = trial.should_prune()
            return behind

        chosen, folder = knobs_with(row["values"]), out / f"trial-{number}"
        try:
            if own:
                results = finish(recipe, chosen, folder, recipe_file, options, watch)
            else:
                settings = held_out_knobs(recipe, kept, chosen, HELD_OUT, 0, last=False)
                results = finish(held_out, settings, folder, None, options, watch)
            watch(read_history(folder))  # of a run that had ended when the search was stopped
            if metric not in results:
                raise DataError(f"{folder}: has no {metric}; the images it is scored on hold nothing to find")
            row |= {"state": BEHIND if behind else DONE, "score": results[metric], "seconds": results["seconds"]}
        except Exception as error:
            diverged = isinstance(error, DataError) and (folder / "crash").exists()
            if not diverged and (isinstance(error, DataError) or not rows):  # what is wrong with all of them
                raise
            print(f"failed: {next(iter(str(error).splitlines()), type(error).__name__)}")  # such as out of memory
            row |= {"state": FAILED}
        rows.append(row)
        write_json(file, {"metric": metric, "trials": rows})
    scored = [row for row in rows if "score" in row]
    if not scored:
        raise DataError(f"{out}: no trial has a score; see why in {out / 'trial-0' / 'crash'}")
    found = {"metric": metric, "trials": rows, "best": max(scored, key=lambda row: row["score"])}
    write_json(file, found)
    return found


def _ask(kinds, rows, seed, unfinished):
    """The next trial after `rows`, or the unfinished one again."""
    optuna = _optuna()
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
    return study.ask(kinds)  # which keeps the study


def _text(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(kind, text: str):
    """The value that was drawn, as near as its text says it; never outside the range."""
    if hasattr(kind, "choices"):
        return text
    return min(max(type(kind.low)(text), kind.low), kind.high)


def _said(values) -> str:
    return "  ".join(f"{name} {text}" for name, text in values.items())


def _optuna():
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise DataError("search needs Optuna, which comes with visionkit's extra search (README.md)") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna

"""The verbs that train a recipe many times, or try it out: lr_find, seeds, folds and search.

Each takes the recipe's knobs as options, as train does, and options of its own; `VERB RECIPE --help` lists both. Heavy
imports are inside the functions.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts

from visionkit.cli.knobs import parse_knobs
from visionkit.cli.runs import AsIs, RunOptions, open_recipe
from visionkit.train.options import Options
from visionkit.types import DataError


def _option(help: str) -> cyclopts.Parameter:
    return cyclopts.Parameter(help=help, group="The experiment")


_Out = Annotated[Path | None, _option("its folder; by default runs/RECIPE/VERB. The same command continues in it.")]
_Own = {"out": (_Out, None), "options": (RunOptions, Options())}


class _Parsed(NamedTuple):
    """A command line: the recipe's function, its knobs, the folder to write and the verb's other options."""

    function: Callable
    knobs: dict[str, Any]
    out: Path
    own: dict[str, Any]


def lr_find(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]) -> None:
    """Find a learning rate: raise it from step to step until the loss explodes, and draw the curve.

    visionkit lr_find RECIPE.py [knobs] [--low 1e-6] [--high 10] [--steps 100] [--phase 1] [--out FOLDER]

    Writes lr_find.png and lr_find.json into FOLDER, by default runs/RECIPE/lr_find. The trained weights are discarded.
    `visionkit lr_find RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    own = {
        "low": (Annotated[float, _option("the rate of the first step.")], 1e-6),
        "high": (Annotated[float, _option("the rate of the last step.")], 10.0),
        "steps": (Annotated[int, _option("from the lowest rate to the highest, each by the same factor.")], 100),
        "phase": (Annotated[int, _option("of a recipe with several phases, counted from 1.")], 1),
        "out": (Annotated[Path | None, _option("for both files; by default runs/RECIPE/lr_find.")], None),
    }
    parsed = _open("lr_find", recipe, knobs, own)
    if parsed is None:
        return
    from visionkit.experiments.lr_find import draw_lr_curve
    from visionkit.experiments.lr_find import lr_find as find
    from visionkit.files import write_json

    result = find(parsed.function, parsed.knobs, **parsed.own)
    parsed.out.mkdir(parents=True, exist_ok=True)
    draw_lr_curve(result, parsed.out / "lr_find.png")
    write_json(parsed.out / "lr_find.json", result)
    _print_suggestion(result, parsed)


def _print_suggestion(result: dict[str, Any], parsed: _Parsed) -> None:
    rates = result["rates"]
    print(f"curve: {parsed.out / 'lr_find.png'} ({len(rates)} steps, up to a rate of {rates[-1]:.2g})")
    if not result["suggestion"]:
        print("the loss did not fall at any rate: no suggestion; try --low, --high and more --steps")
        return
    steepest, decade = result["steepest"], result["decade_below_minimum"]
    print(f"loss falls fastest at {steepest:g}; a decade below its minimum is {decade:g}")
    print(f"suggestion: a highest rate of {result['suggestion']:g} ({result['rule'].replace('_', ' ')}, the lower one)")
    if result["knob"]:
        lr = parsed.knobs["lr"]
        print(f"which is --lr {result['knob']:g}; with --lr {lr:g} the highest rate is {result['peak']:.2g}")


def seeds(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]) -> None:
    """Train a recipe with several seeds; prints a table of the scores, their mean, spread and bootstrap interval.

    visionkit seeds RECIPE.py [knobs] [--count 5] [--test-data PATH [--test-split test]] [--out FOLDER]

    Each run is a run folder in FOLDER, by default runs/RECIPE/seeds; the same command continues after an interruption.
    `visionkit seeds RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    own = {
        "count": (Annotated[int, _option("how many seeds, beginning with the knob seed.")], 5),
        "test_data": (Annotated[Path | None, _option("score on this; by default on the recipe's own data.")], None),
        "test_split": (Annotated[str | None, _option("the part of it to score on.")], None),
    }
    parsed = _open("seeds", recipe, knobs, own | _Own)
    if parsed is None:
        return
    from visionkit.cli.reports import meaning_of_maps
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import class_ids
    from visionkit.experiments.seeds import seeds as repeat

    data, split = parsed.own.pop("test_data"), parsed.own.pop("test_split")
    if split and not data:
        raise DataError("--test-split is a part of --test-data, which is not given")
    test = None
    if data:
        model = parsed.function(**parsed.knobs).model
        test = open_dataset(data, split, model.task, **meaning_of_maps(parsed.knobs))
        class_ids(model, test)  # other classes are found now, and not after hours of training
    result = repeat(parsed.function, parsed.knobs, out=parsed.out, recipe_file=recipe, test=test, **parsed.own)
    _print_scores(result, "seed", parsed.out)


def folds(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]) -> None:
    """Cross-validate a recipe: k trainings, each of which holds out another part of the training images.

    visionkit folds RECIPE.py [knobs] [--k 5] [--out FOLDER]

    Each run is a run folder in FOLDER, by default runs/RECIPE/folds, and one file there holds the predictions of the
    models for the images that they have not seen; the same command continues after an interruption. `visionkit folds
    RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    parsed = _open("folds", recipe, knobs, {"k": (Annotated[int, _option("how many parts.")], 5)} | _Own)
    if parsed is None:
        return
    from visionkit.experiments.folds import folds as validate

    result = validate(parsed.function, parsed.knobs, out=parsed.out, recipe_file=recipe, **parsed.own)
    _print_scores(result, "fold", parsed.out)
    print(f"out-of-fold predictions: {parsed.out / result['predictions']}")


def search(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]) -> None:
    """Search for good knobs: at random first, then near the best; runs that fall behind the others are stopped.

    visionkit search RECIPE.py --space 'lr=1e-4..1e-1:log,batch_size=8|16|32' [knobs] [--trials 20] [--out FOLDER]

    Each run is a run folder in FOLDER, by default runs/RECIPE/search; the same command continues after an interruption.
    With --storage sqlite:///FILE, the same command in several terminals shares the trials among them.
    `visionkit search RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    own = {
        "space": (Annotated[str | None, _option("of each knob a..b, a..b:log or a|b|c, separated by commas.")], None),
        "trials": (Annotated[int, _option("trainings, including those that are stopped early.")], 20),
        "search_seed": (Annotated[int | None, _option("of the random draws; by default 0.")], None),
        "storage": (Annotated[str | None, _option("database of a search by several processes: sqlite:///FILE.")], None),
    }
    parsed = _open("search", recipe, knobs, own | _Own)
    if parsed is None:
        return
    if parsed.own["space"] is None:
        raise DataError("search needs --space, such as --space 'lr=1e-4..1e-1:log,batch_size=8|16|32'")
    if parsed.own["trials"] < 1:
        raise DataError(f"--trials {parsed.own['trials']}: expected 1 or more")
    from visionkit.experiments.search import search as look

    # The words that train would take too.
    words = _without(knobs, ("--space", "--trials", "--search-seed", "--storage", "--out"))
    train_options = {"options": (RunOptions, Options())}

    def flags(values: Mapping[str, str]) -> list[str]:
        return [f"--{name.replace('_', '-')}={text}" for name, text in values.items()]

    def knobs_with(values: Mapping[str, str]) -> dict[str, Any]:
        with_values = parse_knobs("search", recipe, parsed.function, [*words, *flags(values)], train_options)
        assert with_values is not None  # no word asks for help
        return with_values[0]

    seed, storage = parsed.own.pop("search_seed"), parsed.own.pop("storage")
    if storage is None:
        result = look(parsed.function, knobs_with, out=parsed.out, recipe_file=recipe, seed=seed or 0, **parsed.own)
    else:
        if seed is not None:
            raise DataError("--search-seed: what several processes draw cannot be repeated; leave it or --storage out")
        from visionkit.experiments.together import search_together

        result = search_together(
            parsed.function, knobs_with, out=parsed.out, storage=storage, recipe_file=recipe, **parsed.own
        )
    for row in result["trials"]:
        values = "  ".join(f"{name} {text}" for name, text in row["values"].items())
        score = f"{row['score']:.4f}" if "score" in row else "-"
        print(f"trial {row['number']:3}  {result['metric']} {score:7} {values}  {row['state']}")
    print(f"table: {parsed.out / 'search.json'}")
    print(f"best: {shlex.join(['visionkit', 'train', str(recipe), *words, *flags(result['best']['values'])])}")


def _open(verb: str, recipe: Path, words: Sequence[str], own: dict[str, tuple]) -> _Parsed | None:
    """Loads the recipe and reads the words; None where they ask for help, which is printed.

    Args:
        verb: the verb.
        recipe: the recipe's file.
        words: of the command line, after the recipe.
        own: the verb's options, as for `parse_knobs`; among them "out".
    """
    if str(recipe) in ("--help", "-h"):
        from visionkit.cli import app

        app.help_print([verb])
        return None
    function = open_recipe(recipe, words)
    parsed = parse_knobs(verb, recipe, function, words, own)
    if parsed is None:
        return None
    knobs, options = parsed
    out = options.pop("out") or Path("runs", recipe.stem, verb)
    return _Parsed(function, knobs, out, options)


def _without(words: Sequence[str], names: Sequence[str]) -> list[str]:
    """The words of a command line without the options `names`, each of which has a value."""
    kept, following = [], iter(words)
    for word in following:
        name, equals, _ = word.partition("=")
        if name.replace("_", "-") not in names:
            kept.append(word)
        elif not equals:
            next(following, None)
    return kept


def _print_scores(result: dict[str, Any], what: str, out: Path) -> None:
    """Prints a row for each run and the statistics; `what` is "seed" or "fold"."""
    metric = result["metric"]
    for row in result["rows"]:
        print(f"{what} {row[what]:3}  {metric} {row[metric]:.4f}  {row['seconds']:.0f} s")
    figures = result["summary"]
    spread = f"{figures['min']:.4f} to {figures['max']:.4f}"
    interval = f"95 % bootstrap interval of the mean {figures['low']:.4f} to {figures['high']:.4f}"
    print(f"{metric} {figures['mean']:.4f} +- {figures['std']:.4f} ({spread}), {interval}")
    print(f"table: {out / f'{what}s.json'}")

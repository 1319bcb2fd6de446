"""The verbs that train a recipe many times, or try it out: lr_find, seeds, folds and search. Heavy imports inside.

Each takes the recipe's knobs as options, as train does, and options of its own; a help of both is `VERB RECIPE --help`.
"""

import shlex
from pathlib import Path
from typing import Annotated

import cyclopts

from visionkit.cli.runs import AsIs, RunOptions, open_recipe, parse_knobs
from visionkit.train.options import Options
from visionkit.types import DataError

_Group = "The experiment"


def _option(help: str):
    return cyclopts.Parameter(help=help, group=_Group)


_Out = Annotated[Path | None, _option("its folder; by default runs/RECIPE/VERB. The same command goes on in it.")]
_Own = {"out": (_Out, None), "options": (RunOptions, Options())}


def lr_find(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]):
    """Find a learning rate: raise it from step to step until the loss explodes, and look at the curve.

    visionkit lr_find RECIPE.py [knobs] [--low 1e-6] [--high 10] [--steps 100] [--phase 1] [--out FOLDER]

    Writes lr_find.png and lr_find.json into FOLDER, by default runs/RECIPE/lr_find. What is trained is thrown away.
    `visionkit lr_find RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    own = {
        "low": (Annotated[float, _option("the rate of the first step.")], 1e-6),
        "high": (Annotated[float, _option("the rate of the last step.")], 10.0),
        "steps": (Annotated[int, _option("from one to the other, each by the same factor.")], 100),
        "phase": (Annotated[int, _option("of a recipe with several, counted from 1.")], 1),
        "out": (Annotated[Path | None, _option("for both files; by default runs/RECIPE/lr_find.")], None),
    }
    parsed = _open("lr_find", recipe, knobs, own)
    if parsed is None:
        return
    function, chosen, own = parsed
    from visionkit.experiments.lr_find import draw_lr_curve
    from visionkit.experiments.lr_find import lr_find as find
    from visionkit.files import write_json

    out = own.pop("out")
    found = find(function, chosen, **own)
    out.mkdir(parents=True, exist_ok=True)
    draw_lr_curve(found, out / "lr_find.png")
    write_json(out / "lr_find.json", found)
    print(f"curve: {out / 'lr_find.png'} ({len(found['rates'])} steps, up to a rate of {found['rates'][-1]:.2g})")
    if not found["suggestion"]:
        print("the loss did not fall at any rate: no suggestion; try --low, --high and more --steps")
        return
    print(
        f"loss falls fastest at {found['steepest']:g}; a decade below its minimum is {found['decade_below_minimum']:g}"
    )
    print(f"suggestion: a highest rate of {found['suggestion']:g} ({found['rule'].replace('_', ' ')}, the lower one)")
    if found["knob"]:
        print(f"which is --lr {found['knob']:g}; with --lr {chosen['lr']:g} the highest rate is {found['peak']:.2g}")


def seeds(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]):
    """Train a recipe with several seeds: a table of the scores, their mean, spread and bootstrap interval.

    visionkit seeds RECIPE.py [knobs] [--count 5] [--test-data PATH [--test-split test]] [--out FOLDER]

    Each run is a run folder in FOLDER, by default runs/RECIPE/seeds; the same command goes on where it was stopped.
    `visionkit seeds RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    own = {
        "count": (Annotated[int, _option("how many, from the knob seed on.")], 5),
        "test_data": (Annotated[Path | None, _option("score on these; by default on the recipe's own.")], None),
        "test_split": (Annotated[str | None, _option("the part of them to score on.")], None),
    }
    parsed = _open("seeds", recipe, knobs, own | _Own)
    if parsed is None:
        return
    function, chosen, own = parsed
    from visionkit.cli.reports import meaning_of_maps
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import class_ids
    from visionkit.experiments.seeds import seeds as repeat

    data, split, out = own.pop("test_data"), own.pop("test_split"), own.pop("out")
    if split and not data:
        raise DataError("--test-split is a part of --test-data, which is not given")
    test = None
    if data:
        model = function(**chosen).model
        test = open_dataset(data, split, model.task, **meaning_of_maps(chosen))
        class_ids(model, test)  # before hours of training
    found = repeat(function, chosen, out=out, recipe_file=recipe, test=test, **own)
    _say(found, "seed", out)


def folds(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]):
    """Cross-validate a recipe: k trainings, each holding out another part of the training images.

    visionkit folds RECIPE.py [knobs] [--k 5] [--out FOLDER]

    Each run is a run folder in FOLDER, by default runs/RECIPE/folds, and what the models say of the images that they
    have not seen is in one file there; the same command goes on where it was stopped. `visionkit folds RECIPE.py
    --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    parsed = _open("folds", recipe, knobs, {"k": (Annotated[int, _option("how many parts.")], 5)} | _Own)
    if parsed is None:
        return
    function, chosen, own = parsed
    from visionkit.experiments.folds import folds as validate

    out = own.pop("out")
    found = validate(function, chosen, out=out, recipe_file=recipe, **own)
    _say(found, "fold", out)
    print(f"out-of-fold predictions: {out / found['predictions']}")


def search(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]):
    """Search for good knobs: at random first, then near the best; runs that fall behind the others are stopped.

    visionkit search RECIPE.py --space 'lr=1e-4..1e-1:log,batch_size=8|16|32' [knobs] [--trials 20] [--out FOLDER]

    Each run is a run folder in FOLDER, by default runs/RECIPE/search; the same command goes on where it was stopped.
    `visionkit search RECIPE.py --help` lists all options.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    own = {
        "space": (Annotated[str | None, _option("the knobs: a..b, a..b:log or a|b|c of each, by commas.")], None),
        "trials": (Annotated[int, _option("trainings, with those that are stopped early.")], 20),
        "search_seed": (Annotated[int, _option("of the draws.")], 0),
    }
    parsed = _open("search", recipe, knobs, own | _Own)
    if parsed is None:
        return
    function, _, own = parsed
    if own["space"] is None:
        raise DataError("search needs --space, such as --space 'lr=1e-4..1e-1:log,batch_size=8|16|32'")
    from visionkit.experiments.search import search as look

    words = _without(knobs, ("--space", "--trials", "--search-seed", "--out"))  # what train would be told

    train_options = {"options": (RunOptions, Options())}

    def flags(values):
        return [f"--{name.replace('_', '-')}={text}" for name, text in values.items()]

    def knobs_with(values):
        return parse_knobs("search", recipe, function, [*words, *flags(values)], train_options)[0]

    out, seed = own.pop("out"), own.pop("search_seed")
    found = look(function, knobs_with, out=out, recipe_file=recipe, seed=seed, **own)
    for row in found["trials"]:
        values = "  ".join(f"{name} {text}" for name, text in row["values"].items())
        score = f"{row['score']:.4f}" if "score" in row else "-"
        print(f"trial {row['number']:3}  {found['metric']} {score:7} {values}  {row['state']}")
    print(f"table: {out / 'search.json'}")
    print(f"best: {shlex.join(['visionkit', 'train', str(recipe), *words, *flags(found['best']['values'])])}")


def _open(verb, recipe, words, own):
    """(the recipe's function, its knobs, the verb's options); None where the words ask for help, which is printed."""
    if str(recipe) in ("--help", "-h"):
        from visionkit.cli import app

        return app.help_print([verb])
    function = open_recipe(recipe, words)
    parsed = parse_knobs(verb, recipe, function, words, own)
    if parsed is None:
        return None
    knobs, own = parsed
    return function, knobs, own | {"out": own["out"] or Path("runs", recipe.stem, verb)}


def _without(words, names):
    """The words of a command line but the options `names`, each of which has a value."""
    kept, words = [], iter(words)
    for word in words:
        name, equals, _ = word.partition("=")
        if name.replace("_", "-") not in names:
            kept.append(word)
        elif not equals:
            next(words, None)
    return kept


def _say(found, what, out):
    metric = found["metric"]
    for row in found["rows"]:
        print(f"{what} {row[what]:3}  {metric} {row[metric]:.4f}  {row['seconds']:.0f} s")
    figures = found["summary"]
    print(
        f"{metric} {figures['mean']:.4f} +- {figures['std']:.4f} ({figures['min']:.4f} to {figures['max']:.4f})", end=""
    )
    print(f", 95 % bootstrap interval of the mean {figures['low']:.4f} to {figures['high']:.4f}")
    print(f"table: {out / (what + 's.json')}")

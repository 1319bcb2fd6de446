"""The verbs that train: finetune, train and selftest. Heavy imports stand inside them."""

import dataclasses
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit.cli.scores import print_scores
from visionkit.train.learning import Learning
from visionkit.train.options import Options, make_deterministic
from visionkit.types import DataError

AsIs = cyclopts.Parameter(show=False, allow_leading_hyphen=True)
ALONE = "--resume takes a run folder and nothing else: the run says itself how it was started"
_Moved = cyclopts.Parameter(name="*", group="How weights are moved")
_Learning = Annotated[Learning, _Moved]
RunOptions = Annotated[Options, cyclopts.Parameter(name="*", group="How it is run")]


def finetune(
    data: Path | None = None,
    /,
    *,
    task: Literal["detect", "instance", "classify", "segment"] | None = None,
    model: Literal["ssd", "faster_rcnn"] | None = None,
    backbone: str = "efficientnet_lite0",
    check: bool = False,
    epochs: int | None = None,
    image_size: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    lr: float = 1e-3,
    class_weights: bool | None = None,
    label_smoothing: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    classes: Path | None = None,
    void: int | None = None,
    patience: int | None = None,
    learning: _Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
    out: Path | None = None,
    resume: Path | None = None,
    options: RunOptions = Options(),  # noqa: B008, it is frozen
):
    """Fine-tune a pretrained backbone on your data. The annotation format is recognised and said.

    Args:
        data: folder with images and annotations: Pascal VOC, COCO, YOLO, instance masks, class maps or class folders.
        task: what to learn; by default what the data is for. instance is boxes with masks, segment a class a pixel.
        model: (detect) the detector; by default ssd.
        backbone: the pretrained network underneath.
        check: train nothing, but try everything for a minute and say what is wrong; the exit code is then 1.
        epochs: passes over the training images; by default enough to see 9,600 of them (classify: for 200 steps).
        image_size: long side in pixels of what the network sees; by default 384 (classify: 224, segment: 480).
        batch_size: images a step; by default 16 (classify: 32, faster_rcnn, instance and segment: 8). auto tries out
            the largest that memory holds, up to 64.
        lr: peak learning rate; detectors scale it with the batch size, from 16 images a step.
        class_weights: (classify) weigh a class by the inverse of how often it occurs.
        label_smoothing: (classify) share of the target spread over all classes; by default 0.1.
        mixup: (classify) alpha of mixup, such as 0.2; by default none.
        cutmix: (classify) alpha of CutMix, such as 1.0; by default none.
        classes: (segment) file that names the values 0, 1, ... of the class maps line by line; by default classes.txt
            in DATA. A class called void is neither trained on nor scored.
        void: (segment) the value of the class maps that is neither trained on nor scored, besides 255.
        patience: stop after so many epochs without a better score on the validation images; by default never. A
            classifier's first phase, of its last layer alone, does not count.
        seed: of everything that is drawn.
        out: the run folder, new or empty; by default runs/finetune/TIME.
        resume: a run folder: continue that run, which was interrupted. It says all else itself.
    """
    given = dict(locals())
    if resume:
        defaults = {name: parameter.default for name, parameter in inspect.signature(finetune).parameters.items()}
        if any(given[name] != default for name, default in defaults.items() if name != "resume"):
            raise DataError(ALONE)
        return resume_and_say(resume)
    if data is None:
        raise DataError("finetune needs the folder of your data, or --resume with a run folder")
    from visionkit.data.recognise import tasks_of
    from visionkit.environment import import_keras_quietly

    task = task or tasks_of(data)[0]
    if options.deterministic:
        make_deterministic()
    import_keras_quietly()
    from visionkit.recipes import RECIPES

    knobs = {"data": data, "model": model, "backbone": backbone, "epochs": epochs, "image_size": image_size}
    knobs |= {"batch_size": batch_size, "lr": lr, "class_weights": class_weights, "label_smoothing": label_smoothing}
    knobs |= {"mixup": mixup, "cutmix": cutmix, "classes": classes, "void": void, "seed": seed}
    knobs |= {"patience": patience, "learning": learning}
    knobs = {name: value for name, value in knobs.items() if value is not None}
    for name in ("epochs", "image_size", "batch_size", "patience"):
        if isinstance(knobs.get(name), int) and knobs[name] < 1:
            raise DataError(f"--{name.replace('_', '-')}: expected 1 or more, found {knobs[name]}")
    recipe = RECIPES[task]
    if foreign := [name for name in knobs if name not in inspect.signature(recipe).parameters]:
        raise DataError(f"--{foreign[0].replace('_', '-')} is not for the task {task}; leave it out")
    if check:
        return check_and_say(recipe, knobs, None, options)
    return train_and_say(recipe, knobs, out or new_run("finetune"), None, options)


def train(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]):
    """Train a recipe, with its knobs as options: visionkit train configs/X.py --lr 3e-4 --out runs/mine.

    `visionkit train RECIPE.py --help` lists the knobs. --out names the run folder, by default runs/RECIPE/TIME.
    --batch-size auto, where a recipe has that knob, tries out the largest batch that memory holds, up to 64.
    `visionkit train --resume RUN` continues a run that was interrupted, to the same end. --check trains nothing, but
    tries everything for a minute and says what is wrong.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    if str(recipe) in ("--help", "-h"):
        from visionkit.cli import app

        return app.help_print(["train"])
    if str(recipe) == "--resume":
        if len(knobs) != 1:
            raise DataError(ALONE)
        return resume_and_say(Path(knobs[0]))
    check, words = "--check" in knobs, [word for word in knobs if word != "--check"]
    words, auto = _one_for_auto(words)
    function = open_recipe(recipe, words)
    own = {"out": (Path | None, None), "options": (RunOptions, Options())}
    parsed = parse_knobs("train", recipe, function, words, own)
    if parsed is None:
        return None
    chosen, own = parsed
    chosen |= {"batch_size": "auto"} if auto else {}
    if check:
        return check_and_say(function, chosen, recipe, own["options"])
    return train_and_say(function, chosen, own["out"] or new_run(recipe.stem), recipe, own["options"])


def _one_for_auto(words: Sequence[str]) -> tuple[list[str], bool]:
    """`words` with batches of 1 where they ask for --batch-size auto, for recipes take numbers; and whether they do."""
    forms = ("--batch-size=auto", "--batch_size=auto")
    words = [part for word in words for part in (word.split("=") if word in forms else [word])]
    for i, name in enumerate(words[:-1]):
        if name in ("--batch-size", "--batch_size") and words[i + 1] == "auto":
            return [*words[: i + 1], "1", *words[i + 2 :]], True
    return words, False


def open_recipe(recipe: Path, words: Sequence[str]) -> Callable:
    """The function in a recipe's file; Keras is imported as the command line `words` says."""
    said = [word.partition("=") for word in words if word.partition("=")[0] == "--deterministic"]
    if said and said[-1][2].lower() not in ("false", "no", "n", "0"):
        make_deterministic()  # before Keras, which the recipe imports
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.recipe import load_recipe

    return load_recipe(recipe)


def parse_knobs(
    verb: str, recipe: Path, function: Callable, words: Sequence[str], own: dict[str, tuple]
) -> tuple[dict, dict] | None:
    """(the recipe's knobs, the verb's own options) that `words` say; None where they ask for help, which is printed.

    A knob of type Learning is given by the names of its fields; those not given are what the recipe's default has.

    Args:
        own: name -> (annotation, default) of the options that `verb` has besides the recipe's knobs.

    Raises:
        DataError: the recipe has a knob of the name of one of them, or of such a field.
    """
    signature = inspect.signature(function, eval_str=True)
    spread = [p.name for p in signature.parameters.values() if p.annotation is Learning]
    taken = [*own, *(one.name for one in dataclasses.fields(Learning) if spread)]
    if both := [name for name in taken if name in signature.parameters]:
        raise DataError(f"{recipe}: its knob {both[0]} has the name of an option of visionkit {verb}; rename it")
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in own.items()
    ]

    def options(**given):
        return given

    named = [_knob(parameter) for parameter in signature.parameters.values()]
    options.__signature__ = signature.replace(parameters=[*named, *extra])
    options.__annotations__ = {name: p.annotation for name, p in options.__signature__.parameters.items()}
    options.__doc__ = function.__globals__["__doc__"]
    parser = cyclopts.App(name=f"visionkit {verb} {recipe}", default_command=options, result_action="return_value")
    if {"--help", "-h"} & set(words):
        parser.help_print([])
        return None
    _, bound, _ = parser.parse_args(list(words), exit_on_error=False, print_error=False)
    bound.apply_defaults()
    knobs = dict(bound.arguments)
    knobs |= {name: Learning(**dataclasses.asdict(knobs[name])) for name in spread}
    return knobs, {name: knobs.pop(name) for name in own}


def _knob(parameter: inspect.Parameter) -> inspect.Parameter:
    """A recipe's parameter as the parser sees it: one of type Learning as options of their own, by its default."""
    # By name alone: else the word behind a flag, as in --masks false, would be the next knob.
    parameter = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    if parameter.annotation is not Learning:
        return parameter
    default = parameter.default if isinstance(parameter.default, Learning) else Learning()
    fields = [
        (one.name, one.type, dataclasses.field(default=getattr(default, one.name)))
        for one in dataclasses.fields(Learning)
    ]
    about = {"__doc__": Learning.__doc__, "__module__": __name__}
    kind = dataclasses.make_dataclass("Learning", fields, bases=(Learning,), namespace=about, frozen=True, kw_only=True)
    # Of that very kind: pydantic, wherever something has imported it, looks at defaults too.
    return parameter.replace(annotation=Annotated[kind, _Moved], default=kind(**dataclasses.asdict(default)))


def new_run(name: str) -> Path:
    """Where a run goes that was given no folder."""
    return Path("runs", name, time.strftime("%Y%m%d-%H%M%S"))


def train_and_say(recipe: Callable, knobs: dict, out: Path, recipe_file: Path | None, options: Options) -> None:
    """Runs a recipe and prints its scores."""
    from visionkit.train.run import run

    print_scores(run(recipe, _settled(recipe, knobs, recipe_file, options), out, recipe_file, options))
    print(f"run folder: {out}")


def _settled(recipe: Callable, knobs: dict, recipe_file: Path | None, options: Options) -> dict:
    """`knobs` with a number for a `batch_size` of "auto"."""
    if knobs.get("batch_size") != "auto":
        return knobs
    from visionkit.checks.largest_batch import largest_batch

    return knobs | {"batch_size": largest_batch(recipe, knobs, recipe_file, options.precision)}


def check_and_say(recipe: Callable, knobs: dict, recipe_file: Path | None, options: Options) -> int:
    """Prints what `train.preflight` finds of a recipe; returns the exit code, 1 where something is wrong."""
    from visionkit.checks.preflight import preflight

    rows = preflight(recipe, _settled(recipe, knobs, recipe_file, options), options)
    print("\n".join(map(str, rows)))
    return 0 if all(row.ok for row in rows) else 1


def resume_and_say(out: Path) -> None:
    """Continues a run and prints its scores."""
    from visionkit.environment import import_keras_quietly
    from visionkit.train.resume import read_interrupted

    if read_interrupted(out).options.deterministic:
        make_deterministic()
    import_keras_quietly()
    from visionkit.train.run import resume

    print_scores(resume(out))
    print(f"run folder: {out}")


selftest = cyclopts.App(name="selftest", help="Proofs on this machine of what visionkit promises.")


@selftest.command(name="resume")
def selftest_resume(*, kills: int = 20, workers: int = 0, seed: int = 0):
    """Kill a small training at random moments, resume it, and compare the end with an uninterrupted one, bit by bit.

    Args:
        kills: how many; each costs a start.
        workers: processes that read and augment images; 0 does it with threads.
        seed: of the moments.
    """
    import shutil
    import tempfile

    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.checks.selftest import selftest_resume as prove

    folder = tempfile.mkdtemp(prefix="selftest-")
    print(prove(Path(folder), kills, workers, seed))
    shutil.rmtree(folder)  # where it fails, there is something to be seen in it

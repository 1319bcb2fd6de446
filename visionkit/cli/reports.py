"""`visionkit report`. Heavy imports stand inside the function."""

import contextlib
import io
from pathlib import Path

from visionkit.types import DataError


def report(
    run: Path,
    /,
    *,
    data: Path | None = None,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
):
    """Write report.html into a run folder: one page on how good the model is, where it fails and what to do next.

    The model is scored again, closely, on what it was validated with, for which the recipe is executed, or on --data.
    What the run has not got is left out with a sentence.

    Args:
        run: a run folder, also of a run that goes on still.
        data: score it on these labelled data instead, in any layout that finetune takes.
        split: the part of --data, such as test; by default all of it.
        classes: (segment) file that names the values of the class maps; by default what finetune was told.
        void: (segment) the value of the class maps that is not scored, besides 255; by default what finetune was told.
    """
    from visionkit.report.facts import Assessment, read_run
    from visionkit.report.page import write_report

    if split and not data:
        raise DataError("--split is a part of --data: name both")
    facts = read_run(run)
    said = {"classes": classes} if classes else {}
    meaning = meaning_of_maps(facts.knobs) | said | ({} if void is None else {"void": void})
    found = Assessment(task=facts.task, scores=facts.results, measured="its validation images, at its best epoch")
    try:
        _score(facts, found, data, split, meaning)
    except (DataError, OSError) as error:
        if data:  # was asked for
            raise
        advice = "visionkit report RUN --data DIR, with --split test where there is one, measures it"
        found.absent["model"] = f"Not measured: {_line(error)}. {advice}."
    found.absent["The data"] = _examine(facts, found, data, meaning)
    file = write_report(facts, found)
    print(f"report: {file}")


def _score(facts, found, data, split, meaning) -> None:
    """Fills in what the model does on the data; raises `DataError` where it cannot be scored."""
    from visionkit.open_model import keras_path, open_predictor

    keras_path(facts.folder)  # a run without a model is noticed before Keras is loaded
    predictor = open_predictor(facts.folder)
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import evaluate

    if data:
        dataset = open_dataset(data, split, predictor.task, **meaning)
        where = f"{data}, split {split}" if split else f"{data}, all of it: it may have learned from some of them"
    else:
        dataset = _validation(facts)
        where = f"its validation images ({dataset.source})"
    found.scores = evaluate(predictor, dataset, closely=True)
    found.task, found.measured = predictor.task, f"{len(dataset):,} images: {where}"
    found.size = predictor.image_size


def _validation(facts):
    """What the run was validated with, out of its recipe."""
    from visionkit.train.recipe import planned
    from visionkit.train.resume import read_started, recipe_of

    recipe, knobs = recipe_of(facts.folder, read_started(facts.folder))
    with contextlib.redirect_stdout(io.StringIO()):  # recipes speak of the training, which is over
        dataset = planned(recipe, knobs).val
    if dataset is None:
        raise DataError("the run had no validation images")
    return dataset


def _examine(facts, found, data, meaning) -> str:
    """Asks the doctor; returns why not, where that cannot be."""
    from visionkit.doctor.examine import examine

    root = data or facts.data
    if root is None:
        return "No knob of the recipe names the folder of its data; visionkit report RUN --data DIR does."
    try:
        found.diagnosis = examine(root, task=found.task, size=found.size or 384, **meaning)
    except (DataError, OSError) as error:
        return f"Not examined: {_line(error)}."
    return ""


def _line(error) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def meaning_of_maps(knobs) -> dict:
    """What the values of class maps mean, where finetune was told."""
    told = {key: knobs[key] for key in ("classes", "void") if knobs.get(key) is not None}
    return told | ({"classes": Path(told["classes"])} if "classes" in told else {})

"""The verb report. Heavy imports are inside the functions."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.types import DataError

if TYPE_CHECKING:
    from visionkit.data.dataset import Dataset
    from visionkit.doctor.duplicates import Fingerprint
    from visionkit.report.facts import Assessment, RunFacts


def report(
    run: Path,
    /,
    *,
    data: Path | None = None,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    trust: bool = False,
) -> None:
    """Write report.html into a run folder: one page on how good the model is, where it fails and what to do next.

    The model is scored again, in detail, on --data or on its validation images. These are known to its recipe only,
    which is executed if it is one of visionkit's or you started the run on this machine; otherwise the page shows the
    scores that the run noted. Where the run lacks something, the page says so in one sentence.

    Args:
        run: a run folder; the run may still be in progress.
        data: labelled data to score it on instead, in any layout that finetune takes.
        split: the part of --data, such as test; by default all of it.
        classes: (segment) file that names the values of the class maps; by default the one given to finetune.
        void: (segment) the value of the class maps that is not scored, besides 255; by default the one given to
            finetune.
        trust: execute the recipe in the run folder, whoever made the folder.
    """
    from visionkit.report.facts import Assessment, read_run
    from visionkit.report.page import write_report

    if split and not data:
        raise DataError("--split is a part of --data: name both")
    facts = read_run(run)
    meaning = meaning_of_maps(facts.knobs)
    if classes:
        meaning["classes"] = classes
    if void is not None:
        meaning["void"] = void
    assessment = Assessment(task=facts.task, scores=facts.results, measured="its validation images, at its best epoch")
    known: dict[Path, Fingerprint] = {}  # of the images that are scored: the doctor need not decode them again
    try:
        _score(facts, assessment, data, split, meaning, trust, known)
    except (DataError, OSError) as error:
        if data:  # was asked for
            raise
        advice = "visionkit report RUN --data DIR, with --split test where there is one, measures it"
        assessment.absent["model"] = f"Not measured: {_first_line(error)}. {advice}."
    assessment.absent["The data"] = _examine(facts, assessment, data, meaning, known)
    print(f"report: {write_report(facts, assessment)}")


def _score(
    facts: "RunFacts",
    assessment: "Assessment",
    data: Path | None,
    split: str | None,
    meaning: dict[str, Any],
    trust: bool,
    known: dict[Path, "Fingerprint"],
) -> None:
    """Fills in the scores and the fingerprints; raises a DataError where the model cannot be scored."""
    from visionkit.open_model import keras_path, open_predictor

    keras_path(facts.folder)  # a run without a model is refused before Keras is loaded
    predictor = open_predictor(facts.folder)
    from visionkit.data.recognise import open_dataset
    from visionkit.doctor.duplicates import remembering
    from visionkit.evaluate.scores import evaluate

    if data:
        dataset = open_dataset(data, split, predictor.task, **meaning)
        images = remembering(dataset, known)
        where = f"{data}, split {split}" if split else f"{data}, all of it: it may have learned from some of them"
    else:
        dataset, is_plain = _validation_data(facts, trust)
        images = remembering(dataset, known) if is_plain else dataset
        where = f"its validation images ({dataset.source})"
    assessment.scores = evaluate(predictor, images, closely=True)
    assessment.task = predictor.task
    assessment.measured = f"{len(dataset):,} images: {where}"
    assessment.size = predictor.image_size


def _validation_data(facts: "RunFacts", trust: bool) -> tuple["Dataset", bool]:
    """The data that the run was validated with, from its recipe; and whether its images are surely those in the files.

    The recipes of visionkit change no pixel of them; others may.
    """
    from visionkit.train.recipe import build_recipe
    from visionkit.train.resume import read_started, recipe_of

    recipe, knobs = recipe_of(facts.folder, read_started(facts.folder), trust)
    with contextlib.redirect_stdout(io.StringIO()):  # recipes print about the training, which is over
        dataset = build_recipe(recipe, knobs).val
    if dataset is None:
        raise DataError("the run had no validation images")
    return dataset, recipe.__module__.startswith("visionkit.")


def _examine(
    facts: "RunFacts",
    assessment: "Assessment",
    data: Path | None,
    meaning: dict[str, Any],
    known: "Mapping[Path, Fingerprint]",
) -> str:
    """Fills in what the doctor finds in the data; returns the reason where that is not possible, else ""."""
    from visionkit.doctor.examine import examine

    root = data or facts.data
    if root is None:
        return "No knob of the recipe names the folder of its data; visionkit report RUN --data DIR does."
    try:
        assessment.diagnosis = examine(root, task=assessment.task, size=assessment.size or 384, known=known, **meaning)
    except (DataError, OSError) as error:
        return f"Not examined: {_first_line(error)}."
    return ""


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def meaning_of_maps(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The options --classes and --void among a run's knobs, which say what the values of class maps mean."""
    meaning: dict[str, Any] = {}
    if knobs.get("classes") is not None:
        meaning["classes"] = Path(knobs["classes"])
    if knobs.get("void") is not None:
        meaning["void"] = knobs["void"]
    return meaning

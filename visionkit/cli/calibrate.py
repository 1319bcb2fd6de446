"""The verb calibrate. Heavy imports are inside the function."""

import sys
from pathlib import Path
from typing import Any

from visionkit.calibrate.record import FILE as RECORD
from visionkit.cli.learned import learned_from, learned_images, other_images
from visionkit.types import DataError, plain

PAGE = "calibration.html"


def calibrate(
    run: Path,
    data: Path,
    /,
    *,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    again: bool = False,
    out: Path | None = None,
    json: Path | None = None,
) -> None:
    """Make scores mean what they say: of the detections with a score of 0.8, eight in ten are then right.

    A temperature, Platt's sigmoid and isotonic regression are compared on images left out, and the best is stored in
    the run's model.keras: from then on detect, classify, segment, evaluate, serve and every export give calibrated
    scores. Prints how far scores were off before and after, on images that were not used. Score thresholds, of --score
    too, are those of the calibrated scores.

    Args:
        run: the folder of a finished run.
        data: labelled images that the run has not learned from, with all of its classes, in any layout that finetune
            takes.
        split: the part of the data, such as val; by default all of it.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that does not count, besides 255.
        again: in place of the calibration that the run has.
        out: the page with reliability diagrams; by default calibration.html in the run.
        json: also write the numbers to this file.
    """
    if not (run / "model.keras").is_file():
        raise DataError(f"{run}: expected the folder of a finished run, in which a calibration is stored")
    out = out or run / PAGE
    for file in (out, json):
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
    from visionkit.open_model import open_task

    model = open_task(run)
    if model.calibration and not again:
        method = model.calibration.method
        raise DataError(f"{run}: is calibrated already ({method}); --again replaces it, from the model's own scores")
    if learned := learned_from(run, data, split):
        warning = f"warning: {run} seems to have learned from {learned} of these images, about which it is surer than "
        print(plain(f"{warning}about others: {other_images(data, learned)}"))
    before, model.calibration = model.calibration, None
    from visionkit.calibrate.find import calibrate as find
    from visionkit.calibrate.find import in_words
    from visionkit.calibrate.page import page
    from visionkit.data.recognise import open_dataset
    from visionkit.files import write_bytes, write_json

    dataset = open_dataset(data, split, model.task, classes, void)
    if not learned and (n := learned_images(run, model.task, dataset)):
        warning = f"warning: {run} has learned from {n} of these {len(dataset)} images, about which it is surer than "
        print(plain(f"{warning}about others; calibrate with others"))
    found = find(model, dataset)
    write_bytes(out, page(found, str(run)).encode())
    if json:
        write_json(json, found.to_json())
    for line in in_words(found):
        print(plain(line))
    print(f"page: {out}")
    if found.curve or before:
        model.calibration = found.curve
        _store(run, model, found.to_json(), dataset)


def _store(run: Path, model: Any, record: dict[str, Any], dataset: Any) -> None:
    """Writes the model with its new curve, the record, and the fast form if the run has one."""
    from visionkit.files import write_json
    from visionkit.train.save import save_model

    save_model(model, run / "model.keras")
    write_json(run / RECORD, record)
    print(f"stored: {run / 'model.keras'} and {run / RECORD}")
    if (run / "guarantee.json").is_file():
        print("the run's guarantee was made for the scores as they were: visionkit guarantee makes it again")
    if (run / "fast").is_dir():
        from visionkit.fast.model import keep_form

        if line := keep_form(run, dataset):
            print(plain(line), file=sys.stderr)

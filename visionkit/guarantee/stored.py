"""Reads the promise that is stored beside a model, and checks that it is still the model that it was made for."""

import hashlib
import json
from pathlib import Path
from typing import Any

from visionkit.export.exported import FILE as EXPORTED
from visionkit.export.verify import REPORT
from visionkit.files import sha256_of
from visionkit.guarantee.promise import FILE, VERSION, PixelPromise, Price, Promise
from visionkit.types import DataError

BESIDE = (FILE, REPORT)  # files of an export that are no part of the model


def read_promise(model: Path) -> Promise | PixelPromise:
    """Reads the promise that is stored in the folder of a run or of an export.

    Raises:
        DataError: there is none, or the model is no longer the one that it was made for.
    """
    file = model / FILE
    if not file.is_file():
        advice = f"visionkit guarantee {model} DATA --miss 0.1 makes one, of a segmenter with --of CLASS"
        raise DataError(f"{model}: has no {FILE}; {advice}")
    try:
        fields: dict[str, Any] = json.loads(file.read_text())
        version = fields.pop("version")
        if fields.pop("kind", Promise.KIND) == PixelPromise.KIND:
            promise = PixelPromise(**fields)
        else:
            fields["price"] = Price(**fields["price"])
            promise = Promise(**fields)
        _check_thresholds(promise)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: expected what visionkit guarantee writes; make it again") from error
    if version != VERSION:
        raise DataError(f"{file}: expected version {VERSION}, found {version}; make it again")
    if promise.model != fingerprint_of(model):
        raise DataError(f"{file}: was made for another model than {model} holds now; make it again")
    return promise


def _check_thresholds(promise: Promise | PixelPromise) -> None:
    """Raises a ValueError or a TypeError unless there is a score in 0..1 for each class, or for the one of pixels."""
    pixels = isinstance(promise, PixelPromise)
    thresholds = [promise.threshold] if pixels else promise.thresholds
    if len(thresholds) != (1 if pixels else len(promise.class_names)):
        raise ValueError("not a threshold for each class")
    if not all(0 <= value <= 1 for value in thresholds):
        raise ValueError("a threshold is no score")


def fingerprint_of(model: Path) -> str:
    """The SHA-256 of a run's model.keras, or of the files of an export.

    Raises:
        DataError: `model` is neither a run folder with a model nor the folder of an export.
    """
    file = model / "model.keras"
    if file.is_file():
        return sha256_of(file)
    if not (model / EXPORTED).is_file():
        raise DataError(f"{model}: expected the folder of a finished run or of an export, to store the guarantee in")
    files = sorted(file for file in model.rglob("*") if file.is_file() and file.name not in BESIDE)
    lines = [f"{file.relative_to(model).as_posix()} {sha256_of(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def in_one_line(model: Path) -> str:
    """What is promised about the model in the folder of a run or of an export, or that nothing is."""
    if not (model / FILE).is_file():
        return "It comes with no guarantee."
    try:
        promise = read_promise(model)
    except DataError:  # whose message has paths, which a card must not show
        return f"Its {FILE} does not belong to this model: the guarantee has to be made again."
    return f"{promise.in_words()[0]} {promise.in_words()[1]}"

"""The verb guarantee, and what `--guarantee` of other verbs does. Heavy imports are inside the functions."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.cli.learned import learned_from, learned_images, other_images, tells_its_data
from visionkit.types import DataError, plain

if TYPE_CHECKING:
    from visionkit.guarantee.promise import PixelPromise, Promise

CONTRADICT = {  # options that cannot stand beside --guarantee, and why
    "score": "the guarantee has its own threshold",
    "tile": "the guarantee was made without tiles",
    "flip": "the guarantee was made without mirror images",
    "window": "the guarantee was made without windows",
}


def guarantee(
    model: Path,
    data: Path,
    /,
    *,
    miss: float | None = None,
    false_alarms: float | None = None,
    of: str | None = None,
    per_class: bool = False,
    margin: bool = False,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    again: bool = False,
    json: Path | None = None,
) -> None:
    """Find the threshold at which a model misses at most a tenth of the objects, guaranteed for any model.

    The threshold is stored beside the model, and visionkit detect MODEL IMAGES --guarantee, or segment, uses it. The
    guarantee (conformal risk control, arXiv 2208.02814) is an average: of an image's objects, at most this share is
    missed, on new images that are taken like these; or, with --false-alarms, an image has no more false detections
    than that; or of the pixels of one class (--of), at most this share is missed. The price is printed; where the
    images are too few or the model is not good enough, that is said and nothing is stored.

    Args:
        model: the folder of a finished run, or of an export, of a detector or a segmenter.
        data: labelled images that the model has not learned from, in any layout that finetune takes.
        miss: the share of an image's objects, or of its pixels of a class, that may be missed, above 0 and below 1; by
            default 0.1.
        false_alarms: (detect) in place of --miss, how many false detections an image may have, such as 0.5. Of an
            image's false detections no more than 10 count, or ten times this number.
        of: (segment) the class whose pixels are not to be missed.
        per_class: (detect) make the promise for every class; each gets a threshold of its own.
        margin: (detect) also enlarge the boxes, so that of an image's found objects at most the same share sticks out.
            Half of the images then decide about the threshold and half about the margin.
        split: the part of the data, such as test; by default all of it.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that does not count, besides 255.
        again: in place of the guarantee that there is.
        json: also write the promise to this file.
    """
    from visionkit.guarantee.calibrate import check_numbers, check_options
    from visionkit.guarantee.calibrate import guarantee as calibrate
    from visionkit.guarantee.promise import FILE
    from visionkit.guarantee.stored import fingerprint_of

    check_numbers(miss, margin, false_alarms)  # before the model is opened, which takes long
    fingerprint = fingerprint_of(model)
    if (model / FILE).is_file() and not again:
        raise DataError(f"{model}: has a guarantee already, in {FILE}; --again replaces it")
    if learned := learned_from(model, data, split):
        text = f"{model} seems to have learned from {learned} of {data}, which it knows better than new images"
        raise DataError(f"{text}: {other_images(data, learned)}")
    from visionkit.open_model import open_predictor

    predictor = open_predictor(model)
    check_options(predictor.task, miss, per_class, margin, false_alarms, of)
    from visionkit.data.recognise import open_dataset
    from visionkit.files import write_json

    dataset = open_dataset(data, split, predictor.task, classes, void)
    if n := learned_images(model, predictor.task, dataset):
        text = f"{model} has learned from {n} of these {len(dataset)} images, which it knows better than new ones"
        raise DataError(f"{data}: {text}; take others")
    if not tells_its_data(model):
        text = f"it is not known which images {model} has learned from; the promise holds only if none of them is here"
        print(plain(f"warning: {text}"), file=sys.stderr)
    promise = calibrate(
        predictor, dataset, miss, per_class, margin, false_alarms=false_alarms, of=of, model=fingerprint
    ).promise
    file = promise.save(model)
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        write_json(json, asdict(promise))
    for line in promise.in_words():
        print(plain(line))
    verb = "segment" if predictor.task == "segment" else "detect"
    print(f"stored: {file}; visionkit {verb} {model} IMAGES --out DIR --guarantee uses it")


def promise_of(model: Path, given: Mapping[str, bool], of_pixels: bool = False) -> "Promise | PixelPromise":
    """The guarantee that is stored beside a model, for `--guarantee`; prints what it promises.

    Args:
        model: the folder of a run or of an export.
        given: options of `CONTRADICT` -> whether they were given.
        of_pixels: whether the guarantee has to be about pixels, and not about objects.

    Raises:
        DataError: there is none, or an option contradicts it.
    """
    for name in (name for name, is_given in given.items() if is_given):
        raise DataError(f"--{name} and --guarantee: {CONTRADICT[name]}; leave one of them out")
    from visionkit.guarantee.promise import PixelPromise
    from visionkit.guarantee.stored import read_promise

    promise = read_promise(model)
    if isinstance(promise, PixelPromise) != of_pixels:
        verb, about = ("detect", "objects") if of_pixels else ("segment", "pixels")
        raise DataError(f"{model}: its guarantee is about {about}: use visionkit {verb}")
    print(plain(promise.in_words()[0]))
    for name, reason in getattr(promise, "unpromised", {}).items():
        print(plain(f"No promise for {name}: {reason}."))
    return promise


def promised(predictor: Any, promise: "Promise | PixelPromise", images: list[str]) -> Any:
    """The predictor that keeps a promise; warns on stderr if the images are unlike the calibration images."""
    from visionkit.guarantee.keep import Promised, warning
    from visionkit.image_files import find_images

    if sentence := warning(promise, find_images(images)):
        print(plain(f"warning: {sentence}"), file=sys.stderr)
    return Promised(predictor, promise)

"""The verb guarantee. Heavy imports are inside the function."""

from dataclasses import asdict
from pathlib import Path

from visionkit.cli.learned import learned_from
from visionkit.types import BOX_TASKS, DataError, plain


def guarantee(
    run: Path,
    data: Path,
    /,
    *,
    miss: float = 0.1,
    per_class: bool = False,
    margin: bool = False,
    split: str | None = None,
    again: bool = False,
    json: Path | None = None,
) -> None:
    """Find the threshold at which a detector misses at most a tenth of the objects, guaranteed for any model.

    The threshold is stored in the run, and visionkit detect RUN IMAGES --guarantee uses it. The guarantee (conformal
    risk control, arXiv 2208.02814) is an average: of an image's objects, at most this share is missed, on new images
    that are taken like these. The price, in detections an image, is printed; where the images are too few or the model
    is not good enough, that is said and nothing is stored.

    Args:
        run: the folder of a finished run of a detector.
        data: labelled images that the run has not learned from, in any layout that finetune takes.
        miss: the share of an image's objects that may be missed, above 0 and below 1.
        per_class: make the promise for every class, over the images that have it; each gets a threshold of its own.
        margin: also enlarge the boxes, so that of an image's found objects at most the same share sticks out. Half of
            the images then decide about the threshold and half about the margin.
        split: the part of the data, such as test; by default all of it.
        again: in place of the guarantee that the run has.
        json: also write the promise to this file.
    """
    from visionkit.guarantee.promise import FILE, check_miss, fingerprint_of, in_words

    check_miss(miss)  # before the model is opened, which takes long
    model = fingerprint_of(run)
    if (run / FILE).is_file() and not again:
        raise DataError(f"{run}: has a guarantee already, in {FILE}; --again replaces it")
    if learned := learned_from(run, data, split):
        text = f"{run} seems to have learned from {learned} of {data}, which it knows better than new images"
        raise DataError(f"{text}: name another part with --split, or another folder")
    from visionkit.open_model import open_predictor

    predictor = open_predictor(run)
    if predictor.task not in BOX_TASKS:
        raise DataError(f"{run}: a guarantee is for detectors; this model is for the task {predictor.task}")
    from visionkit.data.recognise import open_dataset
    from visionkit.files import write_json
    from visionkit.guarantee.calibrate import guarantee as calibrate

    dataset = open_dataset(data, split, predictor.task)
    promise = calibrate(predictor, dataset, miss, per_class, margin, model=model).promise
    file = promise.save(run)
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
        write_json(json, asdict(promise))
    for line in in_words(promise):
        print(plain(line))
    print(f"stored: {file}; visionkit detect {run} IMAGES --out DIR --guarantee uses it")

"""The verb evaluate, and how scores are printed. Heavy imports are inside the functions."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from visionkit.cli.learned import learned_of
from visionkit.cli.models import images_in
from visionkit.cli.scale import local_data
from visionkit.fast.choice import Runtime
from visionkit.types import DataError, plain

PRINTED = (
    *("mAP", "mAP50", "mAP75", "mAR100", "voc07_mAP50", "voc12_mAP50", "mask_mAP", "mask_mAP50"),
    *("keypoint_mAP", "keypoint_mAP50"),
    *("top1", "top5", "mIoU", "last_mIoU", "pixel_accuracy", "mean_accuracy", "boundary_f1"),
    *("images", "seconds"),
)


def evaluate(
    model: Path,
    data: str,
    /,
    *,
    split: str | None = None,
    classes: Path | None = None,
    void: int | None = None,
    json: Path | None = None,
    flip: bool = False,
    window: bool = False,
    curves: Path | None = None,
    runtime: Runtime = "auto",
    trust: bool = False,
) -> None:
    """Score a model on labelled data, with the 95 % intervals of the scores: how far other images may move them.

    Args:
        model: a run folder, a .keras file, an export in its runtime, hf://OWNER/NAME, or published weights by name.
        data: labelled data in any layout that finetune takes, in a store too; class folders may be named by WordNet id,
            as ImageNet's.
        split: the part to score, such as test or train+val; by default all of it.
        classes: (segment) file that names the values of the class maps; see finetune.
        void: (segment) the value of the class maps that is not scored, besides 255.
        json: also write the numbers to this file, as one flat object with the intervals (mAP50_low, mAP50_high), the
            runtime, and per_class with the intervals of each class.
        flip: (segment) average over the image and its mirror image.
        window: (segment) slide a window over images at full resolution; see segment.
        curves: also write to this folder: the confusion matrix and pictures of the worst mistakes; of a detector
            (whose matrix has a row and a column for the background) also precision-recall and F1 curves, and the best
            threshold for each class.
        runtime: what runs the model; auto is the fastest for which its form is kept, or pays (docs/predict.md).
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    from visionkit.open_model import check_name, open_predictor

    check_name(model)
    folder = local_data(data)
    if curves and curves.is_file():
        raise DataError(f"--curves {curves}: is a file; name a folder")
    if json:
        json.parent.mkdir(parents=True, exist_ok=True)
    predictor = open_predictor(model, 8, trust, runtime, partial(images_in, folder)).look(flip, window)
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import evaluate as score
    from visionkit.evaluate.scores import with_intervals
    from visionkit.files import write_json

    dataset = open_dataset(folder, split, predictor.task, classes, void)
    print(plain(f"scoring {len(dataset)} images: {dataset.source}"))
    if n := learned_of(model, folder, split, predictor.task, dataset):
        text = f"{model} has learned from {n} of these images, so the scores are better than on new ones"
        print(plain(f"warning: {text}"), file=sys.stderr)
    scores = score(predictor, dataset, closely=curves is not None)
    if json:
        write_json(json, with_intervals(scores) | {"runtime": predictor.runtime})
    if curves:
        from visionkit.evaluate.mistakes import write_mistakes

        write_mistakes(scores["closely"], curves)
    print_scores(scores)  # last: a reader such as `| head` may end the process here


def print_scores(scores: dict[str, Any]) -> None:
    """Prints those numbers of `evaluate` or of a run that people look for."""
    print("  ".join(f"{key} {scores[key]:.4g}" for key in PRINTED if key in scores))
    if intervals := scores.get("intervals"):
        ends = "  ".join(f"{key} {_range(intervals[key])}" for key in PRINTED if key in intervals)
        print(f"95 % intervals over images: {ends}")
    of_classes = scores.get("class_intervals", {})
    for name, row in scores.get("per_class", {}).items():
        ends = of_classes.get(name, {})
        cells = [
            f"{key} {value:.4g}" + (f" ({_range(ends[key])})" if key in ends else "")
            for key, value in row.items()
            if value >= 0  # -1 stands for a score that is not defined
        ]
        if row.get("objects") == 0:
            cells.insert(0, "no such objects in the data")
        print("  " + f"{plain(name):20} " + "  ".join(cells))
    if scores.get("intervals") is not None:
        from visionkit.evaluate.scores import small_test_set

        if sentence := small_test_set(scores):
            print(sentence)
    for reason in scores.get("why", ()):
        print(f"mAP50 is about 0: {plain(reason)}")


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"

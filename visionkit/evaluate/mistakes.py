"""A closer look at what a model gets wrong, and what `visionkit evaluate --curves DIR` leaves of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.files import write_bytes
from visionkit.images import write_image
from visionkit.metrics import curves
from visionkit.metrics.curves import Curve
from visionkit.metrics.pictures import confusion_picture, curves_pictures
from visionkit.predict.draw import draw_mistake, draw_segmentation
from visionkit.predict.palette import PAPER
from visionkit.types import IGNORE

SHOWN = 20  # of a kind
BACKGROUND = "(background)"
WRONG = (230, 30, 40)  # a wrong pixel


@dataclass(frozen=True)
class Mistake:
    """One of the worst.

    Args:
        kind: "false" or "missed" of a detector, "mixed up" of a classifier, "pixels" of a segmenter.
        id: of the sample.
        text: says it in some words.
        draw: `() -> uint8 [H, W, 3]`, a picture of it, which is read only then.
    """

    kind: str
    id: str
    text: str
    draw: Callable[[], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Closely:
    """What `evaluate` sees beyond the numbers.

    Args:
        confusion: int `[N, N]`, of objects, images or pixels: rows are the truth, columns what was said.
        names: the N classes of it; a detector's last one is `BACKGROUND`.
        title: of what the confusion is, and when.
        curves: of a detector, one a class; else empty.
        worst: of each kind the worst first.
    """

    confusion: np.ndarray
    names: list[str]
    title: str
    curves: Sequence[Curve] = ()
    worst: Sequence[Mistake] = ()


def of_detector(pairs: curves.Pairs, class_names: list[str], dataset: Dataset) -> Closely:
    """The detections of greatest score that hit nothing, and the largest objects that were missed.

    Confusion and mistakes are those at each class's best threshold.

    Args:
        pairs: of `DetectionMetric`, image i of `dataset` with what was found there.
        class_names: the model's.
        dataset: where the images come from.
    """
    found = curves.curves(pairs, len(class_names))
    thresholds = [curve.best["threshold"] for curve in found]
    worst = []
    for kind, errors in zip(("false", "missed"), curves.worst(pairs, thresholds, limit=SHOWN), strict=True):
        for error in errors:
            sample = pairs[error.image][0]
            score = "" if error.score is None else f" {error.score:.2f}"
            text = f"{kind}: {class_names[error.label]}{score}"
            draw = partial(_draw_object, dataset, error, text, sample, class_names)
            worst.append(Mistake(kind, sample.id, text, draw))
    return Closely(
        confusion=curves.confusion(pairs, len(class_names), thresholds),
        names=[*class_names, BACKGROUND],
        title="objects, at each class's best threshold",
        curves=found,
        worst=worst,
    )


def of_classifier(matrix: np.ndarray, scores: np.ndarray, labels: np.ndarray, class_names, dataset: Dataset) -> Closely:
    """The images that were surest of a wrong class.

    Args:
        matrix: int `[K, K]` of `ClassificationMetric`.
        scores: float32 `[N, 2]` of each image: of the class that was said, and of the one that is right.
        labels: int `[N, 2]`: the class that was said and the one that is right.
        class_names: the model's.
        dataset: the N images.
    """
    wrong = np.flatnonzero(labels[:, 0] != labels[:, 1])
    wrong = wrong[np.argsort(-scores[wrong, 0], kind="stable")][:SHOWN]
    worst = []
    for i in wrong:
        said, truth = (class_names[k] for k in labels[i])
        text = f"{truth}, said to be {said} ({scores[i, 0]:.0%}; {truth} {scores[i, 1]:.0%})"
        worst.append(Mistake("mixed up", dataset.records[i].id, text, partial(_image, dataset, int(i))))
    return Closely(confusion=matrix, names=list(class_names), title="images", worst=worst)


def of_segmenter(matrix: np.ndarray, wrong: Sequence[float], table, predictor, dataset: Dataset) -> Closely:
    """The images with the greatest share of wrong pixels.

    Args:
        matrix: int `[K, K]` of `SegmentationMetric`.
        wrong: of each image the share of its pixels.
        table: int `[256]`, the model's class id for each of the data's.
        predictor: is run again on the images that are drawn.
        dataset: the images.
    """
    worst = []
    for i in np.argsort(-np.asarray(wrong), kind="stable")[:SHOWN]:
        if wrong[i] > 0:
            draw = partial(_draw_map, predictor, dataset, int(i), table)
            worst.append(Mistake("pixels", dataset.records[i].id, f"{wrong[i]:.1%} of its pixels are wrong", draw))
    return Closely(confusion=matrix, names=list(predictor.class_names), title="pixels", worst=worst)


def best_thresholds(closely: Closely) -> dict[str, dict]:
    """For each class with objects `{"threshold", "F1", "precision", "recall"}` at its best threshold."""
    return {name: curve.best for name, curve in zip(closely.names, closely.curves, strict=False) if curve.objects}


def write_mistakes(closely: Closely, folder: Path) -> None:
    """Writes confusion.png and pictures of the worst mistakes in worst/; of a detector pr.png, f1.png, thresholds.csv.

    A picture's name says what it shows: 03-false-IMAGE.jpg is the fourth worst detection of nothing, 03-missed-... an
    object that was not found, 03-mixed-up-... an image of another class, 03-pixels-... an image, its truth and what
    was said of it with wrong pixels in red.
    """
    folder.mkdir(parents=True, exist_ok=True)
    confusion_picture(closely.confusion, closely.names, folder / "confusion.png", title=closely.title)
    if closely.curves:
        class_names, table = closely.names[:-1], best_thresholds(closely)
        curves_pictures(closely.curves, class_names, folder / "pr.png", folder / "f1.png")
        lines = ["class,threshold,F1,precision,recall"]
        lines += [",".join([f'"{name}"', *(f"{value:.4f}" for value in row.values())]) for name, row in table.items()]
        write_bytes(folder / "thresholds.csv", ("\n".join(lines) + "\n").encode())
    numbers = dict.fromkeys((mistake.kind for mistake in closely.worst), 0)
    for mistake in closely.worst:
        name = f"{numbers[mistake.kind]:02d}-{mistake.kind.replace(' ', '-')}-{mistake.id.replace('/', '_')}.jpg"
        write_image(folder / "worst" / name, mistake.draw())
        numbers[mistake.kind] += 1


def _image(dataset, index):
    return dataset[index].image


def _draw_object(dataset, error, text, sample, class_names):
    return draw_mistake(dataset[error.image].image, error.box, text, sample, class_names)


def _draw_map(predictor, dataset, index, table):
    """The image with its wrong pixels in red, the truth, and what was said, side by side."""
    sample = dataset[index]
    truth, said = table[sample.segmentation], next(predictor([sample])).segmentation
    bad = ((truth != said) & (truth != IGNORE))[..., None]
    red = np.where(bad, 0.35 * sample.image + 0.65 * np.array(WRONG), sample.image).astype(np.uint8)
    parts = [red, *(draw_segmentation(sample.image, part, predictor.class_names) for part in (truth, said))]
    tallest = max(len(part) for part in parts)
    sheet = [np.full((tallest, part.shape[1], 3), PAPER, np.uint8) for part in parts]
    for place, part in zip(sheet, parts, strict=True):
        place[: len(part)] = part
    return np.concatenate(sheet, axis=1)

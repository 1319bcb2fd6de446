"""A close look at what a model gets wrong, and what `visionkit evaluate --curves DIR` writes of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.files import write_bytes
from visionkit.images import write_image
from visionkit.metrics import curves
from visionkit.metrics.coco_ap import Pairs
from visionkit.metrics.curves import Curve
from visionkit.metrics.pictures import confusion_picture, curves_pictures
from visionkit.predict.draw import draw_mistake, draw_segmentation
from visionkit.predict.palette import PAPER
from visionkit.types import IGNORE, SegmentationMap

SHOWN = 20  # of each kind
BACKGROUND = "(background)"
WRONG = (230, 30, 40)  # the colour of a wrong pixel


@dataclass(frozen=True)
class Mistake:
    """One of the worst mistakes.

    Args:
        kind: "false" or "missed" for a detector, "mixed up" for a classifier, "pixels" for a segmenter.
        id: of the sample.
        text: describes it in a few words.
        draw: `() -> uint8 [H, W, 3]`, draws it; the image is read only then.
    """

    kind: str
    id: str
    text: str
    draw: Callable[[], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class CloseLook:
    """What `evaluate` finds out beyond the scores.

    Args:
        confusion: int `[N, N]` counts of objects, images or pixels: rows are the truth, columns the predictions.
        names: the N classes of the confusion; a detector's last one is `BACKGROUND`.
        title: what the confusion counts, and under which condition.
        curves: one per class of a detector; empty for other tasks.
        worst: mistakes, the worst of each kind first.
    """

    confusion: np.ndarray
    names: list[str]
    title: str
    curves: Sequence[Curve] = ()
    worst: Sequence[Mistake] = ()


def of_detector(pairs: Pairs, class_names: list[str], dataset: Dataset) -> CloseLook:
    """Looks at the detections with the highest scores that hit nothing, and the largest objects that were missed.

    Confusion and mistakes are those at each class's best threshold.

    Args:
        pairs: of `DetectionMetric`: sample i of `dataset` with its detections.
        class_names: the model's.
        dataset: where the images come from.
    """
    class_curves = curves.curves(pairs, len(class_names))
    thresholds = [curve.best["threshold"] for curve in class_curves]
    worst = []
    for kind, errors in zip(("false", "missed"), curves.worst(pairs, thresholds, limit=SHOWN), strict=True):
        for error in errors:
            sample = pairs[error.image][0]
            score = "" if error.score is None else f" {error.score:.2f}"
            text = f"{kind}: {class_names[error.label]}{score}"
            worst.append(
                Mistake(kind, sample.id, text, partial(_draw_object, dataset, pairs, error, text, class_names))
            )
    return CloseLook(
        confusion=curves.confusion(pairs, len(class_names), thresholds),
        names=[*class_names, BACKGROUND],
        title="objects, at each class's best threshold",
        curves=class_curves,
        worst=worst,
    )


def of_classifier(
    matrix: np.ndarray, scores: np.ndarray, labels: np.ndarray, class_names: Sequence[str], dataset: Dataset
) -> CloseLook:
    """Looks at the images that were assigned to a wrong class with the highest scores.

    Args:
        matrix: int `[K, K]` of `ClassificationMetric`.
        scores: float32 `[N, 2]`, for each image the scores of the predicted class and of the true one.
        labels: int `[N, 2]`: the predicted class and the true one.
        class_names: the model's.
        dataset: the N images.
    """
    wrong = np.flatnonzero(labels[:, 0] != labels[:, 1])
    wrong = wrong[np.argsort(-scores[wrong, 0], kind="stable")][:SHOWN]
    worst = []
    for i in wrong.tolist():
        predicted, truth = (class_names[k] for k in labels[i])
        text = f"{truth} predicted as {predicted} ({scores[i, 0]:.0%}; {truth} {scores[i, 1]:.0%})"
        worst.append(Mistake("mixed up", dataset.records[i].id, text, partial(_image, dataset, i)))
    return CloseLook(confusion=matrix, names=list(class_names), title="images", worst=worst)


def of_segmenter(
    matrix: np.ndarray, wrong: Sequence[float], table: np.ndarray, predictor: Any, dataset: Dataset
) -> CloseLook:
    """Looks at the images with the greatest share of wrong pixels.

    Args:
        matrix: int `[K, K]` of `SegmentationMetric`.
        wrong: the share of wrong pixels of each image.
        table: int `[256]`, the model's class id for each class id of the data.
        predictor: a `Predictor`; it is run again on the images that are drawn.
        dataset: the images.
    """
    worst = []
    for i in np.argsort(-np.asarray(wrong), kind="stable")[:SHOWN].tolist():
        if wrong[i] > 0:
            draw = partial(_draw_map, predictor, dataset, i, table)
            worst.append(Mistake("pixels", dataset.records[i].id, f"{wrong[i]:.1%} of its pixels are wrong", draw))
    return CloseLook(confusion=matrix, names=list(predictor.class_names), title="pixels", worst=worst)


def best_thresholds(look: CloseLook) -> dict[str, dict[str, float]]:
    """Returns `{"threshold", "F1", "precision", "recall"}` at the best threshold of each class with objects."""
    return {name: curve.best for name, curve in zip(look.names, look.curves, strict=False) if curve.objects}


def write_mistakes(look: CloseLook, folder: Path) -> None:
    """Writes confusion.png and pictures of the worst mistakes in worst/, and a detector's curves and thresholds.

    The latter are pr.png, f1.png and thresholds.csv.

    The name of a picture tells what it shows: 03-false-IMAGE.jpg is the fourth worst false detection, 03-missed-... an
    object that was not detected, 03-mixed-up-... an image of another class, 03-pixels-... an image with wrong pixels in
    red, beside its true and its predicted map.
    """
    folder.mkdir(parents=True, exist_ok=True)
    confusion_picture(look.confusion, look.names, folder / "confusion.png", title=look.title)
    if look.curves:
        curves_pictures(look.curves, look.names[:-1], folder / "pr.png", folder / "f1.png")
        lines = ["class,threshold,F1,precision,recall"]
        for name, best in best_thresholds(look).items():
            lines.append(",".join([f'"{name}"', *(f"{value:.4f}" for value in best.values())]))
        write_bytes(folder / "thresholds.csv", ("\n".join(lines) + "\n").encode())
    written: Counter[str] = Counter()
    for mistake in look.worst:
        kind, id = mistake.kind.replace(" ", "-"), mistake.id.replace("/", "_")
        write_image(folder / "worst" / f"{written[kind]:02d}-{kind}-{id}.jpg", mistake.draw())
        written[kind] += 1


def _image(dataset: Dataset, index: int) -> np.ndarray:
    image = dataset[index].image
    assert image is not None
    return image


def _draw_object(dataset: Dataset, pairs: Pairs, error: curves.Error, text: str, class_names: list[str]) -> np.ndarray:
    return draw_mistake(_image(dataset, error.image), error.box, text, pairs[error.image][0], class_names)


def _draw_map(predictor: Any, dataset: Dataset, index: int, table: np.ndarray) -> np.ndarray:
    """The image with its wrong pixels in red, the true map and the predicted map, side by side."""
    sample = dataset[index]
    assert sample.image is not None and sample.segmentation is not None
    prediction = next(predictor([sample]))
    assert isinstance(prediction, SegmentationMap)
    truth, predicted = table[sample.segmentation], prediction.segmentation
    bad = ((truth != predicted) & (truth != IGNORE))[..., None]
    red = np.where(bad, 0.35 * sample.image + 0.65 * np.array(WRONG), sample.image).astype(np.uint8)
    maps = [draw_segmentation(sample.image, part, predictor.class_names) for part in (truth, predicted)]
    parts = [red, *maps]
    tallest = max(len(part) for part in parts)
    sheet = [np.full((tallest, part.shape[1], 3), PAPER, np.uint8) for part in parts]
    for place, part in zip(sheet, parts, strict=True):
        place[: len(part)] = part
    return np.concatenate(sheet, axis=1)

"""Scores a model on a labelled data set through the same code that predicts: what is evaluated is what runs."""

import difflib
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from visionkit.data.box_formats import check_made_boxes
from visionkit.data.dataset import Dataset
from visionkit.evaluate.mistakes import CloseLook, best_thresholds, of_classifier, of_detector, of_segmenter
from visionkit.metrics.classification import ClassificationMetric
from visionkit.metrics.coco_ap import encode_masks
from visionkit.metrics.detection import DetectionMetric
from visionkit.metrics.resampling import intervals as intervals_of
from visionkit.metrics.segmentation import SegmentationMetric
from visionkit.metrics.weighted import Table
from visionkit.metrics.why_zero import ABOUT_ZERO
from visionkit.predict.ahead import DECODERS
from visionkit.predict.predictor import Predictor
from visionkit.types import IGNORE, DataError, Detections, Sample, check_sample, objects_of

# task -> the score that decides, the most telling first: the results of keypoints hold that of their boxes as well
MONITOR = {"keypoints": "keypoint_mAP", "detect": "mAP50", "instance": "mAP50", "classify": "top1", "segment": "mIoU"}
SCORE = 0.01  # detections below it do not change AP, and there are many; of a calibrated model see `lowest`

FEW = 100  # images; scores on fewer say little


@dataclass(frozen=True)
class Measured:
    """A model's predictions on a data set, counted.

    Args:
        scores: the `result` of its metric.
        tables: what the metric kept of each image.
        look: looks at the mistakes.
    """

    scores: dict[str, Any]
    tables: Sequence[Table]
    look: Callable[[], CloseLook]


class HasClasses(Protocol):
    """A Predictor or a Task."""

    @property
    def class_names(self) -> Sequence[str]: ...


def evaluate(predictor: Any, dataset: Dataset, closely: bool = False, intervals: bool = True) -> dict[str, Any]:
    """Scores a model and returns the `result` of its metric, with `seconds`.

    If a detector's mAP50 is about 0, `why` has the likely reasons. Maps are compared at each image's original size.

    Args:
        predictor: a `Predictor`, of a Task or of an exported model; or a Task; or any object with `task` and
            `class_names` that is called as `predictor(dataset, score=0.01)` and gives the results in order.
        dataset: labelled; its classes are matched with the model's by NAME, so their order does not matter.
        closely: also return `closely`, a `CloseLook` at the mistakes; for a detector, the best thresholds are then
            added to `per_class`.
        intervals: also return `intervals`, the 95 % bootstrap intervals over the images: score -> (low, high), and
            `class_intervals`: class -> score -> (low, high). See `metrics.resampling`.

    Raises:
        DataError: the data has a class that the model lacks, is for another task, or an image cannot be read.
    """
    start = time.monotonic()
    measured = measure(predictor, dataset)
    scores = measured.scores
    if intervals:
        names = getattr(predictor, "class_names", ())
        scores["intervals"], scores["class_intervals"] = intervals_of(measured.tables, names)
    scores["seconds"] = round(time.monotonic() - start, 2)
    if closely:
        scores["closely"] = measured.look()
        for name, best in best_thresholds(scores["closely"]).items():
            scores["per_class"][name] |= best
    return scores


def measure(predictor: Any, dataset: Dataset) -> Measured:
    """Runs a model on a data set; the arguments and errors are those of `evaluate`."""
    predictor = as_predictor(predictor)
    if not hasattr(dataset, "records"):
        found = type(dataset).__name__
        raise DataError(
            f"expected a data set, found {found}; make one: vk.Dataset(samples, class_names), vk.arrays(...)"
        )
    if not len(dataset):
        raise DataError(f"{dataset.source or 'the data set'}: holds no images to score the model on")
    score = {"classify": _classifier, "segment": _segmenter}.get(predictor.task, _detector)
    return score(predictor, dataset)


def as_predictor(model: Any) -> Any:
    """Returns the predictor of a model, or what is called like one as it is.

    Raises:
        DataError: it is neither, but for example the path of a model.
    """
    if hasattr(model, "serving"):  # a Task
        return Predictor(model)
    if not (hasattr(model, "task") and hasattr(model, "class_names")):
        found = repr(str(model)) if isinstance(model, str | Path) else type(model).__name__
        raise DataError(f"expected a model of visionkit or a Predictor, found {found}; vk.open_predictor opens a file")
    return model


def numbers(scores: dict[str, Any]) -> dict[str, int | float]:
    """Returns the scores that are a single number, without -1 (nothing to measure against)."""
    return {key: value for key, value in scores.items() if isinstance(value, int | float) and value != -1}


def with_intervals(scores: dict[str, Any]) -> dict[str, Any]:
    """Returns what `numbers` returns, for a JSON file with the intervals.

    `mAP50_low` and `mAP50_high` stand beside `mAP50`, and `per_class` has the same for each class.
    """
    flat: dict[str, Any] = numbers(scores) | _ends(scores.get("intervals", {}))
    ends = scores.get("class_intervals", {})
    flat["per_class"] = {name: numbers(row) | _ends(ends.get(name, {})) for name, row in scores["per_class"].items()}
    return flat


def small_test_set(scores: dict[str, Any]) -> str:
    """A sentence on how little a small test set says; "" if it is not small, or unknown."""
    images, intervals = scores.get("images", 0), scores.get("intervals")
    if intervals is None or images >= FEW:
        return ""
    key = next((key for key in MONITOR.values() if key in intervals), None)
    if key is None:
        return f"{images} images are too few to say how far these scores may be off."
    low, high = intervals[key]
    return f"{images} images are few: on others of the same kind, {key} may as well be {low:.2f} or {high:.2f}."


def _ends(intervals: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {f"{name}_{end}": pair[i] for name, pair in intervals.items() for i, end in enumerate(("low", "high"))}


def detection_pairs(predictor: Any, dataset: Dataset) -> list[tuple[Sample, Detections]]:
    """Each sample, in the model's class ids and without its image, with the detections down to `lowest`."""
    return _detected(predictor, dataset).pairs


def lowest(predictor: Any) -> float:
    """The score down to which detections are scored: 0.01, or what has become of it if the model is calibrated.

    The same detections are scored before and after a calibration, so that it cannot change AP.
    """
    calibration = getattr(predictor, "calibration", None)
    return SCORE if calibration is None else float(calibration(np.float32(SCORE)))


def _detected(predictor: Any, dataset: Dataset) -> DetectionMetric:
    ids = np.array(class_ids(predictor, dataset), np.int32)
    metric = DetectionMetric(predictor.class_names)
    check_made_boxes(dataset)
    truths = _Truths(dataset, lambda sample: encode_masks(sample.masks))
    samples = truths.samples if predictor.task == "instance" else dataset  # only masks are compared with masks
    for i, (record, detections) in enumerate(_predictions(dataset, predictor(samples, score=lowest(predictor)))):
        codes = None if detections.masks is None else truths.take(i)
        metric.update(replace(record, labels=ids[objects_of(record).labels]), detections, codes)
    return metric


def _detector(predictor: Any, dataset: Dataset) -> Measured:
    metric = _detected(predictor, dataset)
    scores = metric.result()
    if scores["mAP50"] < ABOUT_ZERO:
        scores["why"] = metric.why_zero()
    return Measured(scores, metric.tables(), lambda: of_detector(metric.pairs, predictor.class_names, dataset))


def _classifier(predictor: Any, dataset: Dataset) -> Measured:
    ids = class_ids(predictor, dataset)
    metric = ClassificationMetric(predictor.class_names)
    scores, labels = [], []  # of the predicted class and the true one
    for record, prediction in _predictions(dataset, predictor(dataset, score=SCORE)):
        if record.label is None:
            raise DataError(
                f"{dataset.source}: sample {record.id!r} has no class; a classifier is scored on class folders"
            )
        truth = ids[record.label]
        labels.append((prediction.scores.argmax(), truth))
        scores.append(prediction.scores[list(labels[-1])])
        metric.update(np.array([truth]), prediction.scores[None])
    look = partial(of_classifier, metric.matrix, np.array(scores), np.array(labels), predictor.class_names, dataset)
    return Measured(metric.result(), metric.tables(), look)


def _segmenter(predictor: Any, dataset: Dataset) -> Measured:
    if unnamed := _without_names(predictor.class_names, dataset):
        raise DataError(unnamed)
    table = np.full(IGNORE + 1, IGNORE, np.int32)  # class id of the data -> of the model
    table[: len(dataset.class_names)] = class_ids(predictor, dataset)
    metric = SegmentationMetric(predictor.class_names)
    truths = _Truths(dataset, lambda sample: sample.segmentation)
    wrong = []  # the share of wrong pixels of each image
    for i, (record, prediction) in enumerate(_predictions(dataset, predictor(truths.samples))):
        segmentation = truths.take(i)
        if segmentation is None:
            raise DataError(f"{dataset.source}: sample {record.id!r} has no class map; a segmenter is scored on those")
        truth, predicted = table[segmentation], prediction.segmentation
        metric.update(truth, predicted)
        counts = segmentation != IGNORE
        wrong.append(float((truth != predicted)[counts].mean()) if counts.any() else 0.0)
    look = partial(of_segmenter, metric.matrix, wrong, table, predictor, dataset)
    return Measured(metric.result(), metric.tables(), look)


def _without_names(names: Sequence[str], dataset: Dataset) -> str | None:
    """What to do about class maps whose values have no names, if the model's classes have some."""
    values = dataset.class_names
    if not all(value.isdecimal() for value in values) or set(values) <= set(names):
        return None
    text = f"{dataset.source}: the values {_few(values)} of the maps have no names; name them with --classes FILE"
    if max(map(int, values)) >= len(names):
        return f"{text}, a file with a line for each value from 0 on; the model knows {_few(names)}"
    lines = " ".join(map(shlex.quote, names))
    return f"{text}; if they are the model's {len(names)} classes in its order: printf '%s\\n' {lines} > FILE"


def _predictions(dataset: Dataset, predictions: Iterable[Any]) -> Iterator[tuple[Sample, Any]]:
    """Each record, checked, with its prediction."""
    for record, prediction in zip(dataset.records, predictions, strict=True):
        yield check_sample(record, len(dataset.class_names)), prediction


class _Truths:
    """What is true of each sample, kept when a predictor reads its file, so that none is read twice.

    Args:
        dataset: the data.
        truth: gives what is kept of a sample; called in the threads that decode.
    """

    def __init__(self, dataset: Dataset, truth: Callable[[Sample], Any]):
        self.dataset, self.truth = dataset, truth
        self.samples = Dataset(dataset.records, dataset.class_names, self._load, dataset.source)  # for the predictor
        self._kept: dict[int, Any] = {}  # by the record's identity: samples may share an id

    def _load(self, record: Sample) -> Sample:
        sample = self.dataset.load(record)
        self._kept[id(record)] = self.truth(sample)
        return sample

    def take(self, index: int) -> Any:
        """The truth of a sample, which is not kept any longer; its file is read if the predictor did without."""
        key = id(self.dataset.records[index])
        return self._kept.pop(key) if key in self._kept else self.truth(self.dataset[index])


def read_all(dataset: Dataset) -> None:
    """Reads every sample once, including its pixels, and raises the first `DataError` of a broken file."""

    def read(index: int) -> None:
        _ = dataset[index]  # not returned, so that its pixels are released

    with ThreadPoolExecutor(DECODERS) as pool:
        for _ in pool.map(read, range(len(dataset))):
            pass


def class_ids(model: HasClasses, dataset: Dataset) -> list[int]:
    """Returns the model's class id for each class id of the data; names are matched, and synonyms such as WordNet ids.

    Args:
        model: a Predictor or a Task.
        dataset: the data.

    Raises:
        DataError: the model lacks a class of the data.
    """
    known: dict[str, int] = dict(getattr(model, "synonyms", {}))
    for k, name in reversed(list(enumerate(model.class_names))):  # of equal names the first counts
        known[name] = k
    unknown = [name for name in dataset.class_names if name not in known]
    if unknown:
        lacking, available = _few(unknown), _few(model.class_names)
        alike = difflib.get_close_matches(unknown[0], known, n=1)
        question = f"; is {unknown[0]!r} what it calls {alike[0]!r}?" if alike else ""
        raise DataError(f"the data has classes that the model lacks: {lacking}; it knows {available}{question}")
    return [known[name] for name in dataset.class_names]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")

"""What models have said of the images of a data set: run now, or read from a file that they wrote."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit import npboxes
from visionkit.data.dataset import Dataset
from visionkit.data.files import number, read_json
from visionkit.evaluate.scores import SCORE, class_ids
from visionkit.limits import JSON
from visionkit.predict.formats import cell
from visionkit.suspects.pixels import Contradictions, contradictions
from visionkit.types import BOX_TASKS, DataError, Detections, Sample, objects_of

SUFFIXES = (".jsonl", ".json", ".csv")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is said of a data set.

    Args:
        dataset: the images of which something is said.
        answers: for each of them its detections, the probabilities float `[K]` of its classes, or the `Contradictions`
            of its pixels; in the class ids of the data set.
        left_out: how many images of the data set there are of which nothing is said.
    """

    dataset: Dataset
    answers: list[Any]
    left_out: int = 0

    @property
    def of_classes(self) -> bool:
        """Whether they are classes of whole images."""
        return isinstance(self.answers[0], np.ndarray)

    @property
    def of_pixels(self) -> bool:
        """Whether they are class maps."""
        return isinstance(self.answers[0], Contradictions)


@dataclass(frozen=True)
class _Named:
    """The classes of a file, for `class_ids`."""

    class_names: list[str]


def ask(predictor: Any, dataset: Dataset) -> Predictions:
    """Runs a model on a data set.

    Args:
        predictor: a `Predictor` of a detector, a classifier or a segmenter.
        dataset: labelled.

    Raises:
        DataError: the model is for another task, or lacks a class of the data.
    """
    if predictor.task == "segment":
        return Predictions(dataset, contradictions(predictor, dataset))
    if predictor.task not in (*BOX_TASKS, "classify"):
        raise DataError(f"suspects are found in boxes, classes and maps; this model is for the task {predictor.task}")
    ids = class_ids(predictor, dataset)
    answers: list[Any] = []
    for record, said in zip(dataset.records, predictor(dataset, score=SCORE), strict=True):
        if predictor.task == "classify":
            answers.append(np.asarray(said.scores, float)[ids])
        else:
            answers.append(_in_ids(record, said.boxes, said.scores, said.labels, ids))
    return Predictions(dataset, answers)


def read_predictions(file: Path, dataset: Dataset) -> Predictions:
    """Reads the predictions that `folds` or `detect` wrote, or those of any other detector in the form of the latter.

    Args:
        file: the folder of `visionkit folds`; its out_of_fold.jsonl or out_of_fold.csv; or a detections.json, a list of
            objects with `file_name`, `category`, `bbox` (x, y, width, height in pixels) and `score`. Images that do not
            occur in the file are left out.
        dataset: labelled; the images are found in it by id, or by the end of their path.

    Raises:
        DataError: the file is broken, has other classes, or says nothing about these images.
    """
    if (file / "folds.json").is_file():
        name = read_json(file / "folds.json", JSON).get("predictions")
        if not name:
            raise DataError(
                f"{file}: these folds have not finished; the same command of visionkit folds continues them"
            )
        file = file / Path(name).name
    if file.suffix not in SUFFIXES or not file.is_file():
        raise DataError(
            f"{file}: expected a file {', '.join(SUFFIXES)} with predictions, or a folder of visionkit folds"
        )
    read = {".jsonl": _read_lines, ".json": _read_list, ".csv": _read_table}[file.suffix]
    try:
        said = read(file, dataset)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: not the predictions that visionkit folds or detect writes ({error!r})") from None
    rows = sorted(said)
    if not rows:
        raise DataError(f"{file}: says nothing about the images of {dataset.source}; are they those of another split?")
    return Predictions(dataset.subset(rows), [said[row] for row in rows], len(dataset) - len(rows))


def _read_lines(file: Path, dataset: Dataset) -> dict[int, Any]:
    """out_of_fold.jsonl of `folds`: a line for each image."""
    said: dict[int, Any] = {}
    rows = {record.id: row for row, record in enumerate(dataset.records)}
    known: dict[tuple[str, ...], list[int]] = {}
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            content = json.loads(line)
            row = rows.get(content["id"])
            if row is None:
                continue
            names = tuple(content["classes"])
            if names not in known:
                known[names] = class_ids(_Named(list(names)), dataset)
            said[row] = _of_objects(dataset.records[row], content["objects"], known[names])
    return said


def _read_list(file: Path, dataset: Dataset) -> dict[int, Any]:
    """detections.json of `detect`: an entry for each object."""
    objects: dict[int, list[dict[str, Any]]] = {}
    find = _finder(dataset.records)
    ids = {name: k for k, name in enumerate(dataset.class_names)}
    for item in read_json(file, JSON):
        row, label = find(item["file_name"]), ids.get(item["category"])
        if row is None:
            continue
        of_image = objects.setdefault(row, [])
        if label is not None:
            box = npboxes.from_xywh(np.array([number(value, f"{file}: bbox") for value in item["bbox"]]))
            of_image.append({"box": box.tolist(), "score": item["score"], "label": label})
    every = list(range(len(dataset.class_names)))
    return {row: _of_objects(dataset.records[row], several, every) for row, several in objects.items()}


def _read_table(file: Path, dataset: Dataset) -> dict[int, Any]:
    """out_of_fold.csv of `folds`: a row for each image, with a column for each class."""
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        head, *lines = list(csv.reader(stream))
    if head[:4] != ["id", "fold", "label", "predicted"]:
        raise DataError(f"{file}: expected the columns id, fold, label, predicted and the classes, found {head[:4]}")
    columns = [4 + head[4:].index(cell(name)) for name in dataset.class_names]
    rows = {cell(record.id): row for row, record in enumerate(dataset.records)}
    return {
        rows[line[0]]: np.array([number(line[column], str(file)) for column in columns])
        for line in lines
        if line[0] in rows
    }


def _of_objects(record: Sample, objects: Iterable[dict[str, Any]], ids: Sequence[int]) -> Detections:
    objects = list(objects)
    boxes = np.array([item["box"] for item in objects], np.float32).reshape(-1, 4)
    scores = np.array([item["score"] for item in objects], np.float32)
    labels = np.array([item["label"] for item in objects], np.int32)
    return _in_ids(record, boxes, scores, labels, ids)


def _in_ids(
    record: Sample, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, ids: Sequence[int]
) -> Detections:
    """Detections in the class ids of the data, best first, without those of classes that the data lacks.

    Args:
        record: the image.
        boxes, scores, labels: of its detections.
        ids: the model's class id for each class id of the data.
    """
    own = {model: k for k, model in enumerate(ids)}
    kept = [i for i in np.argsort(-scores, kind="stable").tolist() if int(labels[i]) in own]
    return Detections(
        id=record.id,
        image_size=record.image_size,
        file=record.file,
        boxes=npboxes.clip(boxes[kept], record.image_size),
        scores=scores[kept],
        labels=np.array([own[int(labels[i])] for i in kept], np.int32),
    )


def _finder(records: Sequence[Sample]) -> Callable[[str], int | None]:
    """Finds the number of the sample whose image file has a name, or whose path ends with it."""
    by_name: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        by_name.setdefault("" if record.file is None else record.file.name, []).append(row)

    def find(name: str) -> int | None:
        candidates = by_name.get(Path(name).name, [])
        if len(candidates) > 1:
            candidates = [row for row in candidates if f"/{records[row].file}".endswith(f"/{name}")]
            if len(candidates) != 1:
                raise DataError(f"{name[:80]!r}: several images of the data have this name")
        return candidates[0] if candidates else None

    return find


def labels_of(dataset: Dataset) -> np.ndarray:
    """The annotated class of each image, int `[N]`.

    Raises:
        DataError: an image has none.
    """
    for record in dataset.records:
        if record.label is None:
            raise DataError(f"sample {record.id!r}: has no class, but the predictions are classes of whole images")
    return np.array([record.label for record in dataset.records])


def pairs_of(predictions: Predictions) -> list[tuple[Sample, Detections]]:
    """Each sample with its detections.

    Raises:
        DataError: a sample has no boxes.
    """
    for record in predictions.dataset.records:
        objects_of(record)
    return list(zip(predictions.dataset.records, predictions.answers, strict=True))

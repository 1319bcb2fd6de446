"""Two or three models and labelled images: everything that the page of a comparison shows."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visionkit.compare.differences import Comparison, Difference, compare, holm, verdict
from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import MONITOR, Measured, as_predictor, measure
from visionkit.metrics.matches import Matches
from visionkit.metrics.resampling import Intervals, intervals
from visionkit.types import BOX_TASKS, DataError

SHOWN = 6  # images of a pair of models, at most
TIMED, ROUNDS = 8, 3  # images of which the speed is measured, and how often


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One model.

    Args:
        name: as it was given.
        predictor: a `Predictor`.
        bytes: of its files; None if unknown.
        measured: its predictions, counted.
        intervals: of its overall scores.
        milliseconds: to predict one of these images, decoded already: the median; None until it was measured.
    """

    name: str
    predictor: Any
    bytes: int | None
    measured: Measured
    intervals: Intervals
    milliseconds: float | None

    @property
    def parameters(self) -> int | None:
        """The number of its weights; None where it is not known, as of an export."""
        count = getattr(getattr(self.predictor, "model", None), "count_params", None)
        return int(count()) if count else None

    @property
    def thresholds(self) -> np.ndarray | None:
        """A detector's best threshold for each class, float64 `[K]`; None for other tasks."""
        table = self.measured.tables[0]
        return table.best_thresholds() if isinstance(table, Matches) else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two of the models.

    Args:
        first, second: their places.
        comparison: of their scores.
        p: of the headline score, corrected for the number of pairs.
        images: indices of the images about which they differ most; those where `first` is worse come first.
        errors: float64 `[2, N]`, how wrong each is about every image; see `metrics.weighted.Table`.
    """

    first: int
    second: int
    comparison: Comparison
    p: float
    images: list[int]
    errors: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The result of a comparison; `print` shows `verdicts`.

    Args:
        headline: the score by which the models are compared first.
        models: in the order in which they were given.
        pairs: all pairs of them.
        dataset: the images.
        class_names: of all models.
    """

    headline: str
    models: list[Contestant]
    pairs: list[Pair]
    dataset: Dataset
    class_names: list[str]

    def verdicts(self) -> list[str]:
        """A sentence for each pair of models: which of them is better, by how much, and how sure that is."""
        sentences = []
        for pair in self.pairs:
            names = self.models[pair.first].name, self.models[pair.second].name
            difference = pair.comparison.overall[self.headline]
            sentences.append(verdict(*names, self.headline, difference, pair.comparison.images, pair.p))
        return sentences

    def __str__(self) -> str:
        return "\n".join(self.verdicts())

    def to_json(self) -> dict[str, Any]:
        """The numbers of the comparison, for a JSON file."""
        models = []
        for model in self.models:
            scores = {key: value for key, value in model.measured.scores.items() if key in model.intervals}
            ends = {key: list(model.intervals[key]) for key in scores}
            models.append(
                {"model": model.name, "scores": scores, "intervals": ends, "milliseconds": model.milliseconds}
                | {"parameters": model.parameters, "bytes": model.bytes}
            )
        pairs = []
        for pair in self.pairs:
            classes = pair.comparison.per_class
            pairs.append(
                {"first": self.models[pair.first].name, "second": self.models[pair.second].name}
                | {"overall": _numbers(pair.comparison.overall), "corrected_p": pair.p}
                | {"per_class": {name: _numbers(row) for name, row in classes.items()}}
                | {"images": [self.dataset.records[i].id for i in pair.images]}
            )
        return {"images": len(self.dataset), "headline": self.headline, "models": models, "pairs": pairs}


def _numbers(differences: dict[str, Difference]) -> dict[str, dict[str, float]]:
    return {
        name: {"first": d.first, "second": d.second, "difference": d.by, "low": d.low, "high": d.high, "p": d.p}
        for name, d in differences.items()
    }


def compare_models(models: Mapping[str, Any], dataset: Dataset, timed: bool = False) -> Contest:
    """Compares two or three models on the same images, as `visionkit compare` does.

    Args:
        models: name -> what `vk.evaluate` takes, of one task and with the same classes in the same order.
        dataset: labelled images that none of the models has learned from.
        timed: also measure how fast they are.

    Returns:
        A `Contest`: `print` shows the verdict on each pair in words, and `pairs` has the differences with intervals.

    Raises:
        DataError: there are fewer than two models or more than three, their tasks or classes differ, there are fewer
            than 5 images, or `evaluate` cannot score one of the models.
    """
    if not isinstance(models, Mapping):
        raise DataError('give the models to compare under their names, as in vk.compare({"old": a, "new": b}, dataset)')
    if len(models) not in (2, 3):
        raise DataError(f"expected two or three models to compare, found {len(models)}")
    predictors = [as_predictor(model) for model in models.values()]
    return hold(list(models), predictors, [None] * len(models), dataset, timed)


def hold(
    names: Sequence[str], predictors: Sequence[Any], sizes: Sequence[int | None], dataset: Dataset, timed: bool = True
) -> Contest:
    """Runs every model on the data and compares each with each.

    Args:
        names: of the models.
        predictors: the models, of one task and with the same classes in the same order.
        sizes: the bytes of their files, if known.
        dataset: labelled images.
        timed: also measure how fast they are.

    Raises:
        DataError: the tasks or the classes differ, or `evaluate` cannot score one of them.
    """
    check_alike(names, predictors)
    class_names = list(predictors[0].class_names)
    results = [measure(predictor, dataset) for predictor in predictors]
    times = _milliseconds(predictors, dataset) if timed else [None] * len(names)
    models = []
    for name, predictor, size, result, time_of_one in zip(names, predictors, sizes, results, times, strict=True):
        ends, _ = intervals(result.tables, class_names)
        models.append(
            Contestant(
                name=name,
                predictor=predictor,
                bytes=size,
                measured=result,
                intervals=ends,
                milliseconds=time_of_one,
            )
        )
    headline = MONITOR[predictors[0].task]
    places = list(itertools.combinations(range(len(names)), 2))
    found = [compare(results[i].tables, results[j].tables, class_names) for i, j in places]
    if not all(headline in comparison.overall for comparison in found):
        raise DataError(f"{dataset.source}: there is nothing to measure {headline} against")
    corrected = holm([comparison.overall[headline].p for comparison in found])
    pairs = []
    for (i, j), comparison, p in zip(places, found, corrected, strict=True):
        errors = np.stack([results[k].tables[0].errors() for k in (i, j)])  # [2, N]
        images = _most_different(errors)
        pairs.append(Pair(first=i, second=j, comparison=comparison, p=p, images=images, errors=errors))
    return Contest(headline=headline, models=models, pairs=pairs, dataset=dataset, class_names=class_names)


def check_alike(names: Sequence[str], predictors: Sequence[Any]) -> None:
    """Raises a DataError unless all models have the same task and the same classes in the same order."""
    first, classes = predictors[0], list(predictors[0].class_names)
    for name, other in zip(names[1:], predictors[1:], strict=True):
        if other.task != first.task and not (other.task in BOX_TASKS and first.task in BOX_TASKS):
            raise DataError(
                f"{name} is for the task {other.task} and {names[0]} for {first.task}: compare like with like"
            )
        theirs = list(other.class_names)
        if theirs == classes:
            continue
        if sorted(theirs) == sorted(classes):
            raise DataError(f"{name} has the classes of {names[0]} in another order; train both on the same data")
        of_both = f"of the classes of {name} and {names[0]}, {len(set(theirs) & set(classes))} are the same"
        raise DataError(f"{of_both}, {len(set(theirs) ^ set(classes))} are not: such scores cannot be compared")


def _most_different(errors: np.ndarray) -> list[int]:
    """The images with the largest differences `[2, N]` in both directions, half of them each where there are enough."""
    gap = errors[0] - errors[1]
    order = np.argsort(-gap, kind="stable")
    worse_first = [i for i in order[: SHOWN // 2].tolist() if gap[i] > 0]
    worse_second = [i for i in order[::-1][: SHOWN // 2].tolist() if gap[i] < 0]
    return worse_first + worse_second


def _milliseconds(predictors: Sequence[Any], dataset: Dataset) -> list[float | None]:
    """The time of each model for one of the images, in turn so that whatever slows the machine down slows all."""
    images = [dataset[i].image for i in range(min(TIMED, len(dataset)))]
    times = np.full((len(predictors), ROUNDS), np.nan)
    for turn in range(ROUNDS):
        for i, predictor in enumerate(predictors):
            start = time.perf_counter()
            for _ in predictor(images):
                pass
            times[i, turn] = (time.perf_counter() - start) / len(images)
    return [1000 * float(value) for value in np.median(times, axis=1)]

"""k-fold cross-validation: each training image is held out once and scored by a model that has not seen it."""

import csv
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from visionkit.data.batches import steps_per_epoch
from visionkit.data.dataset import Dataset
from visionkit.evaluate.scores import SCORE
from visionkit.experiments.rates import Hurried, rate_of
from visionkit.experiments.runs import begin, finish, metric_of, settle, summary
from visionkit.files import as_json, whole_file, write_json
from visionkit.open_model import open_predictor
from visionkit.predict.formats import cell, to_record
from visionkit.predict.predictor import Prediction
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe
from visionkit.train.resume import knobs_of, recipe_by_name, recipe_name
from visionkit.types import DataError, Sample


def deal(records: Sequence[Sample], k: int, seed: int = 0) -> np.ndarray:
    """Deals the samples to `k` folds, drawn by `seed`, with the same share of each kind in every fold.

    A sample's kind is its class, or, if it has boxes, the rarest class among them; samples with neither are all of one
    kind. The sizes of the folds, and the numbers of one kind in them, differ by at most 1.

    Returns:
        int64 `[N]`, 0..k-1: the fold in which each sample is held out.

    Raises:
        DataError: there are fewer samples than folds, or fewer than two folds.
    """
    if not 2 <= k <= len(records):
        raise DataError(f"--k {k}: expected 2 to {len(records)} folds, as there are {len(records)} training images")
    images = Counter(label for record in records for label in _classes(record))  # per class
    kinds = [min(_classes(record), key=lambda label: (images[label], label), default=-1) for record in records]
    order = np.random.default_rng(seed).permutation(len(records))
    order = order[np.argsort(np.array(kinds)[order], kind="stable")]  # one kind after the other, each shuffled
    fold = np.empty(len(records), np.int64)
    fold[order] = np.arange(len(records)) % k
    return fold


def held_out(recipe: str, knobs: dict, k: int, fold: int, last: bool = True, seed: int = 0) -> Recipe:
    """Another recipe, changed so that it learns from all but one fold of its training set and is scored on that fold.

    The schedule of the learning rate is shortened to the smaller number of steps.

    Args:
        recipe: the other recipe's name, for `recipe_by_name`.
        knobs: its knobs, as JSON has them.
        k, fold: how many folds there are, and which one is held out, from 0.
        last: whether to score and keep the last epoch only, since an epoch chosen on the fold would flatter its score.
            False scores as often, and stops as early, as the recipe says.
        seed: of the folds; it is the same for all runs of one experiment.
    """
    recipe_function = recipe_by_name(recipe)
    changed: Recipe = recipe_function(**knobs_of(recipe_function, knobs))
    whole = changed.train
    where = deal(whole.records, k, seed)
    changed.train = whole.subset(np.flatnonzero(where != fold).tolist())
    changed.val = whole.subset(np.flatnonzero(where == fold).tolist())
    planned = steps_per_epoch(whole, changed.batch_size)
    steps = steps_per_epoch(changed.train, changed.batch_size)
    for phase in changed.phases:
        rate = rate_of(phase.optimizer)
        if callable(rate):
            phase.optimizer.learning_rate = Hurried(rate, planned, steps)
    if last:
        changed.evaluate_every = changed.epochs
        changed.patience = None
    return changed


def held_out_knobs(
    recipe_function: Callable, recipe_file: Path | None, knobs: dict, k: int, fold: int, last: bool
) -> dict:
    """The knobs of `held_out`, for `run`; the `seed` is that of `knobs`.

    Args:
        recipe_file: a copy of the recipe's file that will stay where it is, or None.
    """
    name = str(recipe_file.absolute()) if recipe_file else recipe_name(recipe_function)
    return {"recipe": name, "knobs": as_json(knobs), "k": k, "fold": fold, "last": last, "seed": knobs.get("seed", 0)}


def folds(
    recipe_function: Callable[..., Recipe],
    knobs: dict,
    k: int,
    out: Path,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> dict:
    """Trains `recipe_function(**knobs)` once per fold, in the run folders `out`/fold-N; the recipe's `val` is not used.

    If it is interrupted, the same arguments continue it.

    Returns:
        What it writes to `out`/folds.json: `metric`, its name; `rows`, a dict with fold, images, score and seconds for
        each run; `summary` of the scores; and `predictions`, the name of the file that `write_predictions` wrote.

    Raises:
        DataError: too few images for `k`; or see `begin`.
    """
    recipe = recipe_function(**knobs)
    train, task = recipe.train, recipe.model.task
    where = deal(train.records, k, knobs.get("seed", 0))  # before the folder is made, which wrong input must not leave
    del recipe
    options = settle(options, recipe_function, knobs, out)
    begin(out, recipe_function, recipe_file, {"verb": "folds", "knobs": knobs, "k": k, "precision": options.precision})
    kept = out / "recipe.py" if recipe_file else None
    rows = []
    for fold in range(k):
        print(f"fold {fold + 1} of {k}")
        folder = out / f"fold-{fold}"
        held_knobs = held_out_knobs(recipe_function, kept, knobs, k, fold, last=True)
        results = finish(held_out, held_knobs, folder, None, options)
        metric = metric_of(results, folder)
        row = {"fold": fold, "images": results["val_images"], metric: results[metric], "seconds": results["seconds"]}
        rows.append(row)
    experiment = {"metric": metric, "rows": rows, "summary": summary([row[metric] for row in rows])}
    write_json(out / "folds.json", experiment)
    experiment["predictions"] = write_predictions(train, task, where, out).name
    write_json(out / "folds.json", experiment)
    return experiment


def write_predictions(train: Dataset, task: str, where: np.ndarray, out: Path) -> Path:
    """Writes the predictions of the models in `out`/fold-N for the images that they have not seen, all in one file.

    A classifier's out_of_fold.csv has a row per image: id, fold, label, predicted, and a score for each class by its
    name. A segmenter's out_of_fold.npz has a map uint8 `[H, W]` for each image, under its id. A detector's
    out_of_fold.jsonl has a line per image: id, fold, classes (their names), and what `to_record` gives for it.

    Args:
        where: the fold of each sample in `train`, from `deal`.

    Returns:
        The file.
    """
    name, write = WRITERS.get(task, ("out_of_fold.jsonl", _write_lines))
    with whole_file(out / name, sync=True) as path:
        write(path, train.class_names, _predictions(train, where, out))
    return out / name


def _predictions(train: Dataset, where: np.ndarray, out: Path) -> Iterator[tuple[int, Sample, Prediction]]:
    """(fold, record, prediction) of each image, one fold after the other."""
    for fold in range(where.max() + 1):
        val = train.subset(np.flatnonzero(where == fold).tolist())
        predictor = open_predictor(out / f"fold-{fold}")
        for record, prediction in zip(val.records, predictor(val, score=SCORE), strict=True):
            yield fold, record, prediction


def _write_csv(path: Path, names: list[str], predictions: Iterator) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:  # ids are file names
        table = csv.writer(file)
        names = [cell(name) for name in names]
        table.writerow(["id", "fold", "label", "predicted", *names])
        for fold, record, prediction in predictions:
            scores = [round(float(score), 6) for score in prediction.scores]
            table.writerow([cell(record.id), fold, names[record.label], names[prediction.scores.argmax()], *scores])


def _write_maps(path: Path, names: list[str], predictions: Iterator) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # like np.savez_compressed, but one at a time
        for _, record, prediction in predictions:
            name = record.id.encode(errors="backslashreplace").decode()
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, prediction.segmentation.astype(np.uint8), allow_pickle=False)


def _write_lines(path: Path, names: list[str], predictions: Iterator) -> None:
    with path.open("w") as file:
        for fold, record, prediction in predictions:
            file.write(json.dumps({"id": record.id, "fold": fold, "classes": names} | to_record(prediction)) + "\n")


WRITERS = {"classify": ("out_of_fold.csv", _write_csv), "segment": ("out_of_fold.npz", _write_maps)}


def _classes(record: Sample) -> set[int]:
    if record.label is not None:
        return {int(record.label)}
    return set() if record.labels is None else set(record.labels.tolist())

"""k-fold cross-validation: each training image is held out once, and scored by a model that has not seen it."""

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
from visionkit.experiments.runs import begin, finish, metric_of, summary
from visionkit.files import as_json, whole_file, write_json
from visionkit.open_model import open_predictor
from visionkit.predict.formats import to_record
from visionkit.predict.predictor import Failure, Prediction
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe
from visionkit.train.resume import knobs_of, recipe_by_name, recipe_name
from visionkit.types import DataError, Sample


def deal(records: Sequence[Sample], k: int, seed: int = 0) -> np.ndarray:
    """Which fold each sample is held out in, int `[N]` of 0..k-1: drawn by `seed`, the same share of each kind in all.

    A sample's kind is its class, or of one with boxes the rarest class in it; else all are of one kind. The sizes of
    the folds, and in them the numbers of a kind, differ by 1 at most.

    Raises:
        DataError: there are fewer samples than folds.
    """
    if not 2 <= k <= len(records):
        raise DataError(f"--k {k}: expected 2 to {len(records)} folds, as there are {len(records)} training images")
    images = Counter(label for record in records for label in _classes(record))  # with each class
    kinds = [min(_classes(record), key=lambda label: (images[label], label), default=-1) for record in records]
    order = np.random.default_rng(seed).permutation(len(records))
    order = order[np.argsort(np.array(kinds)[order], kind="stable")]  # one kind after the other, each shuffled
    fold = np.empty(len(records), np.int64)
    fold[order] = np.arange(len(records)) % k
    return fold


def held_out(recipe: str, knobs: dict, k: int, fold: int, last: bool = True, seed: int = 0) -> Recipe:
    """A recipe that learns from all but one fold of another's training set and is scored on that fold.

    The learning rate's schedule takes its whole course in the fewer steps.

    Args:
        recipe: a name for `recipe_by_name`.
        knobs: its knobs, as JSON has them.
        k, fold: how many there are, and which one is held out, from 0.
        last: score and keep the last epoch alone, as an epoch chosen on the fold would flatter it. False scores as
            often, and stops as early, as the recipe says.
        seed: of the folds; they are the same for all runs of one experiment.
    """
    function = recipe_by_name(recipe)
    plan = function(**knobs_of(function, knobs))
    planned = steps_per_epoch(plan.train, plan.batch_size)
    where = deal(plan.train.records, k, seed)
    plan.val, plan.train = (plan.train.subset(np.flatnonzero(rows).tolist()) for rows in (where == fold, where != fold))
    steps = steps_per_epoch(plan.train, plan.batch_size)
    for phase in plan.phases:
        if callable(rate := rate_of(phase.optimizer)):
            phase.optimizer.learning_rate = Hurried(rate, planned, steps)
    if last:
        plan.evaluate_every, plan.patience = plan.epochs, None
    return plan


def held_out_knobs(recipe: Callable, recipe_file: Path | None, knobs: dict, k: int, fold: int, last: bool) -> dict:
    """The knobs of `held_out`, for `run`; its `seed` is the recipe's.

    Args:
        recipe_file: a copy that stays, or None.
    """
    name = str(recipe_file.absolute()) if recipe_file else recipe_name(recipe)
    return {"recipe": name, "knobs": as_json(knobs), "k": k, "fold": fold, "last": last, "seed": knobs.get("seed", 0)}


def folds(
    recipe: Callable,
    knobs: dict,
    k: int,
    out: Path,
    recipe_file: Path | None = None,
    options: Options = Options(),  # noqa: B008, it is frozen
) -> dict:
    """Trains `recipe(**knobs)` once a fold, a run folder each, `out`/fold-N; the recipe's own `val` is not used.

    Stopped and begun again with the same arguments, it goes on where it was.

    Returns:
        What it writes to `out`/folds.json: `metric`, its name; `rows`, a dict with fold, images, score and seconds a
        run; `summary` of the scores; and `predictions`, the file of what `write_predictions` wrote.

    Raises:
        DataError: too few images for `k`; or see `begin`.
    """
    begin(out, recipe, recipe_file, {"verb": "folds", "knobs": knobs, "k": k, "precision": options.precision})
    kept = out / "recipe.py" if recipe_file else None
    rows = []
    for fold in range(k):
        print(f"fold {fold + 1} of {k}")
        settings = held_out_knobs(recipe, kept, knobs, k, fold, last=True)
        results = finish(held_out, settings, out / f"fold-{fold}", None, options)
        metric = metric_of(results, out / f"fold-{fold}")
        rows.append({"fold": fold, "images": results["val_images"], metric: results[metric]})
        rows[-1]["seconds"] = results["seconds"]
    found = {"metric": metric, "rows": rows, "summary": summary([row[metric] for row in rows])}
    write_json(out / "folds.json", found)
    plan = recipe(**knobs)
    where = deal(plan.train.records, k, knobs.get("seed", 0))
    found["predictions"] = write_predictions(plan.train, plan.model.task, where, out).name
    write_json(out / "folds.json", found)
    return found


def write_predictions(train: Dataset, task: str, where: np.ndarray, out: Path) -> Path:
    """Writes what the models in `out`/fold-N say of the images that they have not seen, one file for all folds.

    A classifier's out_of_fold.csv has a row an image: id, fold, label, predicted, and a score for each class by its
    name. A segmenter's out_of_fold.npz has a map uint8 `[H, W]` an image, under its id. A detector's out_of_fold.jsonl
    has a line an image: id, fold, classes (their names), and what `to_record` says of it.

    Args:
        where: the fold of each sample in `train`, from `deal`.
    """
    name, write = {"classify": ("out_of_fold.csv", _write_csv), "segment": ("out_of_fold.npz", _write_maps)}.get(
        task, ("out_of_fold.jsonl", _write_lines)
    )
    with whole_file(out / name, sync=True) as path:
        write(path, train.class_names, _predictions(train, where, out))
    return out / name


def _predictions(train, where, out) -> Iterator[tuple[int, Sample, Prediction]]:
    for fold in range(where.max() + 1):
        val = train.subset(np.flatnonzero(where == fold).tolist())
        predictor = open_predictor(out / f"fold-{fold}")
        for record, found in zip(val.records, predictor(val, score=SCORE), strict=True):
            if isinstance(found, Failure):
                raise DataError(f"{found.file or found.id}: {found.error}")
            yield fold, record, found


def _write_csv(path, names, predictions):
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:  # ids are files' names
        table = csv.writer(file)
        table.writerow(["id", "fold", "label", "predicted", *names])
        for fold, record, found in predictions:
            scores = [round(float(score), 6) for score in found.scores]
            table.writerow([record.id, fold, names[record.label], names[found.scores.argmax()], *scores])


def _write_maps(path, names, predictions):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:  # as np.savez_compressed, but one at a time
        for _, record, found in predictions:
            name = record.id.encode(errors="backslashreplace").decode()
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, found.segmentation.astype(np.uint8), allow_pickle=False)


def _write_lines(path, names, predictions):
    with path.open("w") as file:
        for fold, record, found in predictions:
            file.write(json.dumps({"id": record.id, "fold": fold, "classes": names} | to_record(found)) + "\n")


def _classes(record: Sample) -> set[int]:
    if record.label is not None:
        return {int(record.label)}
    return set() if record.labels is None else set(record.labels.tolist())

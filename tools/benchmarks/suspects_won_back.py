"""What does correcting suspicious labels gain? Trainings on right, wrong and corrected labels of the same images.

python tools/benchmarks/suspects_won_back.py DATA WORK RESULTS.json [--share 0.05] [--first 100] ...

Into the training labels of DATA, boxes with the splits train and test, a share of errors is planted: as many missing,
invented, wrongly named and badly placed objects. Models that have learned from the wrong labels of the other images,
with the defaults of `visionkit finetune --from`, say which labels are suspicious, as `visionkit suspects` asks them; of
the first of them, those that are planted errors are put right. Then a detector is trained on the right labels, the
wrong ones and the corrected ones, each with the same number of steps from the same start, and scored on test. A seed
draws the errors, the folds and the training, and is the same for all labels.

WORK keeps every training: what has finished is not done again, and another share, or another number of corrected
labels, is added. RESULTS.json has, for each share, the scores, the share of planted errors among the suspects, and the
differences: of each seed with a paired interval over the images, and of the mean of all seeds with two intervals, one
over the images (bootstrap) and one over the seeds (Student's).
"""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.wrong_labels import found_errors, plant  # noqa: E402 -- found only now

from visionkit.compare.differences import compare  # noqa: E402
from visionkit.data.recognise import open_dataset  # noqa: E402
from visionkit.data.writers import write_annotations  # noqa: E402
from visionkit.evaluate.scores import measure  # noqa: E402
from visionkit.files import write_json  # noqa: E402
from visionkit.metrics.resampling import interval, replications  # noqa: E402
from visionkit.open_model import open_predictor  # noqa: E402

SCORES = ("mAP50", "mAP")
KNOBS = ("start", "epochs", "image_size", "batch_size", "lr", "freeze")


def write_labels(samples, names, folder):
    """Writes samples as a COCO data set with the one split train, whose images are copies; returns the folder."""
    if not (folder / "annotations").is_dir():  # it is written last
        (folder / "train").mkdir(parents=True, exist_ok=True)
        for sample in samples:
            shutil.copy(sample.file, folder / "train" / sample.file.name)
        write_annotations(samples, names, folder / "annotations" / "instances_train.json", lambda each: each.file.name)
    return folder


def train(data, out, knobs):
    """The folder of a finished training; one that was interrupted goes on."""
    from visionkit.experiments.runs import finish
    from visionkit.recipes import RECIPES
    from visionkit.train.options import Options

    finish(RECIPES["detect"], {"data": data} | knobs, out, None, Options(keep_checkpoints=1))
    return out


def ranked_suspects(data, out, knobs, folds, names):
    """The suspicious labels of `data`, whose images and labels models of `folds` parts judge that did not have them."""
    from visionkit.experiments.folds import folds as validate
    from visionkit.recipes import RECIPES
    from visionkit.suspects.find import find_suspects
    from visionkit.suspects.predictions import read_predictions
    from visionkit.train.options import Options

    validate(RECIPES["detect"], {"data": data} | knobs, folds, out, options=Options(keep_checkpoints=1))
    dataset = open_dataset(data, "train", "detect")
    assert dataset.class_names == list(names)
    return find_suspects(read_predictions(out, dataset)), dataset


def trained_models(options, seed):
    """(labels -> the run that learned from them, what was planted and found) for one seed."""
    whole = open_dataset(options.data, "train", "detect")
    pairs: list[Any] = [(replace(record, ignore=None), None) for record in whole.records]
    names, knobs = whole.class_names, knobs_of(options, seed)
    here = options.work / f"{options.share:g}-{seed}"
    clean = options.work / "clean"
    write_labels([sample for sample, _ in pairs], names, clean / "labels")
    runs = {"right": train(clean / "labels", clean / f"run-{seed}", knobs)}
    wrong, planted = plant(pairs, options.share, seed, len(names))
    labels = write_labels([sample for sample, _ in wrong], names, here / "wrong" / "labels")
    runs["wrong"] = train(labels, here / "wrong" / "run", knobs)
    of_folds = {key: knobs[key] for key in ("start", "learn_from", "seed")} | {"epochs": options.fold_epochs}
    suspects, read = ranked_suspects(labels, here / "folds", of_folds, options.folds, names)
    order = {record.id: number for number, record in enumerate(read.records)}
    back = {order[Path(sample.file).stem]: number for number, (sample, _) in enumerate(pairs)}
    numbers = found_errors([replace(each, image=back[each.image]) for each in suspects], planted)
    said: dict[str, Any] = {"labels": sum(len(sample.boxes) for sample, _ in pairs), "planted": len(planted)}
    said["of_first_50"] = sum(number >= 0 for number in numbers[:50])
    for first in options.first:
        corrected = {number for number in numbers[:first] if number >= 0}
        said[f"corrected_{first}"] = len(corrected)
        better, _ = plant(pairs, options.share, seed, len(names), corrected)
        folder = here / f"corrected-{first}"
        labels = write_labels([sample for sample, _ in better], names, folder / "labels")
        runs[f"corrected_{first}"] = train(labels, folder / "run", knobs)
    return runs, said


def knobs_of(options, seed):
    """The knobs of every training."""
    return {key: getattr(options, key) for key in KNOBS} | {"learn_from": "train", "seed": seed}


def differences(tables, names):
    """What is written of `tables`: labels -> the tables of each seed."""
    images = tables["right"][0][0].images
    drawn = replications(images)
    said = {}
    pairs = [("wrong", "right")]
    for labels in tables:
        if labels.startswith("corrected"):
            pairs += [("wrong", labels), (labels, "right")]
    for one, other in pairs:
        both = [compare(a, b, names) for a, b in zip(tables[one], tables[other], strict=True)]
        row = {}
        for score in SCORES:
            by = [each.overall[score] for each in both]
            resampled = np.mean(
                [
                    b[0].scores(drawn).overall[score] - a[0].scores(drawn).overall[score]
                    for a, b in zip(tables[one], tables[other], strict=True)
                ],
                axis=0,
            )
            row[score] = mean_of([each.by for each in by], resampled, images)
            row[score]["seeds"] = [{"by": d.by, "low": d.low, "high": d.high, "p": d.p} for d in by]
        said[f"{other}_less_{one}"] = row
    return said


def mean_of(by, resampled, images):
    """The mean of the seeds' differences with both intervals.

    Args:
        by: the difference of each seed.
        resampled: their mean on the data sets of `replications`.
        images: how many images there are.
    """
    low, high = interval(resampled[:, None], images)
    row = {"mean": float(np.mean(by)), "low": float(low[0]), "high": float(high[0])}
    if len(by) > 1:
        half = stats.t.ppf(0.975, len(by) - 1) * np.std(by, ddof=1) / len(by) ** 0.5
        row |= {"low_seeds": float(np.mean(by) - half), "high_seeds": float(np.mean(by) + half)}
    return row


def main(options):
    """Trains what is not there yet, and writes and prints the results."""
    test = open_dataset(options.data, "test", "detect")
    tables: dict[str, list[Any]] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    found = []
    for seed in range(options.seeds):
        runs, said = trained_models(options, seed)
        found.append(said)
        print(f"seed {seed}: {said}", flush=True)
        for labels, run in runs.items():
            measured = measure(open_predictor(run), test)
            tables.setdefault(labels, []).append(measured.tables)
            for score in SCORES:
                of_score = scores.setdefault(labels, {}).setdefault(score, [])
                of_score.append(float(measured.scores[score]))
            print(f"  {labels}: " + ", ".join(f"{score} {measured.scores[score]:.4f}" for score in SCORES), flush=True)
    means = {labels: {score: float(np.mean(row[score])) for score in SCORES} for labels, row in scores.items()}
    settings = {key: getattr(options, key) for key in (*KNOBS, "folds", "fold_epochs")}
    content = json.loads(options.results.read_text()) if options.results.is_file() else {}
    content[f"{options.share:.0%}"] = {
        "settings": settings,
        "images": len(test),
        "seeds": found,
        "found": {key: float(np.mean([of_seed[key] for of_seed in found])) for key in found[0]},
        "scores": scores,
        "means": means,
        "differences": differences(tables, test.class_names),
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.results, content)
    for name, row in content[f"{options.share:.0%}"]["differences"].items():
        for score in SCORES:
            ends = ", ".join(f"{key} {row[score][key]:+.4f}" for key in row[score] if key != "seeds")
            print(f"{name}, {score}: {ends}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "work", "results"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of the labels that are made wrong")
    parser.add_argument("--first", type=int, nargs="+", default=[100], help="how many suspects are looked at")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--fold-epochs", type=int, default=30, help="of the models that judge the labels")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3, help="for 16 images a step, as finetune takes it")
    parser.add_argument("--freeze", default="C1", help="levels of the backbone up to this one keep their weights")
    parser.add_argument("--start", default="nanodet_g_coco", help="see visionkit finetune --from")
    main(parser.parse_args())

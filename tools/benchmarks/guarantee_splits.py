"""Is a guarantee kept? Random halves of labelled images: one makes the promise, and on the other it is counted.

python tools/benchmarks/guarantee_splits.py detect NAME MODEL DATA SPLIT CACHE    runs a detector once
python tools/benchmarks/guarantee_splits.py count CACHE RESULTS.json              the splits: numpy alone, some minutes

CACHE is a folder with a file for each detector. SPLIT is one that the model has not learned from, or several such as
val+test. DATA may be `shapes`: 200 drawn images of 240 x 320. RESULTS.json has for each detector, and for each promised
share of missed objects and number of false detections an image: how many of the 1,000 splits allowed the promise, and
of these the mean of what happened on the images that had not been used, with its standard error. `least` is the share
of missed objects at the lowest threshold.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from visionkit.files import write_json  # noqa: E402 -- found only now
from visionkit.metrics.risk import (  # noqa: E402
    FalseAlarms,
    Found,
    alarm_threshold,
    cap_of,
    counted_alarms,
    find_false_alarms,
    found_objects,
    missed_share,
    score_threshold,
    split_images,
)

SPLITS = 1000
MISSES, ALARMS = (0.05, 0.1, 0.2), (0.5, 1.0, 2.0)


def detect(name, model, data, split, cache):
    """Writes CACHE/NAME.npz: how each object was found, and each false detection."""
    from visionkit.data.recognise import open_dataset
    from visionkit.data.shapes import shapes
    from visionkit.evaluate.scores import detection_pairs, lowest
    from visionkit.open_model import open_predictor

    predictor = open_predictor(Path(model))
    drawn = data == "shapes"
    dataset = shapes(200, (240, 320), seed=1, split=split) if drawn else open_dataset(Path(data), split, predictor.task)
    pairs = detection_pairs(predictor, dataset)
    found, alarms = found_objects(pairs), find_false_alarms(pairs)
    Path(cache).mkdir(parents=True, exist_ok=True)
    arrays = {f"found_{field}": getattr(found, field) for field in ("image", "label", "score", "beyond")}
    arrays |= {f"alarms_{field}": getattr(alarms, field) for field in ("image", "label", "score")}
    np.savez_compressed(Path(cache) / f"{name}.npz", **arrays, images=len(pairs), lowest=lowest(predictor))
    print(f"{name}: {len(pairs)} images, {len(found.image)} objects, {len(alarms.image)} false detections")


def read(file):
    """(Found, FalseAlarms, the score down to which there are detections) of a file that `detect` wrote."""
    with np.load(file) as arrays:
        found = Found(*(arrays[f"found_{field}"] for field in ("image", "label", "score", "beyond")))
        alarms = FalseAlarms(
            *(arrays[f"alarms_{field}"] for field in ("image", "label", "score")), int(arrays["images"])
        )
        return found, alarms, float(arrays["lowest"])


def misses(found, alpha):
    """The mean share of missed objects on the other half, for each split that allows the promise."""
    images, means = np.unique(found.image), []
    for seed in range(SPLITS):
        used, others = split_images(images, seed)
        threshold = score_threshold(found.part(np.isin(found.image, used)), alpha)
        if threshold is not None:
            means.append(missed_share(found.part(np.isin(found.image, others)), threshold).mean())
    return means


def false_alarms(alarms, alpha, lowest):
    """The mean number of false detections an image on the other half, as `misses`."""
    means = []
    for seed in range(SPLITS):
        used, others = split_images(np.arange(alarms.images), seed)
        threshold = alarm_threshold(_part(alarms, used), alpha)
        if threshold is not None:
            means.append(counted_alarms(_part(alarms, others), max(threshold, lowest), cap_of(alpha)).mean())
    return means


def _part(alarms, images):
    """The false detections of some of the images, int `[n]` ascending."""
    place = np.full(alarms.images, -1)
    place[images] = np.arange(len(images))
    keep = place[alarms.image] >= 0
    return FalseAlarms(place[alarms.image[keep]], alarms.label[keep], alarms.score[keep], len(images))


def row(means):
    """What is written of the means of the splits."""
    if not means:
        return {"splits": 0}
    return {"splits": len(means), "mean": float(np.mean(means)), "error": float(np.std(means) / len(means) ** 0.5)}


def count(cache, results):
    """Writes RESULTS.json and prints it."""
    said = {}
    for file in sorted(Path(cache).glob("*.npz")):
        found, alarms, lowest = read(file)
        least = float(missed_share(found, 0.0).mean())
        said[file.stem] = {"images": alarms.images, "objects": len(found.image), "least": least}
        said[file.stem]["missed"] = {f"{alpha:.0%}": row(misses(found, alpha)) for alpha in MISSES}
        numbers = {str(alpha).replace(".", "_"): row(false_alarms(alarms, alpha, lowest)) for alpha in ALARMS}
        said[file.stem]["false_alarms"] = numbers
        print(file.stem, json.dumps(said[file.stem], indent=1), flush=True)
    Path(results).parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(Path(results).read_text()) if Path(results).is_file() else {}
    write_json(Path(results), known | said)  # guarantee_pixels.py writes there, too


if __name__ == "__main__":
    task, arguments = {"detect": (detect, 5), "count": (count, 2)}.get((sys.argv + [""])[1], (None, 0))
    if task is None or len(sys.argv) != arguments + 2:
        raise SystemExit(__doc__)
    task(*sys.argv[2:])

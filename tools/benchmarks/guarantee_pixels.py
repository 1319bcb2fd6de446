"""Is a guarantee about pixels kept on photographs? CamVid: random halves, every other frame, and film by film.

python tools/benchmarks/guarantee_pixels.py DATA WORK RESULTS.json [--epochs 10] [--image-size 320]

DATA holds CamVid as SegNet splits it (train, trainannot, val, valannot), whose frames are from three films, which the
names begin with. An FCN learns from one film's training frames. Judged are the val frames, which are a few seconds of
the same film, and the training frames of the two other films, which lie a second apart.

Frames of one film are not independent. Drawing the halves at random makes them alike anyway, and so does taking every
other frame; what a promise is worth for another film, only other films show. RESULTS.json has, for each class and each
promised share of missed pixels: of 1,000 random halves, how many allowed the promise and the mean share that was missed
in the other half, with its standard error; of every other frame and of each pair of films, the share that was missed in
the frames that did not make the promise, or null if there were too few to make it. `warned` says which differences
`segment --guarantee` would warn of, between every other frame and between the films. WORK keeps the training and what
is missed at each threshold, and what is there is not done again. Other keys of RESULTS.json stay.
"""

import argparse
import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from visionkit.data.recognise import open_dataset  # noqa: E402 -- found only now
from visionkit.files import write_json  # noqa: E402
from visionkit.guarantee.shift import looks, shift  # noqa: E402
from visionkit.metrics.risk import PROBABILITIES, missed_pixels, pixel_threshold, split_images  # noqa: E402
from visionkit.predict.maps import plane_of  # noqa: E402

CLASSES = ROOT / "configs" / "camvid_classes.txt"
LEARNED, OTHERS = "0016E5", ("0001TP", "0006R0")  # films
ACROSS = (*itertools.permutations(OTHERS), *(("val", film) for film in OTHERS))  # (makes the promise, is counted)
ASKED = ("road", "car", "pedestrian")
ALPHAS, SPLITS = (0.05, 0.1, 0.2), 1000


def train(options):
    """The run that has learned from one film; a training that was interrupted goes on."""
    from visionkit.experiments.runs import finish
    from visionkit.recipes import RECIPES
    from visionkit.train.options import Options

    film = options.work / "film"
    for part in ("train", "trainannot"):
        (film / part).mkdir(parents=True, exist_ok=True)
        for file in sorted((options.data / part).glob(f"{LEARNED}*")):
            shutil.copy(file, film / part / file.name)
    knobs = {"data": film, "learn_from": "train", "classes": CLASSES, "image_size": options.image_size}
    knobs |= {"epochs": options.epochs, "dice": 0.5, "seed": 0}
    finish(RECIPES["segment"], knobs, options.work / "run", None, Options(keep_checkpoints=1))
    return options.work / "run"


def new_frames(data, split):
    """The frames of a split that the run has not learned from."""
    dataset = open_dataset(data, split, "segment", classes=CLASSES)
    return dataset.subset(
        [i for i, record in enumerate(dataset.records) if split == "val" or LEARNED not in record.file.name]
    )


def look(run, data, file):
    """Writes what is missed of each class at each threshold, in the frames that the run has not learned from."""
    from visionkit.open_model import open_predictor

    predictor = open_predictor(run)
    rows: dict[str, list[Any]] = {"frame": [], "label": [], "missed": []}
    for split in ("train", "val"):
        dataset = new_frames(data, split)
        for i, probabilities in enumerate(predictor.probabilities(dataset)):
            truth = dataset[i].segmentation
            for name in ASKED:
                label = predictor.class_names.index(name)
                is_class = truth == dataset.class_names.index(name)
                if is_class.any():
                    said = plane_of(probabilities, label, truth.shape)
                    rows["frame"].append(f"{split}/{dataset.records[i].file.stem}")
                    rows["label"].append(name)
                    rows["missed"].append(missed_pixels(said[is_class]).astype(np.float32))
    np.savez_compressed(file, **{key: np.array(values) for key, values in rows.items()})


def kept(used, others, alpha):
    """The share that is missed in `others` with the threshold of `used`, both `[n, T]`; None if it makes no promise."""
    threshold = pixel_threshold(used, alpha) if len(used) else None
    if threshold is None or not len(others):
        return None
    return float(others[:, np.searchsorted(PROBABILITIES, np.float32(threshold))].mean())


def halves(missed, alpha):
    """Of random halves of `[n, T]`: how many allowed the promise, the mean of what was missed, its standard error."""
    means = []
    for seed in range(SPLITS):
        used, others = split_images(np.arange(len(missed)), seed)
        if (mean := kept(missed[used], missed[others], alpha)) is not None:
            means.append(mean)
    if not means:
        return {"splits": 0}
    return {"splits": len(means), "mean": float(np.mean(means)), "error": float(np.std(means) / len(means) ** 0.5)}


def row_of(missed, films):
    """What is written of one class: for the frames of val and for those of the other films.

    Args:
        missed: float `[n, T]`, of each frame, in the films' order.
        films: the film of each frame; "val" for those of val.
    """
    parts = {film: missed[films == film] for film in ("val", *OTHERS)}
    groups = {"val": parts["val"], "other_films": np.concatenate([parts[film] for film in OTHERS])}
    said: dict[str, Any] = {}
    for name, frames in groups.items():
        said[name] = {"frames": len(frames)}
        for alpha in ALPHAS:
            said[name][f"{alpha:.0%}"] = {
                "random_halves": halves(frames, alpha),
                "even_for_odd_frames": kept(frames[::2], frames[1::2], alpha),
                "odd_for_even_frames": kept(frames[1::2], frames[::2], alpha),
            }
    said["across_films"] = {
        f"{used}_for_{other}": {f"{alpha:.0%}": kept(parts[used], parts[other], alpha) for alpha in ALPHAS}
        for used, other in ACROSS
    }
    return said


def warned(data):
    """What the check of the photographs says of every other frame of val, and of a film after another."""
    val, train = new_frames(data, "val"), new_frames(data, "train")
    seen = {"val": looks(sample.image for sample in val)}
    for film in OTHERS:
        seen[film] = looks(sample.image for sample in train if film in sample.file.name)
    even, odd = ({name: values[k::2] for name, values in seen["val"].items()} for k in (0, 1))
    said = {"even_for_odd_frames": shift(even, odd)}
    return said | {f"{used}_for_{other}": shift(seen[used], seen[other]) for used, other in ACROSS}


def main(options):
    """Does what is not done yet, and writes and prints the results."""
    options.work.mkdir(parents=True, exist_ok=True)
    run, file = train(options), options.work / "missed.npz"
    if not file.is_file():
        look(run, options.data, file)
    with np.load(file) as arrays:
        frame, label, missed = (arrays[key] for key in ("frame", "label", "missed"))
    films = np.array(["val" if name.startswith("val/") else name[6:12] for name in frame.tolist()])
    said: dict[str, Any] = {"settings": {"epochs": options.epochs, "image_size": options.image_size}}
    said["warned"] = warned(options.data)
    print("warned", json.dumps(said["warned"]), flush=True)
    for name in ASKED:
        said[name] = row_of(missed[label == name], films[label == name])
        print(name, json.dumps(said[name], indent=1), flush=True)
    content = json.loads(options.results.read_text()) if options.results.is_file() else {}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.results, content | {"camvid_pixels": said})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for argument in ("data", "work", "results"):
        parser.add_argument(argument, type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=320, help="the long side of the network's input")
    main(parser.parse_args())

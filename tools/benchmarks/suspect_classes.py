"""How well are wrong classes found? Ways to rank them, on labels of which 5 % were replaced at random.

python tools/benchmarks/suspect_classes.py DATA [RESULTS.json]    class folders, such as clothing10

The predictions are out-of-fold ones of a softmax regression on the frozen features of a trunk, which learns from the
wrong labels of the other folds too. For each trunk and each ranking: the share of planted errors among the first 25 and
50 images, over five seeds. `visionkit suspects` uses the ranking "ours"; the others are those of confident learning
(Northcutt et al., arXiv 1911.00068, section 3.2) and the plain probability.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "benchmarks")]

from next_simulation import softmax_regression  # noqa: E402 -- found only now

from visionkit.data.recognise import open_dataset  # noqa: E402
from visionkit.next_photos.look import comparable, look  # noqa: E402
from visionkit.open_model import open_predictor  # noqa: E402
from visionkit.suspects.classes import suspicious_classes  # noqa: E402

SHARE, FOLDS, SEEDS = 0.05, 5, 5
TRUNKS = ("nanodet_g_coco", "efficientnet_lite0_imagenet")


def out_of_fold(features, labels, classes, seed):
    """Probabilities `[N, K]` by models that have not learned from these rows."""
    fold = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    said = np.empty((len(labels), classes))
    for k in range(FOLDS):
        model = softmax_regression(features[fold != k], labels[fold != k], classes)
        said[fold == k] = model(features[fold == k])
    return said


def rankings(said, given):
    """Name -> images, the most suspicious first."""
    rows = np.arange(len(given))
    own = said[rows, given]
    usual = np.array([own[given == k].mean() if (given == k).any() else 1 for k in range(said.shape[1])])
    others = said.copy()
    others[rows, given] = -1
    counted = np.where(said >= usual, said, -1.0)  # the confident joint, with the annotated class itself
    joint = counted.argmax(axis=1)
    off = (counted.max(axis=1) >= 0) & (joint != given)  # off its diagonal
    margin = np.where(off, others.max(axis=1) - own, -np.inf)
    return {
        "ours": [suspect.image for suspect in suspicious_classes(said, given)],
        "probability of the label": np.argsort(own, kind="stable"),
        "normalised margin": np.argsort(own - others.max(axis=1), kind="stable"),
        "off the diagonal, by margin": np.argsort(-margin, kind="stable"),
        "off the diagonal, by probability": np.argsort(np.where(off, own, 2), kind="stable"),
        "probability over the usual": np.argsort(own / usual[given], kind="stable"),
    }


def main(data, out=None):
    dataset = open_dataset(Path(data), None, "classify")
    labels, classes = np.array([record.label for record in dataset.records]), len(dataset.class_names)
    results = {}
    for trunk in TRUNKS:
        (features,) = comparable(look(open_predictor(trunk), dataset, 0.3).features)
        shares, right = {}, []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            wrong = rng.choice(len(labels), round(SHARE * len(labels)), replace=False)
            given = labels.copy()
            given[wrong] = (given[wrong] + rng.integers(1, classes, len(wrong))) % classes
            said = out_of_fold(features, given, classes, seed)
            right.append(float((said.argmax(axis=1) == labels).mean()))
            for name, order in rankings(said, given).items():
                shares.setdefault(name, []).append([np.isin(order[:first], wrong).mean() for first in (25, 50)])
        print(f"{trunk}: right about {np.mean(right):.1%} of {len(labels)} images; {len(wrong)} planted", flush=True)
        for name, several in shares.items():
            first25, first50 = np.mean(several, axis=0)
            low, high = (end(several, axis=0)[1] for end in (np.min, np.max))
            print(f"  {name}: {first25:.0%} of the first 25, {first50:.0%} of 50 ({low:.0%} to {high:.0%})", flush=True)
        results[trunk] = {"right": right} | {name: np.round(several, 3).tolist() for name, several in shares.items()}
    if out:
        Path(out).write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(*sys.argv[1:3])

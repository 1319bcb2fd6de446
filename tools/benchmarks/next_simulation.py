"""Does `visionkit next` save labels? Simulated labelling in rounds of 20 against random picking.

python tools/benchmarks/next_simulation.py classes DATA RESULTS.json [SEEDS]    a classifier, such as of clothing10
python tools/benchmarks/next_simulation.py boxes DATA RESULTS.json [SEEDS]      a detector, such as of BCCD

Every seed draws the first 20 photos, which all ways of picking share. After each round the model is trained anew and
scored on the test split. The classifier is a softmax regression on the frozen features of EfficientNet-Lite0; the
detector is the COCO NanoDet, trained for 250 steps at 240 x 320.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.optimize import minimize

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from visionkit.data.recognise import open_dataset, splits  # noqa: E402 -- found only now
from visionkit.next_photos.choose import choose  # noqa: E402
from visionkit.next_photos.look import comparable, doubt_of_classes, look  # noqa: E402
from visionkit.open_model import open_predictor  # noqa: E402

BATCH = 20  # photos
SCORE = 0.3  # of detections
PENALTY = 10.0  # of the squared weights of the softmax regression, fixed beforehand


class Classes:
    """Softmax regression on frozen features: trained in a fraction of a second.

    Args:
        data: class folders with a test split.
    """

    rounds, name = 15, "top1"
    ways = ("next", "doubt", "distance", "random")

    def __init__(self, data):
        predictor = open_predictor("efficientnet_lite0_imagenet")
        pool, test = (open_dataset(data, split, "classify") for split in (learned(data, "classify"), "test"))
        seen = [look(predictor, part, SCORE).features for part in (pool, test)]
        self.features, self.test = comparable(*seen)
        self.labels, self.test_labels = (np.array([record.label for record in part.records]) for part in (pool, test))
        self.classes = len(pool.class_names)

    def train(self, rows, seed):
        return softmax_regression(self.features[rows], self.labels[rows], self.classes)

    def score(self, model):
        return float((model(self.test).argmax(axis=1) == self.test_labels).mean())

    def look(self, model, rows):
        """(doubts, features) of all photos; those in `rows` are labelled."""
        return np.array([doubt_of_classes(each) for each in model(self.features)]), self.features


class Boxes:
    """A NanoDet that begins each round with what it knows of COCO.

    Args:
        data: boxes with a test split.
    """

    rounds, name = 4, "mAP50"
    ways = ("next", "random")
    size, steps, batch, rate = (240, 320), 250, 8, 1e-3

    def __init__(self, data):
        import keras

        from visionkit.data import batches
        from visionkit.data.transforms import detection_train
        from visionkit.evaluate.scores import evaluate
        from visionkit.models.transfer import start_from
        from visionkit.predict.predictor import Predictor

        self.batches, self.evaluate, self.transform = batches, evaluate, detection_train(self.size, max_expand=2.0)
        self.pool, self.test = (open_dataset(data, split, "detect") for split in (learned(data, "detect"), "test"))
        start = open_predictor("nanodet_g_coco").model
        self.model, _ = start_from(start, self.pool.class_names, self.size, {}, None)
        rate = keras.optimizers.schedules.CosineDecay(0.0, self.steps - 6, warmup_target=self.rate, warmup_steps=6)
        optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, clipnorm=10.0)
        self.model.compile(optimizer=optimizer, jit_compile=False)
        optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.weights, *optimizer.variables]
        self.values = [keras.ops.convert_to_numpy(variable) for variable in self.variables]
        self.predictor = Predictor(self.model)
        self.labels = np.arange(len(self.pool))

    def train(self, rows, seed):
        """The model, trained anew; only its variables and the optimizer's are set back, which spares a compilation."""
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(value)
        some = self.pool.subset(sorted(rows))
        epochs = -(-self.steps // self.batches.steps_per_epoch(some, self.batch))
        feed = self.batches.batches(some, self.transform, self.batch, seed=seed, epochs=epochs, max_objects=40)
        self.model.fit(feed, steps_per_epoch=self.steps, epochs=1, shuffle=False, verbose=0)
        return self.model

    def score(self, model):
        return self.evaluate(self.predictor, self.test, intervals=False)["mAP50"]

    def look(self, model, rows):
        seen = look(self.predictor, self.pool, SCORE)
        return seen.doubts, comparable(seen.features)[0]


def learned(data, task):
    """The splits that photos are picked from: all but test."""
    return "+".join(name for name in splits(data, task) if name not in ("trainval", "test"))


def softmax_regression(features, labels, classes, penalty=PENALTY):
    """Fits a softmax regression to rows `[N, D]` of length 1; returns a function from rows to probabilities."""
    scale = features.shape[1] ** 0.5  # rows of length 1 have tiny entries
    x = np.c_[features * scale, np.ones(len(features))]
    target = np.eye(classes)[labels]

    def loss(flat):
        weights = flat.reshape(-1, classes)
        said = probabilities(x, weights)
        slope = x.T @ (said - target) + penalty * np.r_[weights[:-1], np.zeros((1, classes))]
        return -np.log((said * target).sum(axis=1) + 1e-12).sum() + penalty * (
            weights[:-1] ** 2
        ).sum() / 2, slope.ravel()

    start = np.zeros(x.shape[1] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x.reshape(-1, classes)
    return lambda rows: probabilities(np.c_[rows * scale, np.ones(len(rows))], found)


def probabilities(x, weights):
    logits = x @ weights
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def pick(way, world, model, rows, rng):
    """The next photos by one of the ways."""
    left = np.setdiff1d(np.arange(len(world.labels)), rows)
    if way == "random":
        return rng.choice(left, BATCH, replace=False).tolist()
    doubts, features = world.look(model, rows)
    if way == "doubt":
        return left[np.argsort(-doubts[left], kind="stable")[:BATCH]].tolist()
    if way == "distance":
        doubts = np.ones(len(doubts))
    return [int(left[row]) for row, _ in choose(doubts[left], features[left], BATCH, features[rows])]


def simulate(world, seed):
    """For each way, the scores after each round, with 20, 40, ... labels; the first model is that of all ways."""
    rng = np.random.default_rng(seed)
    first = rng.choice(len(world.labels), BATCH, replace=False).tolist()
    model = world.train(first, seed)
    scores = {way: [world.score(model)] for way in world.ways}
    rows = {way: first + pick(way, world, model, first, rng) for way in world.ways}
    for way in world.ways:
        for number in range(1, world.rounds):
            model = world.train(rows[way], seed)
            scores[way].append(world.score(model))
            if number + 1 < world.rounds:
                rows[way] += pick(way, world, model, rows[way], rng)
        print(f"seed {seed} {way}: {' '.join(f'{score:.3f}' for score in scores[way])}", flush=True)
    return scores


def compared(scores, way):
    """The mean advantage over random picking in all rounds after the first, with its 95 % interval over the seeds."""
    gains = (np.array(scores[way]) - np.array(scores["random"]))[:, 1:].mean(axis=1)  # one for each seed
    half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / len(gains) ** 0.5
    return {"gain": gains.mean(), "low": gains.mean() - half, "high": gains.mean() + half}


def saved(scores, way):
    """How many labels this way needs for the mean score that random picking ends with, and how many that had."""
    curve, random = np.mean(scores[way], axis=0), np.mean(scores["random"], axis=0)
    labels = BATCH * (1 + np.arange(len(curve)))
    reached = np.flatnonzero(curve >= random[-1])
    return {"labels": int(labels[reached[0]]) if len(reached) else None, "of_random": int(labels[-1])}


def main(kind, data, out, seeds=5):
    world = {"classes": Classes, "boxes": Boxes}[kind](Path(data))
    start = time.process_time()
    several = [simulate(world, seed) for seed in range(int(seeds))]
    scores = {way: [each[way] for each in several] for way in world.ways}
    found = {way: compared(scores, way) | saved(scores, way) for way in world.ways if way != "random"}
    for way, row in found.items():
        print(
            f"{way} against random: {world.name} {row['gain']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}); "
            f"{row['labels']} labels reach what random picking reaches with {row['of_random']}"
        )
    print(f"{time.process_time() - start:.0f} s of the processor, {len(world.labels)} photos to pick from")
    rounded = {way: np.round(rows, 4).tolist() for way, rows in scores.items()}
    rows = {way: {k: v if v is None else round(float(v), 6) for k, v in row.items()} for way, row in found.items()}
    Path(out).write_text(json.dumps({"kind": kind, "score": world.name, "scores": rounded, "found": rows}) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("classes", "boxes"):
        raise SystemExit(__doc__)
    main(*sys.argv[1:5])

"""Checks by simulation what docs/promises_checked.md says: a maintenance script, not a verb.

python tools/maintenance/promises.py coverage [DRAWS] [SEED]  how often a 95 % interval covers the true score
python tools/maintenance/promises.py compare [DRAWS] [SEED]   p-values of two models that are equally good
python tools/maintenance/promises.py guarantee [DRAWS] [SEED]  how many objects are missed under a guarantee
python tools/maintenance/promises.py guarantee MODEL DATA [SPLIT]  the same of a real detector and real images
python tools/maintenance/promises.py calibrate [DRAWS] [SEED]  how often the interval of a calibration error covers it
python tools/maintenance/promises.py calibrate MODEL DATA [SPLIT TEST]  calibration errors and scores on other images
python tools/maintenance/promises.py suspects MODEL DATA [SPLIT]  how many of the first 50 suspects were planted

The detectors and segmenters are drawn (tests/support/worlds.py): of a large pool of images the true scores are known,
and 100 of them at a time are picked as a test set.
"""

import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.worlds import detector, found_objects, part_of, segmenter  # noqa: E402 -- found only now
from support.wrong_labels import hits, plant  # noqa: E402

from visionkit.compare.differences import compare  # noqa: E402
from visionkit.metrics.matches import Matches  # noqa: E402
from visionkit.metrics.resampling import interval, replications  # noqa: E402
from visionkit.metrics.risk import box_margin, missed_share, score_threshold, split_images  # noqa: E402
from visionkit.suspects.boxes import suspicious_boxes  # noqa: E402

IMAGES = 100  # of a test set
SURE = 0.3  # see visionkit.calibrate.find


def coverage(pool, name, draws, resamples=1000, seed=0):
    """How often the interval of the score `name` covers that of the whole pool, and how wide it is on average."""
    rng = np.random.default_rng(seed)
    truth = pool.scores(np.ones((1, pool.images))).overall[name][0]
    covered, widths = 0, []
    for draw in range(draws):
        picked = np.sort(rng.choice(pool.images, IMAGES, replace=False))
        weights = replications(IMAGES, resamples, seed=draw)
        low, high = interval(some(pool, picked).scores(weights).overall[name][:, None], IMAGES)
        covered += bool(low[0] <= truth <= high[0])
        widths.append(high[0] - low[0])
    return covered / draws, float(np.mean(widths))


def some(table, images):
    """The table of some of the images."""
    if isinstance(table, Matches):
        return part_of(table, images)
    return replace(table, **{field.name: getattr(table, field.name)[images] for field in fields(table)})


def equals(draws, resamples=1000, permutations=1000, seed=0, power=1.0):
    """What `compare` says of two detectors that are equally good, `draws` times: a difference of mAP50 each.

    Args:
        power: the second detector's scores are raised to it, which changes no ranking.
    """
    found = []
    for draw in range(draws):
        first, second = (only_at_50(table) for table in detector(np.random.default_rng([seed, draw]), IMAGES, looks=2))
        second = replace(second, score=second.score**power)
        found.append(compare([first], [second], "abc", resamples, permutations, seed=draw).overall["mAP50"])
    return found


def only_at_50(table):
    """Without hits at IoU thresholds above 0.5, which take time and do not count in mAP50."""
    hit = table.hit.copy()
    hit[:, 1:] = False
    return replace(table, hit=hit)


def misses(found, alpha, draws, seed=0):
    """The mean share of missed objects on one half of the images with the threshold that the other half gives.

    Returns:
        float64 `[draws]`, one for each random split; empty if a half is too small, or the model too weak, for `alpha`.
    """
    images, means = np.unique(found.image), []
    for draw in range(draws):
        chosen, tested = split_images(images, seed=[seed, draw])
        threshold = score_threshold(found.part(np.isin(found.image, chosen)), alpha)
        if threshold is None:
            return np.empty(0)
        means.append(missed_share(found.part(np.isin(found.image, tested)), threshold).mean())
    return np.array(means)


def outside(found, alpha, draws, seed=0):
    """Like `misses`: the mean share of found objects that stick out of boxes with the margin of the other half."""
    found = found.part(found.score >= 0)
    images, means = np.unique(found.image), []
    for draw in range(draws):
        chosen, tested = split_images(images, seed=[seed, draw])
        margin = box_margin(found.part(np.isin(found.image, chosen)), alpha)
        if margin is None:
            return np.empty(0)
        there = found.part(np.isin(found.image, tested))
        _, place, counts = np.unique(there.image, return_inverse=True, return_counts=True)
        means.append((np.bincount(place, weights=there.beyond > margin) / counts).mean())
    return np.array(means)


def say_guarantees(found, draws, seed):
    """Prints, for three promises, what happens on the images that were not used."""
    images = len(np.unique(found.image))
    for alpha in (0.05, 0.1, 0.2):
        for what, measure in (("missed", misses), ("sticking out", outside)):
            means = measure(found, alpha, draws, seed)
            if not len(means):
                print(f"at most {alpha:.0%} {what}: cannot be promised with half of {images} images")
                continue
            error = means.std() / len(means) ** 0.5
            print(f"at most {alpha:.0%} {what}: {means.mean():.2%} +- {error:.2%} in {draws} splits of {images} images")


def say_real_guarantees(model, data, split=None, draws=1000):
    """The same for a real detector: it runs over the images once."""
    from visionkit.metrics.risk import found_objects as find

    say_guarantees(find(real_pairs(model, data, split)[0]), draws, seed=0)


def real_pairs(model, data, split):
    """What a detector says of a data set, and the names of its classes."""
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import detection_pairs
    from visionkit.open_model import open_predictor

    predictor = open_predictor(model)
    return detection_pairs(predictor, open_dataset(data, split, predictor.task)), predictor.class_names


def say_calibration(model, data, split="val", test="test"):
    """Calibrates a model on one part of the data; prints errors and scores on another part, before and after."""
    from visionkit.calibrate.find import calibrate
    from visionkit.calibrate.said import said_of
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import MONITOR, evaluate
    from visionkit.metrics.calibration import Reliability, errors
    from visionkit.open_model import open_task
    from visionkit.predict.predictor import Predictor

    task = open_task(model)
    task.calibration = None
    found = calibrate(task, open_dataset(data, split, task.task))
    print(found)
    there, tables, scores = open_dataset(data, test, task.task), [], []
    for task.calibration in (None, found.curve):
        predictor = Predictor(task)
        said = said_of(predictor, there)
        tables.append((Reliability.of(said), Reliability.of(said, SURE)))
        scores.append(evaluate(predictor, there, intervals=False))
    for what, (before, after) in zip(("all answers", f"scores of {SURE} on"), zip(*tables, strict=True), strict=True):
        for name, (value, low, high) in errors(before, after).items():
            print(f"{test}, {what}: {name} {value:.4f} ({low:.4f} to {high:.4f})")
    for key in (MONITOR[task.task], "mAP", "top5", "pixel_accuracy"):
        if key in scores[0]:
            print(f"{test}: {key} {scores[0][key]:.6f} before, {scores[1][key]:.6f} after")


def say_calibration_coverage(draws, seed):
    """Prints for three detectors how often the interval of the calibration error covers the true one.

    One detector's scores are as they are drawn, those of the second are half-way calibrated, and the third is right
    exactly as often as it says.
    """
    from visionkit.metrics.calibration import Reliability, Said, errors, fit

    pool = detector(np.random.default_rng(seed), 20_000)[0]
    raw = Said(pool.image, pool.score, pool.hit[:, 0], pool.images)
    half = raw.with_scores((raw.scores + fit(raw, "isotonic")(raw.scores)) / 2)
    rng = np.random.default_rng(seed)
    exact = Said(raw.image, raw.scores, rng.random(len(raw.scores)) < raw.scores, raw.images)
    for name, said in (("raw", raw), ("half-way", half), ("exact", exact)):
        table = Reliability.of(said)
        truth = 0.0 if said is exact else table.error
        for images in (50, 100, 400):
            rows = []
            for _ in range(draws):
                picked = rng.choice(pool.images, images, replace=False)
                some = Reliability(table.count[picked], table.said[picked], table.right[picked])
                value, low, high = errors(some, some)["before"]
                rows.append((low <= truth <= high, value, high - low))
            covered, value, width = np.mean(rows, axis=0)
            print(f"{name}, {images} images: {covered:.1%} cover {truth:.3f}; value {value:.3f}, width {width:.3f}")


def say_suspects(model, data, split=None, share=0.05, first=50):
    """Prints, for five seeds, how many of the first suspects are errors that were planted into the labels."""
    pairs, names = real_pairs(model, data, split)
    shares = []
    for seed in range(10, 15):
        wrong, planted = plant(pairs, share, seed, len(names))
        suspects = suspicious_boxes(wrong, len(names))[:first]
        kinds = hits(suspects, planted)
        shares.append(np.mean([kind != "" for kind in kinds]))
        named = np.mean([kind == suspect.kind for kind, suspect in zip(kinds, suspects, strict=True)])
        print(
            f"seed {seed}: of the first {first}, {shares[-1]:.0%} of {len(planted)} planted, {named:.0%} named rightly"
        )
    print(f"mean {np.mean(shares):.1%}, {min(shares):.0%} to {max(shares):.0%}; {len(pairs)} images")


def main(what, draws=500, seed=0):
    if what == "coverage":
        rng = np.random.default_rng(seed)
        for table, name in ((only_at_50(detector(rng, 20_000)[0]), "mAP50"), (segmenter(rng, 20_000), "mIoU")):
            share, width = coverage(table, name, draws, seed=seed)
            print(f"{name}: {share:.1%} of {draws} intervals cover the true score; mean width {width:.3f}")
    elif what == "compare":
        found = equals(draws, seed=seed)
        p = [difference.p for difference in found]
        zero = np.mean([difference.low <= 0 <= difference.high for difference in found])
        print(f"p < 0.05 in {np.mean(np.less(p, 0.05)):.1%} of {draws} comparisons of equals")
        print(f"Kolmogorov-Smirnov test of uniform p-values: p = {stats.kstest(p, 'uniform').pvalue:.2f}")
        print(f"{zero:.1%} of the intervals contain 0")
    elif what == "guarantee":
        say_guarantees(found_objects(np.random.default_rng(seed), 200), draws, seed)
    elif what == "calibrate":
        say_calibration_coverage(draws, seed)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    if len(sys.argv) > 3 and not sys.argv[2].isdecimal():
        say = {"suspects": say_suspects, "calibrate": say_calibration}.get(sys.argv[1], say_real_guarantees)
        say(Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:6])
    else:
        main((sys.argv + [""])[1], *map(int, sys.argv[2:]))

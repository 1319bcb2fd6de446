"""Scores of weighted data sets are those of repeated images, and intervals cover what they promise to cover."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from support.detections import drawn_set
from support.paths import ROOT
from support.worlds import detector, segmenter

from visionkit.metrics.classification import ClassificationMetric
from visionkit.metrics.coco_ap import coco_tables, encode_masks, mean_defined
from visionkit.metrics.matches import match_all
from visionkit.metrics.resampling import interval, intervals, replications
from visionkit.metrics.segmentation import SegmentationMetric
from visionkit.metrics.weighted import Answers

sys.path.insert(0, str(ROOT / "tools" / "maintenance"))


def repeated(things, counts):
    return [thing for thing, count in zip(things, counts.astype(int), strict=True) for _ in range(count)]


def weights_of(images, seed=0):
    """All images once, and four resamples."""
    rows = replications(images, 4, seed)
    return rows[[0, -4, -3, -2, -1]]


@pytest.mark.parametrize("of_masks", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_weighted_detector_scores_as_coco_does_when_images_are_repeated(of_masks, seed):
    rng = np.random.default_rng(seed)
    pairs = []
    for sample, found in drawn_set(seed, images=15):
        scores = np.sort(rng.permutation(1000)[: len(found)])[::-1] / 1000  # equal ones have no order between copies
        pairs.append((sample, replace(found, scores=scores.astype(np.float32))))
    codes = [(encode_masks(sample.masks), encode_masks(found.masks)) for sample, found in pairs]
    table = match_all(pairs, 3, codes if of_masks else None)
    weights = weights_of(len(pairs), seed)
    scores = table.scores(weights)
    for i, counts in enumerate(weights):
        precision, recall = coco_tables(repeated(pairs, counts), 3, repeated(codes, counts), of_masks)
        ap = precision[..., 0, -1]
        wanted = {"mAP": ap, "mAP50": ap[0], "mAP75": ap[5], "mAR100": recall[..., 0, -1]}
        for name, part in wanted.items():
            assert scores.overall[table.prefix + name][i] == pytest.approx(mean_defined(part), abs=1e-9), name
        by_class = np.nan_to_num(scores.per_class[table.prefix + "mAP"][i], nan=-1)
        assert by_class == pytest.approx([mean_defined(ap[..., k]) for k in range(3)], abs=1e-9)
    assert np.ptp(scores.overall[table.prefix + "mAP"]) > 0.01


def test_only_the_best_hundred_of_a_class_count():
    sample, found = drawn_set(1, images=3)[2]
    many = found[np.sort(np.resize(np.arange(len(found)), 150))]
    many = replace(many, labels=np.zeros_like(many.labels), masks=None)
    precision, recall = coco_tables([(sample, many)], 3)
    scores = match_all([(sample, many)], 3).scores(np.ones((1, 1)))
    assert scores.overall["mAP"][0] == pytest.approx(mean_defined(precision[..., 0, -1]), abs=1e-9)
    assert scores.overall["mAR100"][0] == pytest.approx(mean_defined(recall[..., 0, -1]), abs=1e-9)


def test_weighted_classifiers_and_segmenters_score_as_their_metrics_do_when_images_are_repeated():
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 6, 20), rng.random((20, 7))
    truths = [np.where(rng.random((6, 8)) < 0.1, 255, rng.integers(0, 1 + i % 3, (6, 8))) for i in range(20)]
    maps = [np.where(rng.random((6, 8)) < 0.7, truth % 255, rng.integers(0, 3, (6, 8))) for truth in truths]
    classifier, segmenter_ = ClassificationMetric("abcdefg"), SegmentationMetric("abcd")
    classifier.update(labels, said)
    for pair in zip(truths, maps, strict=True):
        segmenter_.update(*pair)
    weights = weights_of(20)
    (answers,), (areas,) = classifier.tables(), segmenter_.tables()
    for i, counts in enumerate(weights):
        again, over = ClassificationMetric("abcdefg"), SegmentationMetric("abcd")
        again.update(np.array(repeated(labels, counts)), np.array(repeated(said, counts)))
        for pair in repeated(list(zip(truths, maps, strict=True)), counts):
            over.update(*pair)
        for table, metric in ((answers, again), (areas, over)):
            scores, wanted = table.scores(weights), metric.result()
            for name, values in scores.overall.items():
                assert values[i] == pytest.approx(wanted[name], abs=1e-9), name
            for name, values in scores.per_class.items():
                rows = [row[name] for row in wanted["per_class"].values()]
                assert np.nan_to_num(values[i], nan=-1) == pytest.approx(rows, abs=1e-9), name
    assert answers.errors().mean() == pytest.approx(1 - classifier.result()["top1"])


def test_the_interval_of_a_mean_is_that_of_the_textbook():
    """Of 200 shares that are hardly skewed the t interval is exact, and all three corrections are small."""
    values = np.random.default_rng(3).normal(0.5, 0.1, 200)
    means = (replications(200, 2000) @ values) / replications(200, 2000).sum(axis=1)
    low, high = interval(means[:, None], 200)
    half = 1.972 * values.std(ddof=1) / 200**0.5
    assert (low[0], high[0]) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.12 * half)


def test_the_same_data_gives_the_same_interval_and_few_images_give_none():
    table = detector(np.random.default_rng(0), 30)[0]
    first, again = (intervals([table], "abc", resamples=100) for _ in range(2))
    assert first == again
    assert first != intervals([table], "abc", resamples=100, seed=1)
    low, high = first[0]["mAP50"]
    assert 0 <= low < table.scores(np.ones((1, 30))).overall["mAP50"][0] < high <= 1
    assert intervals([detector(np.random.default_rng(0), 4)[0]], "abc") == ({}, {"a": {}, "b": {}, "c": {}})


def test_a_perfect_score_on_few_images_is_not_certain():
    labels = np.repeat([0, 1], [20, 3])
    overall, per_class = intervals([Answers(labels, labels, labels > -1, 2)], ["cat", "dog"], resamples=100)
    assert overall["top1"] == (pytest.approx(0.025 ** (1 / 23)), 1)  # at this share, 23 of 23 happens once in 40 times
    assert per_class["cat"]["recall"] == (pytest.approx(0.025 ** (1 / 20)), 1)
    assert per_class["dog"] == {}  # three images


def test_95_percent_of_the_intervals_cover_the_true_score():
    """A small version of tools/maintenance/promises.py: 200 draws instead of 500, 300 resamples instead of 1,000."""
    from promises import coverage

    rng = np.random.default_rng(1)
    pool = detector(rng, 5000)[0]
    pool.hit[:, 1:] = False  # mAP50 alone
    for table, name in ((pool, "mAP50"), (segmenter(rng, 5000), "mIoU")):
        covered, _ = coverage(table, name, draws=200, resamples=300)
        assert 0.91 <= covered <= 0.99, name  # of 200, within 2.6 standard errors of 0.95

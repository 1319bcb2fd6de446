"""How far scores are from the share of answers that are right, and the curves that bring them there.

The expected calibration error is that of Guo et al. 2017 (arXiv 1706.04599, section 2), for detections that of Küppers
et al. 2020 (arXiv 2004.13546, section 3) by the score alone: answers are sorted into bins of equal width by their
score, and in each the mean score is compared with the share that is right.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize as _optimize  # pyright: ignore[reportMissingTypeStubs] -- it ships none
from scipy.special import ndtr, stdtrit  # pyright: ignore[reportMissingTypeStubs] -- it ships none

from visionkit.score_curve import METHODS, ScoreCurve

optimize: Any = _optimize

BINS = 20  # of the calibration error, as in Küppers et al.
FOLDS = 5  # of the images, for cross-validation
NONE = "none"  # the scores as they are, which the methods must beat
POINTS = 24  # of an isotonic curve at most, besides its ends
PIXEL_POINTS = 12  # the same where each is computed for every class of every pixel
SLANT = 0.01  # so much of the score itself is mixed into an isotonic curve, which then has no level part
CERTAIN = 1e-7  # log losses count probabilities only as near to 0 and 1 as this
CLOSE = 1e-6  # points whose scores are closer together become one
LIMITS = ((-3.0, 3.0), (-20.0, 20.0))  # of the slope's logarithm and of the offset


@dataclass(frozen=True, eq=False)
class Said:
    """What a model said, and whether it was right.

    Args:
        image: int `[D]`, the number of each answer's image.
        scores: float64 `[D]`, of detections; or `[D, K]`, probabilities of the classes of images or pixels.
        truth: bool `[D]`, whether a detection is right; or int `[D]`, the true classes.
        images: how many images there are, with those that have no answer.
    """

    image: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    images: int

    @property
    def exclusive(self) -> bool:
        """Whether each answer is a probability for every class."""
        return self.scores.ndim == 2

    def part(self, keep: np.ndarray) -> "Said":
        """Some of the answers, bool `[D]`."""
        return Said(self.image[keep], self.scores[keep], self.truth[keep], self.images)

    def with_scores(self, scores: np.ndarray) -> "Said":
        """The same answers with other scores."""
        return Said(self.image, scores, self.truth, self.images)

    @property
    def confidence(self) -> np.ndarray:
        """The score of each answer, of classes that of the most probable one: float64 `[D]`."""
        return self.scores.max(axis=1) if self.exclusive else self.scores

    @property
    def right(self) -> np.ndarray:
        """Which answers are right: bool `[D]`."""
        return self.scores.argmax(axis=1) == self.truth if self.exclusive else self.truth

    @property
    def log_loss(self) -> float:
        """The mean of the negative logarithm of the probability that was given to what is true."""
        if self.exclusive:
            given = self.scores[np.arange(len(self.truth)), self.truth]
        else:
            given = np.where(self.truth, self.scores, 1 - self.scores)
        return float(-np.log(np.clip(given, CERTAIN, 1)).mean())


@dataclass(frozen=True, eq=False)
class Reliability:
    """The answers of each image by score: what the calibration error and its diagram are computed from.

    Args:
        count, said, right: float64 `[N, BINS]`, of each image the answers in each bin, the sum of their scores, and how
            many of them are right.
    """

    count: np.ndarray
    said: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, answers: Said, least: float = 0.0) -> "Reliability":
        """Sorts the answers with a score of at least `least` into bins."""
        score, right = answers.confidence, answers.right
        kept = score >= least
        score, right = score[kept], right[kept]
        cell = answers.image[kept] * BINS + np.minimum((score * BINS).astype(int), BINS - 1)
        columns = (np.ones(len(score)), score, right.astype(float))
        size = answers.images * BINS
        return cls(*(np.bincount(cell, column, size).reshape(-1, BINS) for column in columns))

    @property
    def error(self) -> float:
        """The expected calibration error; NaN without any answer."""
        total = self.count.sum()
        return float(np.abs((self.said - self.right).sum(axis=0)).sum() / total) if total else np.nan

    def diagram(self) -> list[tuple[float, float, int]]:
        """Of each bin with answers the mean score, the share that is right, and how many answers there are."""
        count, said, right = (values.sum(axis=0) for values in (self.count, self.said, self.right))
        return [(float(said[i] / count[i]), float(right[i] / count[i]), int(count[i])) for i in np.flatnonzero(count)]


def errors(before: Reliability, after: Reliability) -> dict[str, tuple[float, float, float]]:
    """The calibration errors `before` and `after` on the same images, and their difference `less`.

    An error is a sum of absolute values, which chance makes larger: with few answers it is far above 0 even where the
    scores are right, and bootstrap intervals, in which there is more chance, lie above the true error. Therefore the
    lower end begins at the error less what chance may have added to it, and the upper end at the error itself.
    tools/maintenance/promises.py measures how often the true error is covered.

    Returns:
        Of each the value and the ends of an interval that covers the true one in at least about 95 % of cases, over the
        images.
    """
    (one, least, by_image), (other, other_least, other_by_image) = _spread(before), _spread(after)
    first, second = _reach(by_image), _reach(other_by_image)
    both = _reach(by_image - other_by_image)
    return {
        "before": (one, max(least - first, 0.0), min(one + first, 1.0)),
        "after": (other, max(other_least - second, 0.0), min(other + second, 1.0)),
        "less": (one - other, least - other - both, one - other_least + both),
    }


def _spread(table: Reliability) -> tuple[float, float, np.ndarray]:
    """The calibration error; the error less what chance may have added; and how each image moves it, `[N]`.

    The sum in a bin is about normally distributed, with the standard error that the images show. A normal value has a
    larger mean absolute value than its mean has. By how much is computed for a mean one standard error nearer to 0 than
    the sum, since a sum tends to be too far from 0.
    """
    gap, total = table.said - table.right, table.count.sum()  # [N, BINS]
    sums, spread = gap.sum(axis=0), np.sqrt(len(gap) * gap.var(axis=0, ddof=1))
    z = np.maximum(np.abs(sums) / np.where(spread > 0, spread, 1) - 1, 0)
    added = 2 * spread * (np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) - z * ndtr(-z))
    by_image = (gap * np.sign(sums)).sum(axis=1) - table.error * table.count.sum(axis=1)
    return table.error, float(table.error - added.sum() / total), by_image / total


def _reach(by_image: np.ndarray) -> float:
    """How far a sum over images may be off, by Student's distribution, given how each image moves it."""
    n = len(by_image)
    return float(stdtrit(n - 1, 0.975) * np.sqrt(n / (n - 1) * (by_image**2).sum()))


def folds_of(said: Said, seed: int = 0) -> np.ndarray:
    """The fold, 0..FOLDS - 1, of each answer's image: int `[D]`."""
    fold = np.random.default_rng(seed).permutation(said.images) % FOLDS
    return fold[said.image]


def choose(said: Said, fold: np.ndarray) -> tuple[str, dict[str, float]]:
    """The method whose curves predict images best that they were not fitted to.

    Args:
        said: the answers.
        fold: int `[D]`, of each answer.

    Returns:
        The method, or `NONE`; and of each its log loss on the images left out.
    """
    losses = {NONE: said.log_loss}
    for method in METHODS:
        scores = np.empty_like(said.scores)
        for k in np.unique(fold).tolist():
            scores[fold == k] = fit(said.part(fold != k), method)(said.scores[fold == k])
        losses[method] = said.with_scores(scores).log_loss
    return min(losses, key=lambda name: losses[name]), losses


def cross_fitted(said: Said, fold: np.ndarray) -> np.ndarray:
    """Scores of every image by a curve that was chosen and fitted without it; arguments as for `choose`."""
    scores = said.scores.copy()
    for k in np.unique(fold).tolist():
        rest = said.part(fold != k)
        method, _ = choose(rest, fold[fold != k])
        if method != NONE:
            scores[fold == k] = fit(rest, method)(said.scores[fold == k])
    return scores


def fit(said: Said, method: str) -> ScoreCurve:
    """The curve of a method with the least log loss; an isotonic one by least squares."""
    if method == "isotonic":
        return _isotonic(said)
    count = 1 if method == "temperature" else 2

    def curve(values: np.ndarray) -> ScoreCurve:
        numbers = (float(np.exp(values[0])), *map(float, values[1:]))
        return ScoreCurve(method, numbers, said.exclusive)

    def loss(values: np.ndarray) -> float:
        return said.with_scores(curve(values)(said.scores)).log_loss

    found = optimize.minimize(loss, np.zeros(count), method="L-BFGS-B", bounds=LIMITS[:count])
    return curve(found.x)


def _isotonic(said: Said) -> ScoreCurve:
    """Joins the means of the blocks that the pool-adjacent-violators algorithm finds.

    The classes of images and pixels are pooled, each against all others. Isotonic regression gives steps, which would
    make scores equal and so change AP: lines between the middles of the steps, slightly slanted, rise everywhere.
    """
    scores, right = said.scores.ravel(), said.truth
    if said.exclusive:
        right = np.eye(said.scores.shape[1])[said.truth].ravel()
    xs, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    hits, weights = np.bincount(place, right), counts.astype(float)
    # One more right answer at the lowest score and a wrong one at the highest: nothing is certain.
    hits[0] += 1
    weights[[0, -1]] += 1
    regression = optimize.isotonic_regression(hits / weights, weights=weights)
    starts = regression.blocks[:-1]
    total = np.add.reduceat(weights, starts)
    blocks = np.stack([np.add.reduceat(xs * weights, starts) / total, np.add.reduceat(hits, starts) / total, total])
    middles, shares = _few(blocks, PIXEL_POINTS if said.exclusive else POINTS)
    inner = (middles > CLOSE) & (middles < 1 - CLOSE)
    xs = np.concatenate([[0.0], middles[inner], [1.0]])
    ys = np.concatenate([shares[:1], shares[inner], shares[-1:]])
    ys = (1 - SLANT) * ys + SLANT * xs
    return ScoreCurve("isotonic", (*xs.tolist(), *ys.tolist()), said.exclusive)


def _few(blocks: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Merges neighbouring blocks until there are at most so many; first those whose merging costs least.

    Args:
        blocks: float64 `[3, n]`: the mean score, the share that is right, and the weight of each.
        most: of them.

    Returns:
        The scores and the shares of those that are left.
    """
    while blocks.shape[1] > 1:
        middle, rate, weight = blocks
        costs = weight[1:] * weight[:-1] / (weight[1:] + weight[:-1]) * np.diff(rate) ** 2
        close = np.diff(middle) < CLOSE
        if blocks.shape[1] <= most and not close.any():
            break
        i = int(np.where(close, -1.0, costs).argmin())
        pair = blocks[:, i : i + 2]
        merged = np.append((pair[:2] * pair[2]).sum(axis=1), 0) / pair[2].sum()
        merged[2] = pair[2].sum()
        blocks = np.concatenate([blocks[:, :i], merged[:, None], blocks[:, i + 2 :]], axis=1)
    return blocks[0], blocks[1]

"""The difference between two models, with its interval and the probability that chance alone makes one as large.

Both models see the same images, so the images' own difficulty drops out of the difference: the bootstrap resamples the
images for both models at once, and the permutation test exchanges the two models' answers image by image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from visionkit.metrics.resampling import FEW, RESAMPLES, interval, replications
from visionkit.metrics.weighted import Table
from visionkit.types import DataError

PERMUTATIONS = 1000
SIGNIFICANT = 0.05
POWER = 0.8  # with which a difference should be found, for `images_needed`


@dataclass(frozen=True)
class Difference:
    """One score of two models.

    Args:
        first, second: the scores.
        low, high: the 95 % interval of second - first.
        p: the share of exchanges of the two models' answers that make a difference as large or larger, by the
            permutation test; two-sided.
    """

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def by(self) -> float:
        """second - first."""
        return self.second - self.first

    def images_needed(self, images: int) -> int | None:
        """About how many images would show a difference of this size four times in five; None if there is none.

        Args:
            images: how many were compared.
        """
        error = (self.high - self.low) / (2 * ndtri(0.975))
        if abs(self.by) < 1e-9 or error <= 0:
            return None
        return math.ceil(images * ((ndtri(0.975) + ndtri(POWER)) * error / self.by) ** 2)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    Args:
        overall: score -> its difference.
        per_class: class -> score -> its difference; classes that fewer than 5 images have are left out.
        images: how many there were.
    """

    overall: dict[str, Difference]
    per_class: dict[str, dict[str, Difference]]
    images: int


def compare(
    first: Sequence[Table],
    second: Sequence[Table],
    class_names: Sequence[str],
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Comparison:
    """Compares two models by what `evaluate.scores.measure` keeps of the same images.

    Args:
        first, second: the tables of each model. Where one of them has a table of masks more, only boxes are compared.
        class_names: names of the class ids 0..K-1 of both.
        resamples: of the bootstrap.
        permutations: of the test.
        seed: of both.

    Raises:
        DataError: there are fewer than 5 images.
        ValueError: the tables are of different images.
    """
    images = first[0].images
    if images != second[0].images:
        raise ValueError(f"expected tables of the same images, found {images} and {second[0].images}")
    if images < FEW:
        raise DataError(f"expected at least {FEW} images to compare models on, found {images}")
    overall: dict[str, Difference] = {}
    per_class: dict[str, dict[str, Difference]] = {name: {} for name in class_names}
    drawn = replications(images, resamples, seed)
    # The first row leaves both models their own answers; in the others a 1 is the first model's answer.
    own = np.random.default_rng(seed).integers(0, 2, (1 + permutations, images)).astype(float)
    own[0] = 1
    for a, b in zip(first, second, strict=False):
        scores_a, scores_b = a.scores(drawn), b.scores(drawn)
        both = a.beside(b)
        one, other = both.scores(np.hstack([own, 1 - own])), both.scores(np.hstack([1 - own, own]))
        for name in scores_a.overall:
            columns = [scores.overall[name][:, None] for scores in (scores_a, scores_b, one, other)]
            if difference := _differences(columns, images)[0]:
                overall[name] = difference
        enough = a.occurs.sum(axis=0) >= FEW
        for name in scores_a.per_class:
            rows = _differences([scores.per_class[name] for scores in (scores_a, scores_b, one, other)], images)
            for k in np.flatnonzero(enough).tolist():
                if difference := rows[k]:
                    per_class[class_names[k]][name] = difference
    return Comparison(overall, {name: row for name, row in per_class.items() if row}, images)


def _differences(scores: Sequence[np.ndarray], images: int) -> list[Difference | None]:
    """The difference in each column of scores; None where a score is undefined.

    Args:
        scores: two float64 `[1 + G + R, C]`, the scores of each model on the data sets of `replications`; and two
            float64 `[1 + P, C]`, the scores of both sides when answers are exchanged.
        images: N.
    """
    a, b, one, other = scores
    low, high = interval(b - a, images)
    exchanged = np.abs(other - one)
    # What differs by rounding only is as large.
    p = (exchanged >= exchanged[0] - 1e-12).mean(axis=0)
    differences: list[Difference | None] = []
    for k in range(a.shape[1]):
        found = Difference(float(a[0, k]), float(b[0, k]), float(low[k]), float(high[k]), float(p[k]))
        defined = not np.isnan([found.first, found.second, found.low, found.high]).any()
        differences.append(found if defined else None)
    return differences


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scandinavian Journal of Statistics 1979)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, largest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = largest
    return corrected


def verdict(first: str, second: str, score: str, difference: Difference, images: int, p: float | None = None) -> str:
    """One sentence on which of two models is better: one is only if both the test and the interval say so.

    Args:
        first, second: the names of the models.
        score: what was compared.
        difference: of the two.
        images: how many were compared.
        p: the p-value, if it was corrected.
    """
    p = difference.p if p is None else p
    by, low, high = difference.by, difference.low, difference.high  # of the second over the first
    shown = p < SIGNIFICANT and low * high > 0
    better, worse = second, first
    if shown and by < 0:
        by, low, high = -by, -high, -low
        better, worse = first, second
    ends = f"{by:+.3f} (95 %: {low:+.3f} to {high:+.3f}; p = {p:.2g})"
    if shown:
        return f"{better} is better than {worse} on these {images} images: {score} {ends}."
    text = f"No difference between {first} and {second} has been shown on {images} images: {score} {ends}"
    needed = difference.images_needed(images)
    if needed is None or needed > 1_000_000:
        return f"{text}."
    return f"{text}. If it is real, about {max(needed, images):,} images would show it."

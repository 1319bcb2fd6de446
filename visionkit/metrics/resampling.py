"""How far a score may be off, given the images that it was measured on: bootstrap intervals over images.

The interval is Efron's bias-corrected percentile interval ("Nonparametric standard errors and confidence intervals",
Canadian Journal of Statistics 1981, section 10). The correction matters for mAP, which rises when images are repeated.
Resampling understates the spread of a score that hangs on few images, such as those of a rare class. The interval is
therefore widened: to the standard error of the jackknife where that is larger, and from the normal distribution to
Student's, whose degrees of freedom follow from the jackknife too (Satterthwaite, Biometrics Bulletin 1946).
tools/maintenance/promises.py measures how often the true score is covered.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit  # pyright: ignore[reportMissingTypeStubs] -- it ships none

from visionkit.metrics.weighted import Table

LEVEL = 0.95
RESAMPLES = 1000
GROUPS = 200  # the jackknife leaves out one image at a time, or one of so many groups of images
FEW = 5  # images; a class that fewer have gets no interval

Intervals = dict[str, tuple[float, float]]  # name of a score -> the ends of its interval


def replications(images: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """The weights of the data sets from which an interval is computed.

    Args:
        images: N, at least 2.
        resamples: R; each draws N images with replacement.
        seed: of the drawing; the same seed gives the same weights.

    Returns:
        float64 `[1 + G + R, N]`, how often each image counts: all images once; the G data sets of the jackknife, which
        leave out an image or a group of them; and the resamples.
    """
    rng = np.random.default_rng(seed)
    groups = min(images, GROUPS)
    left_out = np.arange(images) % groups != np.arange(groups)[:, None]  # [G, N]
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)  # [R, N]
    return np.concatenate([np.ones((1, images)), left_out, drawn])


def interval(values: np.ndarray, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the 95 % intervals of C scores, or differences of scores.

    Args:
        values: float64 `[1 + G + R, C]`, the scores of the data sets of `replications`; NaN where one is undefined.
        images: N.

    Returns:
        float64 `[C]` each, NaN where the score itself is undefined.
    """
    groups = min(images, GROUPS)
    ends = [_interval(column[0], column[1 : 1 + groups], column[1 + groups :]) for column in values.T]
    low, high = np.array(ends).reshape(-1, 2).T
    return low, high


def _interval(score: float, left_out: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    left_out, drawn = left_out[~np.isnan(left_out)], drawn[~np.isnan(drawn)]
    if np.isnan(score) or not len(left_out) or not len(drawn):
        return np.nan, np.nan
    below = ((drawn < score).mean() + (drawn <= score).mean()) / 2
    bias = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    tail = ndtri((1 + LEVEL) / 2)
    low, high = np.quantile(drawn, ndtr(2 * bias + [-tail, tail]))
    wider = _widening(left_out, float(drawn.std()))
    return min(score, score - (score - low) * wider), max(score, score + (high - score) * wider)


def _widening(left_out: np.ndarray, spread: float) -> float:
    """The factor, at least 1, by which an interval with the bootstrap's standard error `spread` is too narrow."""
    g = len(left_out)
    squares = (left_out - left_out.mean()) ** 2
    total = squares.sum()
    if spread <= 0 or total <= 0:
        return 1.0
    jackknife = np.sqrt((g - 1) / g * total)
    # The variance of the estimated variance: as large as that of `freedom` normal values.
    unevenness = (squares**2).sum() / total**2 - 1 / g
    freedom = min(max(2 / max(unevenness, 1e-9), 2), g - 1)
    student = stdtrit(freedom, (1 + LEVEL) / 2) / ndtri((1 + LEVEL) / 2)
    return float(max(1.0, jackknife / spread) * student)


def intervals(
    tables: Sequence[Table], class_names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Intervals, dict[str, Intervals]]:
    """The 95 % intervals of the scores of a model.

    Where all images agree that a score is 0 or 1, resampling shows no spread; the interval is then that of a share
    of which every image says the same (Clopper and Pearson, Biometrika 1934).

    Args:
        tables: what the metrics keep of the images.
        class_names: names of the class ids 0..K-1.
        resamples: how many data sets are drawn.
        seed: of the drawing.

    Returns:
        The intervals of the overall scores, and name of the class -> those of its scores. Scores that are undefined,
        or of a class that fewer than 5 images have, are left out; with fewer than 5 images, all of them.
    """
    overall: Intervals = {}
    per_class: dict[str, Intervals] = {name: {} for name in class_names}
    for table in tables:
        if table.images < FEW:
            continue
        scores = table.scores(replications(table.images, resamples, seed))
        for name, values in scores.overall.items():
            ends = _within(values[:, None], table.images, np.array([table.images]))
            if not np.isnan(ends).any():
                overall[name] = (float(ends[0, 0]), float(ends[1, 0]))
        for name, values in scores.per_class.items():
            low, high = _within(values, table.images, table.occurs.sum(axis=0))
            for k in np.flatnonzero(~np.isnan(low)).tolist():
                per_class[class_names[k]][name] = (float(low[k]), float(high[k]))
    return overall, per_class


def _within(values: np.ndarray, images: int, having: np.ndarray) -> np.ndarray:
    """`interval` for scores, which are in 0..1: float64 `[2, C]`; `having` int `[C]` counts the images behind each."""
    low, high = interval(values, images)
    unlikely = ((1 - LEVEL) / 2) ** (1 / np.maximum(having, 1))  # at this share, all images agree once in 40 times
    same = low == high
    low = np.where(same & (values[0] == 1), unlikely, low)
    high = np.where(same & (values[0] == 0), 1 - unlikely, high)
    low[having < FEW] = np.nan
    return np.clip([low, high], 0, 1)

"""tools/benchmarks/guarantee_pixels.py: what is counted of frames that make a promise and frames that do not."""

import sys

import numpy as np
import pytest
from support.paths import ROOT

from visionkit.metrics.risk import PROBABILITIES, missed_pixels

sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))
import guarantee_pixels as tool


def frames(sure, count, rng):
    """float `[count, T]`: what is missed in frames in which the network is about as sure as that."""
    return np.array([missed_pixels(rng.beta(sure, 2, 200).astype(np.float32)) for _ in range(count)])


def test_a_promise_is_kept_for_frames_that_are_alike_and_need_not_be_for_another_film():
    rng = np.random.default_rng(0)
    films = np.array(["val"] * 60 + ["0001TP"] * 60 + ["0006R0"] * 60)
    missed = np.concatenate([frames(8, 60, rng), frames(8, 60, rng), frames(2, 60, rng)])
    said = tool.row_of(missed, films)
    assert said["val"]["frames"] == 60 and said["other_films"]["frames"] == 120
    for group in ("val", "other_films"):
        row = said[group]["10%"]
        assert row["random_halves"]["splits"] == tool.SPLITS
        assert 0.05 < row["random_halves"]["mean"] < 0.1 + 2 * row["random_halves"]["error"]
        assert max(row["even_for_odd_frames"], row["odd_for_even_frames"]) < 0.13
    across = said["across_films"]
    assert across["val_for_0001TP"]["10%"] < 0.12 < 0.3 < across["0001TP_for_0006R0"]["10%"]
    assert across["0006R0_for_0001TP"]["10%"] < 0.05


def test_too_few_frames_make_no_promise():
    missed = frames(8, 6, np.random.default_rng(0))
    assert tool.kept(missed[:0], missed, 0.1) is None and tool.kept(missed, missed, 0.05) is None
    assert tool.halves(missed, 0.05) == {"splits": 0}
    assert tool.kept(np.zeros((9, len(PROBABILITIES))), missed, 0.1) == pytest.approx(missed[:, -1].mean())

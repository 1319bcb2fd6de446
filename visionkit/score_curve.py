"""The curve that turns a model's scores into probabilities that hold, and what a calibrated model carries along.

One formula serves NumPy and the graph that is exported: `ScoreCurve.__call__` takes the module that computes.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

METHODS = ("temperature", "platt", "isotonic")
KNOTS = 64  # points of a curve at most; a graph gets four operations for each
# Below these a probability, and the rest to 1, are taken for 0: the least that still has a logarithm in float32, and
# half of the distance between 1 and the float32 below it.
LEAST, LEAST_REST = 1e-30, 2.0**-25
STEEPEST = 60.0  # logits beyond this are cut off, so that no exponential overflows


@dataclass(frozen=True)
class ScoreCurve:
    """A strictly increasing curve from scores to probabilities, as far as float32 can tell these from 0 and 1.

    Args:
        method: "temperature", a logit is multiplied by a slope (Guo et al. 2017, arXiv 1706.04599, section 4.2);
            "platt", an offset is added to that (Platt 1999); "isotonic", lines join points (after Zadrozny and Elkan
            2002).
        numbers: the slope; the slope and the offset; or the scores of the points, from 0 to 1, and then as many
            probabilities.
        exclusive: the scores in the last axis are those of classes of which exactly one is true. Their probabilities
            are divided by their sum; a temperature is that of their softmax.

    Raises:
        ValueError: the numbers are no increasing curve.
    """

    method: str
    numbers: tuple[float, ...]
    exclusive: bool = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(f"calibration: {problem}")

    def _problem(self) -> str:
        if self.method not in METHODS:
            return f"expected a method of {', '.join(METHODS)}, found {str(self.method)[:40]!r}"
        if not all(type(n) in (int, float) and math.isfinite(n) for n in self.numbers):
            return "expected numbers"
        count = len(self.numbers)
        if self.method != "isotonic":
            wanted = 1 if self.method == "temperature" else 2
            good = count == wanted and self.numbers[0] > 0
            return "" if good else f"expected {wanted} numbers for {self.method}, of which the first is above 0"
        if count % 2 or not 4 <= count <= 2 * KNOTS:
            return f"expected 2 to {KNOTS} points, found {count} numbers"
        xs, ys = self.points
        if xs[0] != 0 or xs[-1] != 1 or ys[0] < 0 or ys[-1] > 1:
            return "expected points with scores from 0 to 1 and probabilities within 0 and 1"
        rising = all(a < b for values in (xs, ys) for a, b in itertools.pairwise(values))
        return "" if rising else "expected points that rise from left to right"

    @property
    def points(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The scores and the probabilities of the points of an isotonic curve."""
        half = len(self.numbers) // 2
        return self.numbers[:half], self.numbers[half:]

    def __call__(self, scores: Any, xp: Any = np) -> Any:
        """Scores in 0..1 of any shape, `[..., K]` if `exclusive` -> probabilities of the same shape.

        Args:
            scores: an array, or a tensor of Keras.
            xp: numpy or keras.ops, which computes.
        """
        if self.method == "isotonic":
            found = self._joined(scores, xp)
        elif self.method == "temperature" and self.exclusive:
            logs = xp.log(xp.maximum(scores, LEAST))
            found = xp.exp(self.numbers[0] * (logs - xp.max(logs, axis=-1, keepdims=True)))
        else:
            slope, offset = (*self.numbers, 0.0)[:2]
            logits = xp.log(xp.maximum(scores, LEAST)) - xp.log(xp.maximum(1.0 - scores, LEAST_REST))
            # Not as a hyperbolic tangent, which would make all small probabilities equal in float32.
            found = 1.0 / (1.0 + xp.exp(-xp.clip(slope * logits + offset, -STEEPEST, STEEPEST)))
        return found / xp.sum(found, axis=-1, keepdims=True) if self.exclusive else found

    def _joined(self, scores: Any, xp: Any) -> Any:
        """Lines between the points, as a sum of what each contributes: rounding then cannot change any order."""
        xs, ys = self.points
        total = ys[0] + 0.0 * scores
        for (left, right), (low, high) in zip(itertools.pairwise(xs), itertools.pairwise(ys), strict=True):
            total = total + (high - low) / (right - left) * xp.clip(scores - left, 0.0, right - left)
        return total

    def to_json(self) -> dict[str, Any]:
        """For a model's file; `from_json` reads it."""
        return {"method": self.method, "numbers": list(self.numbers), "exclusive": self.exclusive}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ScoreCurve":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            method, numbers, exclusive = content["method"], tuple(content["numbers"]), bool(content["exclusive"])
        except (TypeError, KeyError):
            raise ValueError("calibration: expected method, numbers and exclusive") from None
        return cls(method, numbers, exclusive)

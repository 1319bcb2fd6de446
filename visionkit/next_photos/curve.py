"""Whether more labels still help: what the runs beside a run say about scores and numbers of training images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.data.files import read_json
from visionkit.evaluate.learning_curves import RISE
from visionkit.evaluate.scores import MONITOR
from visionkit.limits import JSON
from visionkit.types import DataError

LAST = 3  # different numbers of training images from which the next gain is estimated
VARY = ("data", "data_dir", "seed", "epochs")  # knobs in which runs on the same curve may differ
UNFINISHED = ("still improving", "underfitting", "too short", "unstable")  # verdicts on which labels are no answer


@dataclass(frozen=True)
class Curve:
    """Scores by number of training images.

    Args:
        monitor: the name of the score.
        images: ascending and different.
        scores: the mean of the runs with so many images.
    """

    monitor: str
    images: list[int]
    scores: list[float]

    def gain(self, n: int) -> float | None:
        """By how much `n` more images should raise the score; None with fewer than LAST numbers of images.

        A line through the last LAST scores over the logarithm of the number of images, which is what learning curves
        are like for a while; they bend downwards later, so it is an optimistic estimate.
        """
        if len(self.images) < LAST:
            return None
        slope = float(np.polyfit(np.log(self.images[-LAST:]), self.scores[-LAST:], 1)[0])
        return slope * float(np.log1p(n / self.images[-1]))


def read_curve(run: Path) -> Curve | None:
    """The curve of a run and of the finished runs beside it that learned the same from other numbers of images.

    Returns:
        None if it is no run with a score on validation images.
    """
    own = _results(run)
    monitor = MONITOR.get(str(own.get("task")), "")
    if monitor not in own or not own.get("train_images"):
        return None
    same = [results for folder in sorted(run.absolute().parent.iterdir()) if _alike(results := _results(folder), own)]
    images = sorted({results["train_images"] for results in same})
    scores = [float(np.mean([r[monitor] for r in same if r["train_images"] == number])) for number in images]
    return Curve(monitor, images, scores)


def advice(run: Path, n: int) -> tuple[str, bool]:
    """(one sentence on whether `n` more labels are worth it, whether they are not); ("", False) if `run` is no run."""
    results = _results(run)
    if not results:
        return "", False
    verdict = str(results.get("verdict", ""))
    if verdict.startswith(UNFINISHED):
        return f"before more is labelled: the training of {run} is {verdict}", False
    curve = read_curve(run)
    gain = None if curve is None else curve.gain(n)
    if curve is None or gain is None:
        text = f"to tell whether more labels still help, keep {LAST} runs on different numbers of images beside {run}"
        return text, False
    last = list(zip(curve.images[-LAST:], curve.scores[-LAST:], strict=True))
    scores = ", ".join(f"{score:.3f} with {images}" for images, score in last)
    text = f"{curve.monitor} was {scores} training images; by that, {n} more should add about {max(gain, 0):.3f}"
    if gain >= RISE:
        return text, False
    return f"the learning curve is flat: {text}; look for wrong labels, train longer or try a larger model", True


def _alike(results: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether a run stands on the same curve: the same task, classes and knobs, and a score."""
    monitor = MONITOR.get(str(own.get("task")), "")
    if monitor not in results or not results.get("train_images"):
        return False
    return all(results.get(key) == own.get(key) for key in ("task", "class_names")) and _fixed(results) == _fixed(own)


def _fixed(results: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in results.get("knobs", {}).items() if name not in VARY}


def _results(folder: Path) -> dict[str, Any]:
    """What results.json of a run holds; {} if there is none that can be read."""
    file = folder / "results.json"
    try:
        results = read_json(file, JSON) if file.is_file() else {}
    except (OSError, DataError):
        return {}
    return results if isinstance(results, dict) else {}

"""What a report says in words: how good a model is, where it fails and what to do next. Every rule has a test."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from visionkit.evaluate.learning_curves import verdict
from visionkit.evaluate.mistakes import BACKGROUND, CloseLook
from visionkit.evaluate.scores import FEW, small_test_set
from visionkit.types import BOX_TASKS

WEAK = 0.75  # a class below this share of the mean over the classes is called weak
MIXED = 0.05  # two classes are called confused if this share of one is predicted as the other
SMALL = 0.6  # small objects are mentioned if their mAP is below this share of that of larger ones
WAITED = 0.2  # of the training time
CLASS_SCORE = {**dict.fromkeys(BOX_TASKS, "mAP50"), "classify": "recall", "segment": "IoU"}

Scores = dict[str, Any]


class Remark(NamedTuple):
    """A sentence and its grade: "error", "warning", "note" or "good"."""

    grade: str
    text: str


class MixUp(NamedTuple):
    """How often one class is predicted as another; `share` is of all that is of the true class."""

    truth: str
    predicted: str
    count: int
    share: float


def remarks(
    task: str | None,
    scores: Scores,
    look: CloseLook | None = None,
    history: Sequence[dict[str, float]] = (),
    waited: float | None = None,
    data_grades: dict[str, int] | None = None,
) -> list[Remark]:
    """Returns everything there is to say: the quality first, then the problems, the most serious first.

    Args:
        task: of the model, None if unknown.
        scores: of `evaluate` or of results.json.
        look: a close look at the mistakes, see `evaluate`.
        history: of `read_history`.
        waited: the share of the time in which training waited for data.
        data_grades: how many findings of each grade the doctor has about the data.
    """
    others = [
        *_why_zero(scores),
        *_classes(task, scores, look),
        *_small(scores),
        *_training(history),
        *_waiting(waited),
        *_data(data_grades),
        *_few(scores),
    ]
    order = ("error", "warning", "note", "good")
    return [*_quality(task, scores, look), *sorted(others, key=lambda remark: order.index(remark.grade))]


def _quality(task: str | None, scores: Scores, look: CloseLook | None) -> Iterator[Remark]:
    if task in BOX_TASKS and look:
        matrix = look.confusion
        objects, detections, hits = matrix[:-1].sum(), matrix[:, :-1].sum(), np.trace(matrix)
        if objects:
            text = f"At each class's best threshold it finds {hits:,} of {objects:,} objects ({hits / objects:.0%})"
            yield Remark("note", f"{text}, and {detections - hits:,} of its {detections:,} detections are wrong.")
    elif task == "classify" and scores.get("images"):
        right = round(scores["top1"] * scores["images"])
        yield Remark("note", f"{right:,} of {scores['images']:,} images are classified correctly.")
    elif task == "segment" and "pixel_accuracy" in scores:
        text = f"{scores['pixel_accuracy']:.1%} of the pixels are right. The classes overlap with the truth by"
        yield Remark("note", f"{text} {scores['mIoU']:.0%} on average (IoU); small and rare ones count equally.")


def _why_zero(scores: Scores) -> Iterator[Remark]:
    for reason in scores.get("why", ()):
        yield Remark("error", f"mAP50 is about 0: {reason}")


def _classes(task: str | None, scores: Scores, look: CloseLook | None) -> Iterator[Remark]:
    """The weakest class, and the classes that are confused most."""
    key = CLASS_SCORE.get(task or "", "")
    known: dict[str, float] = {}
    for name, row in scores.get("per_class", {}).items():
        if row.get(key, -1) >= 0:
            known[name] = row[key]
    if len(known) > 1:
        name, mean = min(known, key=lambda name: known[name]), sum(known.values()) / len(known)
        text = f"Weakest class: {name} ({key} {known[name]:.2f}, the mean is {mean:.2f})"
        yield Remark("warning" if known[name] < WEAK * mean else "note", f"{text}{_why_weak(name, look)}.")
    if look is not None:
        what = look.title.split(",")[0]
        for mix_up in mix_ups(look)[:2]:
            text = f"{mix_up.share:.0%} of {mix_up.truth} are predicted as {mix_up.predicted}"
            yield Remark("warning", f"{text} ({mix_up.count:,} {what}).")


def _why_weak(name: str, look: CloseLook | None) -> str:
    """The main trouble with a detector's weak class: objects that are missed, or detections that are wrong."""
    if look is None or look.names[-1] != BACKGROUND:
        return ""
    k = look.names.index(name)
    objects, detections, hits = look.confusion[k].sum(), look.confusion[:, k].sum(), look.confusion[k, k]
    if objects > detections:
        return f": {objects - hits:,} of {objects:,} are missed or mistaken for something else"
    return f": {detections - hits:,} of its {detections:,} detections are wrong" if detections > hits else ""


def mix_ups(look: CloseLook | None) -> list[MixUp]:
    """Returns the pairs of classes that are confused, the worst first; not with a detector's background."""
    if look is None:
        return []
    matrix = look.confusion[:-1, :-1] if look.names[-1] == BACKGROUND else look.confusion
    share = matrix / np.maximum(look.confusion.sum(axis=1)[: len(matrix), None], 1)
    found = [
        MixUp(look.names[i], look.names[j], int(matrix[i, j]), float(share[i, j]))
        for i, j in zip(*np.nonzero((share > MIXED) & (matrix > 1)), strict=True)
        if i != j
    ]
    return sorted(found, key=lambda mix_up: -mix_up.share)


def _small(scores: Scores) -> Iterator[Remark]:
    larger = [scores[key] for key in ("mAP_medium", "mAP_large") if scores.get(key, -1) >= 0]
    small = scores.get("mAP_small", -1)
    if larger and 0 <= small < SMALL * max(larger):
        text = f"Small objects (below 32 x 32 pixels) have an mAP of {small:.2f}, larger ones {max(larger):.2f}"
        yield Remark("warning", f"{text}: train at a larger image_size, or cut images into tiles.")


def _training(history: Sequence[dict[str, float]]) -> Iterator[Remark]:
    if not history:
        return
    text = verdict(history)
    kind = text.split(":")[0]
    grade = {"healthy": "good", "settled": "note", "too short to say": "note"}.get(kind, "warning")
    yield Remark(grade, f"Training: {text}.")


def _waiting(waited: float | None) -> Iterator[Remark]:
    if waited is not None and waited > WAITED:
        text = f"Training waited for data up to {waited:.0%} of its time: use more --workers, or smaller files."
        yield Remark("warning", text)


def _data(grades: dict[str, int] | None) -> Iterator[Remark]:
    if grades is None:
        return
    counts = [f"{count} {grade}{'' if count == 1 else 's'}" for grade, count in grades.items() if count]
    grade = next((grade for grade in ("error", "warning") if grades.get(grade)), "good")
    yield Remark(grade, f"The dataset doctor found {', '.join(counts) or 'nothing'} in the data.")


def _few(scores: Scores) -> Iterator[Remark]:
    n = scores.get("images", 0)
    if sentence := small_test_set(scores):
        yield Remark("note", sentence)
    elif 0 < n < FEW:
        yield Remark("note", f"All this was measured on {n} images: differences of a few points may be chance.")

"""What a report says in words: how good a model is, where it fails and what to do next. Rules, each of them tested."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visionkit.evaluate.learning_curves import verdict
from visionkit.evaluate.mistakes import BACKGROUND, Closely

WEAK = 0.75  # of the mean over the classes: a class below is named as weak
MIXED = 0.05  # of a class's objects: taken for one other class, it is named
SMALL = 0.6  # of the larger objects' mAP: small ones below are named
WAITED = 0.2  # of the training time
FEW = 100  # images: fewer say little
CLASS_SCORE = {"detect": "mAP50", "instance": "mAP50", "classify": "recall", "segment": "IoU"}


class Remark(NamedTuple):
    """A sentence and its grade: "error", "warning", "note" or "good"."""

    grade: str
    text: str


def remarks(
    task: str | None,
    scores: dict,
    closely: Closely | None = None,
    history: Sequence[dict] = (),
    waited: float | None = None,
    doctor: dict[str, int] | None = None,
) -> list[Remark]:
    """All that can be said, the quality first, then what is amiss, the gravest first.

    Args:
        task: what the model is for, None where nobody knows.
        scores: of `evaluate` or of results.json.
        closely: see `evaluate`.
        history: of `read_history`.
        waited: the share of the time in which training waited for data.
        doctor: of the data, how many findings there are of each grade.
    """
    rest = [
        *(Remark("error", f"mAP50 is about 0: {reason}") for reason in scores.get("why", ())),
        *_classes(task, scores, closely),
        *_small(scores),
        *_training(history),
        *_waiting(waited),
        *_data(doctor),
        *_few(scores),
    ]
    order = ("error", "warning", "note", "good")
    return [*_quality(task, scores, closely), *sorted(rest, key=lambda remark: order.index(remark.grade))]


def _quality(task, scores, closely):
    if task in ("detect", "instance") and closely:
        matrix = closely.confusion
        objects, said, right = matrix[:-1].sum(), matrix[:, :-1].sum(), np.trace(matrix)
        if objects:
            text = f"At each class's best threshold it finds {right:,} of {objects:,} objects ({right / objects:.0%})"
            yield Remark("note", f"{text}, and {said - right:,} of its {said:,} finds are wrong.")
    elif task == "classify" and scores.get("images"):
        right = round(scores["top1"] * scores["images"])
        yield Remark("note", f"{right:,} of {scores['images']:,} images are classified right.")
    elif task == "segment" and "pixel_accuracy" in scores:
        text = f"{scores['pixel_accuracy']:.1%} of the pixels are right; classes overlap with the truth by"
        yield Remark("note", f"{text} {scores['mIoU']:.0%} on average (IoU), small and rare ones count as much.")


def _classes(task, scores, closely):
    """The weakest class, and what is taken for what."""
    key = CLASS_SCORE.get(task)
    known = {name: row[key] for name, row in scores.get("per_class", {}).items() if row.get(key, -1) >= 0}
    if len(known) > 1:
        name, mean = min(known, key=known.get), sum(known.values()) / len(known)
        text = f"Weakest class: {name} ({key} {known[name]:.2f}, the mean is {mean:.2f})"
        yield Remark("warning" if known[name] < WEAK * mean else "note", f"{text}{_why_weak(name, closely)}.")
    for truth, said, count, share in mix_ups(closely)[:2]:
        yield Remark(
            "warning", f"{share:.0%} of {truth} are taken for {said} ({count:,} {closely.title.split(',')[0]})."
        )


def _why_weak(name, closely) -> str:
    """Whether a detector's weak class is rather missed, or invented."""
    if closely is None or closely.names[-1] != BACKGROUND:
        return ""
    k = closely.names.index(name)
    there, said, right = closely.confusion[k].sum(), closely.confusion[:, k].sum(), closely.confusion[k, k]
    if there - right > said - right:
        return f": {there - right:,} of {there:,} are missed or mistaken"
    return f": {said - right:,} of {said:,} finds of it are wrong" if said > right else ""


def mix_ups(closely: Closely | None) -> list[tuple[str, str, int, float]]:
    """(truth, said, count, share of the truth) of the pairs of classes that are taken for one another, worst first."""
    if closely is None:
        return []
    matrix = closely.confusion[:-1, :-1] if closely.names[-1] == BACKGROUND else closely.confusion
    share = matrix / np.maximum(closely.confusion.sum(axis=1)[: len(matrix), None], 1)
    found = [
        (closely.names[i], closely.names[j], int(matrix[i, j]), float(share[i, j]))
        for i, j in zip(*np.nonzero((share > MIXED) & (matrix > 1)), strict=True)
        if i != j
    ]
    return sorted(found, key=lambda row: -row[3])


def _small(scores):
    larger = [scores[key] for key in ("mAP_medium", "mAP_large") if scores.get(key, -1) >= 0]
    small = scores.get("mAP_small", -1)
    if larger and 0 <= small < SMALL * max(larger):
        text = f"Small objects (below 32 x 32 pixels) have an mAP of {small:.2f}, larger ones {max(larger):.2f}"
        yield Remark("warning", f"{text}: train at a larger image_size, or cut images into tiles.")


def _training(history):
    if not history:
        return
    text = verdict(history)
    kind = text.split(":")[0]
    grade = {"healthy": "good", "settled": "note", "too short to say": "note"}.get(kind, "warning")
    yield Remark(grade, f"Training: {text}.")


def _waiting(waited):
    if waited is not None and waited > WAITED:
        text = f"Training waited for data up to {waited:.0%} of its time: give it --workers, or smaller files."
        yield Remark("warning", text)


def _data(doctor):
    if doctor is None:
        return
    text = ", ".join(f"{count} {grade}{'s' * (count != 1)}" for grade, count in doctor.items() if count)
    grade = next((grade for grade in ("error", "warning") if doctor.get(grade)), "good")
    yield Remark(grade, f"The data's doctor has {text or 'nothing'} to report.")


def _few(scores):
    n = scores.get("images", 0)
    if 0 < n < FEW:
        yield Remark("note", f"All this is measured on {n} images: differences of a few points may be chance.")

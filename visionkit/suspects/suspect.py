"""What a suspicion is: which label, what is probably wrong with it, and how sure that is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

MISSING, INVENTED, CLASS, PLACE = "missing", "invented", "wrong class", "badly placed"
KINDS = {
    MISSING: "The model sees an object where none is annotated.",
    INVENTED: "An object is annotated where the model sees none, of any class.",
    CLASS: "The model sees an object of another class.",
    PLACE: "The model sees the object, but with other borders.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspect:
    """One label that is probably wrong.

    Args:
        image: the number of the sample in its data set.
        kind: a key of KINDS; a whole image can only have the wrong class.
        score: in 0..1, by which suspects are ranked; it orders them and is no probability.
        label: the annotated class id; None where nothing is annotated.
        row: of the annotated object in its sample; None for a missing object, for a whole image and for pixels.
        box: float32 `[4]`, the annotated box, the box around connected pixels of a class map, or None.
        proposed_label: the class id that the model proposes; None for an invented object.
        proposed_box: float32 `[4]`, the model's box, or None.
        confidence: the model's own score of what it proposes; 0 for an invented object.
    """

    image: int
    kind: str
    score: float
    label: int | None = None
    row: int | None = None
    box: np.ndarray | None = None
    proposed_label: int | None = None
    proposed_box: np.ndarray | None = None
    confidence: float = 0.0

    def in_words(self, names: list[str]) -> str:
        """A few words, such as "wrong class: cat, probably dog (0.93)"."""
        given = "" if self.label is None else names[self.label]
        said = "" if self.proposed_label is None else names[self.proposed_label]
        if self.kind == MISSING:
            return f"missing: {said} ({self.confidence:.2f})"
        if self.kind == INVENTED:
            return f"invented: {given}"
        if self.kind == CLASS:
            return f"wrong class: {given}, probably {said} ({self.confidence:.2f})"
        return f"badly placed: {given} ({self.confidence:.2f})"

    def to_json(self, names: list[str]) -> dict[str, Any]:
        """The suspicion as a JSON object, with names of classes and boxes x1, y1, x2, y2 in pixels."""
        return {
            "kind": self.kind,
            "score": round(self.score, 4),
            "class": None if self.label is None else names[self.label],
            "object": self.row,
            "box": _numbers(self.box),
            "proposed_class": None if self.proposed_label is None else names[self.proposed_label],
            "proposed_box": _numbers(self.proposed_box),
            "confidence": round(self.confidence, 4),
        }


def ranked(suspects: list[Suspect]) -> list[Suspect]:
    """The most suspicious first; of equal ones, in the order of the data."""
    return sorted(suspects, key=lambda suspect: -suspect.score)


def _numbers(box: np.ndarray | None) -> list[float] | None:
    return None if box is None else [round(float(value), 2) for value in box]

"""What readers do with what is wrong: cut boxes to the image or drop them, refuse the rest, and say so once."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.types import DataError

ROUNDING = 0.5  # pixels outside the image that are the file format's rounding: cut, and not worth a word
ZERO_AREA, TURNED, OUTSIDE, CLIPPED = "zero area", "corners in the wrong order", "outside the image", "clipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about a data set that is wrong or worth knowing.

    Args:
        kind: a few fixed words, e.g. "zero area"; `doctor.KINDS` grades them.
        message: one line that says what and where.
        id: the sample's, or "" where it concerns the whole set.
        files: images that show it.
        box: x1, y1, x2, y2 in pixels of the first of them, as the annotation has it, or None.
    """

    kind: str
    message: str
    id: str = ""
    files: tuple[Path, ...] = ()
    box: tuple[float, ...] | None = None


class Repairs:
    """What one reading of a data set changed or, when it collects, left out.

    Args:
        reader: the name that begins the line, e.g. "voc".
        collect: False lets the first `DataError` stop the reader, as training wants it; True notes it as a finding and
            goes on without the box, the annotation or the image that it concerns, as the doctor wants it.
    """

    def __init__(self, reader: str, collect: bool = False):
        self.reader, self.collect = reader, collect
        self.findings: list[Finding] = []
        self._noted: set[Finding] = set()
        self.raw: dict[Path, np.ndarray] = {}  # image -> float32 [N, 4], its boxes as they were; only when it collects

    def apply(
        self, boxes: np.ndarray, image_size: tuple[int, int], id: str, file: Path | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cuts boxes `[N, 4]` to the image of sample `id` and drops those without area.

        Returns:
            (float32 `[M, 4]` valid boxes, int `[M]` their rows in `boxes`).
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if self.collect:
            self.raw[file] = boxes
        cut = npboxes.clip(boxes, image_size)
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = (cut[:, :2] < cut[:, 2:]).all(axis=1)
        over = np.abs(cut - boxes).max(axis=1)
        keep = (sides > 0).all(axis=1) & inside
        for i in np.flatnonzero(~keep | (over > ROUNDING)):
            kind = CLIPPED if keep[i] else TURNED if (sides[i] < 0).any() else OUTSIDE if sides[i].all() else ZERO_AREA
            x1, y1, x2, y2 = box = tuple(round(float(value), 2) for value in boxes[i])
            message = f"{id}: box {i + 1}, {x1:g} {y1:g} {x2:g} {y2:g} in an image of {image_size[1]} x {image_size[0]}"
            self.findings.append(Finding(kind=kind, message=message, id=id, files=(file,) if file else (), box=box))
        rows = np.flatnonzero(keep)
        return cut[rows], rows

    @contextmanager
    def skipping(self, id: str = "", file: Path | None = None, kind: str = "broken annotation") -> Iterator[None]:
        """What a `DataError` of the block concerns is left out, when this collects; else the error stops the reader.

        Args:
            id, file: of the sample, where they are known.
            kind: of the finding, where the error does not say.
        """
        try:
            yield
        except DataError as error:
            if not self.collect:
                raise
            self.note(error.kind or kind, str(error), id, file)

    def note(self, kind: str, message: str, id: str = "", file: Path | None = None) -> None:
        """A finding that changes nothing in what is read; kept only when this collects, and each only once."""
        found = Finding(kind=kind, message=message, id=id, files=(file,) if file else ())
        if self.collect and found not in self._noted:
            self._noted.add(found)
            self.findings.append(found)

    def left_out(self, kind: str, what: str, files: Sequence[Path]) -> None:
        """Images that are not read, one finding for all: noted, and logged where nobody reads findings.

        Args:
            what: goes on after "N images of ".
        """
        many = len(files) > 1
        line = f"{len(files)} image{'s' * many} of {what} ({files[0].name}{', ...' * many})"
        self.note(kind, line)
        if not self.collect:
            logging.getLogger("visionkit").warning("%s: %s", self.reader, line)

    def warn(self) -> None:
        """Logs the one line, if any box was changed; nothing when this collects, for then somebody reads it all."""
        by_kind = {}
        for found in self.findings:
            by_kind.setdefault(found.kind, []).append(found.id)
        clipped, parts = by_kind.pop(CLIPPED, ()), []
        if total := sum(map(len, by_kind.values())):
            reasons = "; ".join(f"{kind}: {_names(ids)}" for kind, ids in by_kind.items())
            parts.append(f"{total} box{'es' * (total > 1)} dropped ({reasons})")
        if clipped:
            parts.append(f"{len(clipped)} clipped to the image ({_names(clipped)})")
        if parts and not self.collect:
            logging.getLogger("visionkit").warning("%s: %s", self.reader, ", ".join(parts))


def _names(ids: list[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(ids))
    more = f" and {len(unique) - most} more images" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more

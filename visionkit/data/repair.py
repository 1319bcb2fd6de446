"""What readers do with faulty data: they clip boxes to the image or drop them, refuse the rest, and report it once."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit import npboxes
from visionkit.types import DataError

ROUNDING = 0.5  # pixels outside the image that come from a file format's rounding: clipped without a report
ZERO_AREA, TURNED, OUTSIDE, CLIPPED = "zero area", "corners in the wrong order", "outside the image", "clipped"
KEYPOINT = "keypoint outside the image"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about a data set that is wrong or worth knowing.

    Args:
        kind: a few fixed words, e.g. "zero area"; `doctor.diagnosis.KINDS` grades them.
        message: one line that says what is wrong and where.
        id: of the sample, or "" if it concerns the whole data set.
        files: images that show it.
        box: x1, y1, x2, y2 in pixels of the first of them, as in the annotation, or None.
    """

    kind: str
    message: str
    id: str = ""
    files: tuple[Path, ...] = ()
    box: tuple[float, ...] | None = None


class Repairs:
    """What was changed or, if it collects, left out while a data set was read.

    Args:
        reader: what is read, at the start of a warning, e.g. "Pascal VOC XML".
        collect: False lets the first `DataError` stop the reader, for training; True records it as a finding and
            continues without the box, annotation or image concerned, for the doctor.
    """

    def __init__(self, reader: str, collect: bool = False):
        self.reader, self.collect = reader, collect
        self.findings: list[Finding] = []
        self._noted: set[Finding] = set()
        self._warned: set[Finding | str] = set()  # a reader of one split after the other finds the same things
        self.raw: dict[Path, np.ndarray] = {}  # image -> float32 [N, 4], its unchanged boxes

    def apply(
        self, boxes: np.ndarray, image_size: tuple[int, int], id: str, file: Path | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Clips boxes `[N, 4]` to the image of sample `id` and drops those without area.

        Args:
            boxes: `[N, 4]` x1, y1, x2, y2 in pixels, as annotated.
            image_size: (height, width) of the image.
            id, file: of the sample.

        Returns:
            (float32 `[M, 4]` valid boxes, int `[M]` their rows in `boxes`).
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        if file is not None:
            self.raw[file] = boxes
        clipped = npboxes.clip(boxes, image_size)
        sides = boxes[:, 2:] - boxes[:, :2]
        inside = (clipped[:, :2] < clipped[:, 2:]).all(axis=1)
        outside_by = np.abs(clipped - boxes).max(axis=1)  # [N] pixels
        keep = np.asarray((sides > 0).all(axis=1) & inside)
        for i in np.flatnonzero(~keep | (outside_by > ROUNDING)).tolist():
            kind = CLIPPED if keep[i] else _why_dropped(sides[i])
            x1, y1, x2, y2 = box = tuple(round(float(value), 2) for value in boxes[i])
            message = f"{id}: box {i + 1}, {x1:g} {y1:g} {x2:g} {y2:g} in an image of {image_size[1]} x {image_size[0]}"
            self.findings.append(Finding(kind=kind, message=message, id=id, files=(file,) if file else (), box=box))
        rows = np.flatnonzero(keep)
        return clipped[rows], rows

    def keypoint(self, message: str, id: str, file: Path) -> None:
        """Records that a keypoint lies outside its image, and counts as not annotated."""
        self.findings.append(Finding(kind=KEYPOINT, message=message, id=id, files=(file,)))

    @contextmanager
    def skipping(self, id: str = "", file: Path | None = None, kind: str = "broken annotation") -> Iterator[None]:
        """If this collects, a `DataError` raised in the block becomes a finding; otherwise it stops the reader.

        Either way the error has a kind then.

        Args:
            id, file: of the sample, if known.
            kind: of the finding, unless the error names one.
        """
        try:
            yield
        except DataError as error:
            error.kind = error.kind or kind
            if not self.collect:
                raise
            self.note(error.kind, str(error), id, file)

    def note(self, kind: str, message: str, id: str = "", file: Path | None = None) -> None:
        """Records a finding, if this collects and has not recorded it already."""
        finding = Finding(kind=kind, message=message, id=id, files=(file,) if file else ())
        if self.collect and finding not in self._noted:
            self._noted.add(finding)
            self.findings.append(finding)

    def left_out(self, kind: str, what: str, files: Sequence[Path]) -> None:
        """Reports images that are not read in one finding for all; if this does not collect, in a warning.

        Args:
            kind: of the finding.
            what: the rest of a line that begins "N images of ".
            files: the images.
        """
        many = len(files) > 1
        line = f"{len(files)} image{'s' if many else ''} of {what} ({files[0].name}{', ...' if many else ''})"
        self.note(kind, line)
        if not self.collect and line not in self._warned:
            self._warned.add(line)
            logging.getLogger("visionkit").warning("%s: %s", self.reader, line)

    def warn(self) -> None:
        """Logs one line about the boxes and keypoints that were changed, if any, and not mentioned before.

        It logs nothing if this collects, since findings are read.
        """
        if self.collect:
            return
        by_kind: dict[str, list[str]] = defaultdict(list)
        for finding in dict.fromkeys(self.findings):
            if finding not in self._warned:
                by_kind[finding.kind].append(finding.id)
        self._warned |= set(self.findings)
        clipped, keypoints = by_kind.pop(CLIPPED, []), by_kind.pop(KEYPOINT, [])
        parts = []
        if total := sum(map(len, by_kind.values())):
            reasons = "; ".join(f"{kind}: {_names(ids)}" for kind, ids in by_kind.items())
            parts.append(f"{total} box{'es' if total > 1 else ''} dropped ({reasons})")
        if clipped:
            parts.append(f"{len(clipped)} clipped to the image ({_names(clipped)})")
        if keypoints:
            parts.append(f"{len(keypoints)} keypoints outside their image, read as not annotated ({_names(keypoints)})")
        if parts:
            logging.getLogger("visionkit").warning("%s: %s", self.reader, ", ".join(parts))


def _why_dropped(sides: np.ndarray) -> str:
    """The kind of finding for a dropped box, from its signed width and height."""
    if (sides < 0).any():
        return TURNED
    return OUTSIDE if sides.all() else ZERO_AREA


def _names(ids: list[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(ids))
    more = f" and {len(unique) - most} more images" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more

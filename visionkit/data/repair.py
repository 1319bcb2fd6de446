"""What readers do with boxes that are wrong: cut them to the image or drop them, count, and say so once."""

import logging

import numpy as np

from visionkit import npboxes

ROUNDING = 0.5  # pixels outside the image that are the file format's rounding: cut, and not worth a word


class Repairs:
    """Counts what one reading of a data set changed.

    Args:
        reader: the name that begins the line, e.g. "voc".
    """

    def __init__(self, reader: str):
        self.reader, self.dropped, self.clipped = reader, {}, []

    def apply(self, boxes: np.ndarray, image_size: tuple[int, int], id: str) -> tuple[np.ndarray, np.ndarray]:
        """Cuts boxes `[N, 4]` to the image and drops those without area.

        Returns:
            (float32 `[M, 4]` valid boxes, int `[M]` their rows in `boxes`).
        """
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        cut = npboxes.clip(boxes, image_size)
        has_area = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
        inside = (cut[:, :2] < cut[:, 2:]).all(axis=1)
        self.drop("zero area", id, np.count_nonzero(~has_area))
        self.drop("outside the image", id, np.count_nonzero(has_area & ~inside))
        self.clipped += [id] * np.count_nonzero(inside & has_area & (np.abs(cut - boxes).max(axis=1) > ROUNDING))
        keep = np.flatnonzero(inside & has_area)
        return cut[keep], keep

    def drop(self, reason: str, id: str, count: int = 1) -> None:
        """Counts `count` boxes of sample `id` as dropped for `reason`."""
        if count:
            self.dropped.setdefault(reason, []).extend([id] * count)

    def warn(self) -> None:
        """Prints the one line, if anything was changed."""
        parts = []
        if total := sum(map(len, self.dropped.values())):
            reasons = "; ".join(f"{reason}: {_names(ids)}" for reason, ids in self.dropped.items())
            parts.append(f"{total} box{'es' * (total > 1)} dropped ({reasons})")
        if self.clipped:
            parts.append(f"{len(self.clipped)} clipped to the image ({_names(self.clipped)})")
        if parts:
            logging.getLogger("visionkit").warning("%s: %s", self.reader, ", ".join(parts))


def _names(ids: list[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(ids))
    more = f" and {len(unique) - most} more images" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more

"""Numbers for objects that stay the same from frame to frame of a video."""

import logging
from typing import Any

from visionkit.types import DataError, Detections

OVERLAP = 0.3  # the least IoU of an object with where it is expected
SECONDS = 1.0  # for which an object that was seen that long is looked for where it is expected, while nothing is found


def check_tracking() -> None:
    """Raises a `DataError` if the library for tracking is not installed."""
    try:
        import norfair  # noqa: F401
    except ModuleNotFoundError:
        raise DataError(
            "--track: norfair is not installed; it comes with visionkit's extra track: "
            "pip install 'keras-visionkit[track]'"
        ) from None


class Tracks:
    """Follows the objects of a video: each has a Kalman filter that says where it is next (norfair, BSD-3).

    Args:
        rate: frames per second.

    Raises:
        DataError: norfair is not installed.
    """

    def __init__(self, rate: float):
        check_tracking()
        from norfair import Tracker

        # It warns of boxes that the filter expects to have shrunk to nothing; they overlap with none, which is right.
        logging.getLogger("norfair.distances").setLevel(logging.ERROR)
        # Without a delay, every object has a number at once.
        self._tracker = Tracker(
            "iou", 1 - OVERLAP, hit_counter_max=max(2, round(SECONDS * rate)), initialization_delay=0
        )
        self._frames = 0

    def __call__(self, detections: Detections) -> list[int]:
        """The numbers of the objects of the next frame, from 1; an object keeps its own while its class is the same.

        Args:
            detections: of the frame; all objects count, whatever their score.
        """
        from norfair import Detection

        self._frames += 1
        found = [
            Detection(points=box.reshape(2, 2).astype(float), label=label, data=(self._frames, i))
            for i, (box, label) in enumerate(zip(detections.boxes, detections.labels.tolist(), strict=True))
        ]
        numbers: dict[int, int] = {}
        for tracked in self._tracker.update(found):
            data: Any = tracked.last_detection.data
            if data[0] == self._frames and tracked.id is not None:  # others are expected, but were not found
                numbers[data[1]] = tracked.id
        return [numbers[i] for i in range(len(found))]

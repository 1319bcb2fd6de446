"""Video files, as detection and style transfer read and write them."""

import math
from pathlib import Path

import cv2

from visionkit.types import DataError, would_be_lost

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
FRAME_RATE = 25.0  # of the written video, where the source does not say its own
SHORT = 0.9  # share of the frames that a file promises; one that gives fewer is named as cut short


def film_of(source: Path | str, out: Path, name: str | None = None) -> Path:
    """`out`/NAME.mp4, of the name of `source` by default; a `DataError` if that is `source` itself."""
    film = out / f"{name or Path(source).stem}.mp4"
    if film.resolve() == Path(source).resolve():
        raise DataError(f"{film}: would overwrite its source; choose another output folder")
    return film


def check_ours(film: Path, beside: Path) -> None:
    """A `DataError` if there is such a film, but not what we leave beside ours."""
    if film.exists() and not beside.exists():
        raise would_be_lost(film)


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Frames a second."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and 0 < rate <= 1000 else FRAME_RATE


def promised_frames(capture: cv2.VideoCapture) -> int:
    """How many frames the file says it has; 0 where it does not say."""
    return int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))


def cut_short(source: Path | str, done: int, promised: int) -> str | None:
    """What is wrong with a file that gave `done` of `promised` frames; None where nothing is."""
    if done < SHORT * promised:
        return f"{source}: ends after {done} of {promised} frames: cut short or broken"
    return None


def put_in_place(part: Path, film: Path, frames: int) -> None:
    """Gives a film that was written as `part` its name, if its `frames` are there: OpenCV is silent on a full disk.

    Raises:
        DataError: they are not; `part` is gone then, and an earlier `film` as it was.
    """
    capture = cv2.VideoCapture(str(part))
    found = promised_frames(capture)
    capture.release()
    if found < frames:
        part.unlink(missing_ok=True)
        raise DataError(f"{film}: only {found} of {frames} frames reached the disk; is it full?")
    part.replace(film)


def writer_to(file: Path, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
    """Writes BGR uint8 frames of `size` (height, width) as MP4."""
    if rate > 65:  # OpenCV counts in thousandths, and MPEG-4 no further than 65,535
        rate = round(rate, 2 if rate < 655 else 0)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), rate, size[::-1])
    if not writer.isOpened():
        raise DataError(f"{file}: this build of OpenCV writes no MP4")
    return writer

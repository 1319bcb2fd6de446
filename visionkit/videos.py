"""Reading and writing video files, for detection and style transfer."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np

from visionkit.files import whole_file
from visionkit.types import DataError, would_be_lost

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
FRAME_RATE = 25.0  # of the written video, if the source does not name its own
SHORT = 0.9  # a file with less than this share of the frames that it promises is reported as cut short


def film_of(source: Path | str, out: Path, name: str | None = None) -> Path:
    """`out`/NAME.mp4; by default NAME is that of `source`. Raises a `DataError` if that is `source` itself."""
    film = out / f"{name or Path(source).stem}.mp4"
    if film.resolve() == Path(source).resolve():
        raise DataError(f"{film}: would overwrite its source; choose another output folder")
    return film


def check_ours(film: Path, companion: Path) -> None:
    """Raises a `DataError` if the film exists without the `companion` file that we write with each of ours."""
    if film.exists() and not companion.exists():
        raise would_be_lost(film)


def frame_rate(capture: cv2.VideoCapture) -> float:
    """Frames per second; `FRAME_RATE` if the file names no plausible rate."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and 0 < rate <= 1000 else FRAME_RATE


def promised_frames(capture: cv2.VideoCapture) -> int:
    """How many frames the file claims to have; 0 if it makes no claim."""
    return int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))


def cut_short(source: Path | str, done: int, promised: int) -> str | None:
    """What is wrong with a file that gave `done` of `promised` frames; None if nothing is."""
    if done < SHORT * promised:
        return f"{source}: ends after {done} of {promised} frames: cut short or broken"
    return None


@contextmanager
def whole_film(file: Path, rate: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields a function that appends a frame, uint8 `[H, W, 3]` RGB.

    `file` appears, complete, when the block ends without an error. Without any frame nothing is written.

    Args:
        file: an .mp4.
        rate: frames per second.

    Raises:
        DataError: not all frames reached the disk, which OpenCV does not report; an earlier `file` is unchanged.
    """
    path: Path | None = None
    writer: cv2.VideoWriter | None = None
    frames = 0

    def append(frame: np.ndarray) -> None:
        nonlocal path, writer, frames
        if writer is None:
            path = stack.enter_context(whole_file(file))
            writer = writer_to(path, frame.shape[:2], rate)
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        frames += 1

    with ExitStack() as stack:
        yield append
        if writer is not None and path is not None:
            writer.release()
            _check_frames(path, file, frames)


def _check_frames(path: Path, file: Path, frames: int) -> None:
    """Raises a `DataError` about `file` if the video at `path` has fewer frames."""
    capture = cv2.VideoCapture(str(path))
    found = promised_frames(capture)
    capture.release()
    if found < frames:
        raise DataError(f"{file}: only {found} of {frames} frames reached the disk; is it full?")


def writer_to(file: Path, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
    """A writer of BGR uint8 frames of `size` (height, width) as MP4."""
    if rate > 65:  # OpenCV counts in thousandths of a frame, and MPEG-4 has no number above 65,535
        rate = round(rate, 2 if rate < 655 else 0)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, size[::-1])
    if not writer.isOpened():
        raise DataError(f"{file}: this build of OpenCV writes no MP4")
    return writer

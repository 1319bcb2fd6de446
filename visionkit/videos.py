"""Reading and writing video files, for detection and style transfer.

Films are written for browsers to play: VP8 in WebM, whose encoder (libvpx, BSD) is inside OpenCV's wheels. A build of
OpenCV without it writes H.264 in MP4 if the machine has an encoder for that; the wheels bring none, since x264 is GPL.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from visionkit.environment import quiet_stderr
from visionkit.files import whole_file, would_be_lost
from visionkit.types import DataError

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
FRAME_RATE = 25.0  # of the written video, if the source does not name its own
CODECS = {".webm": "VP80", ".mp4": "avc1"}  # what browsers play, the preferred one first
SMALLEST = 4  # pixels; smaller frames are written so that nobody can read them
SHORT = 0.9  # a file with less than this share of the frames that it promises is reported as cut short


def film_of(source: Path | str, out: Path, name: str | None = None) -> Path:
    """`out`/NAME.webm; by default NAME is that of `source`. Raises a `DataError` if that is `source` itself."""
    film = out / f"{name or Path(source).stem}{film_suffix()}"
    if film.resolve() == Path(source).resolve():
        raise DataError(f"{film}: would overwrite its source; choose another output folder")
    return film


def check_ours(film: Path, companion: Path) -> None:
    """Raises a `DataError` if the film exists without the `companion` file that we write with each of ours."""
    if film.exists() and not companion.exists():
        raise would_be_lost(film)


def open_film(file: Path | str) -> cv2.VideoCapture:
    """Opens a video file for reading.

    Raises:
        DataError: there is no such file, or it cannot be read as a video.
    """
    if not Path(file).is_file():
        raise DataError(f"{file}: no such file")
    capture = cv2.VideoCapture(str(file))
    if not capture.isOpened():
        raise DataError(f"{file}: not a video that can be read")
    return capture


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
        file: with the suffix that `film_of` gives it.
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
    """Raises a `DataError` about `file` if the video at `path` has fewer frames.

    They are counted: a WebM claims the frames that it should have, whether they reached the disk or not.
    """
    with quiet_stderr():
        capture, found = cv2.VideoCapture(str(path)), 0
        while capture.grab():
            found += 1
        capture.release()
    if found < frames:
        raise DataError(f"{file}: only {found} of {frames} frames reached the disk; is it full?")


@cache
def film_suffix() -> str:
    """The suffix of the films that this build of OpenCV can write for browsers.

    Raises:
        DataError: it writes none of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in CODECS.items():
            writer = _open(Path(folder) / f"film{suffix}", codec, (64, 64), FRAME_RATE)
            if writer.isOpened():
                writer.release()
                return suffix
    raise DataError("this build of OpenCV writes neither WebM (VP8) nor MP4 (H.264): install opencv-python-headless")


def writer_to(file: Path, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
    """A writer of BGR uint8 frames of `size` (height, width), as `CODECS` has it for the suffix of `file`.

    Raises:
        DataError: the frames are too small.
    """
    writer = _open(file, CODECS[file.suffix], size, rate)
    if min(size) < SMALLEST or not writer.isOpened():
        raise DataError(f"{file}: frames of {size[1]} x {size[0]} pixels cannot be written as a film")
    return writer


def _open(file: Path, codec: str, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
    with quiet_stderr():  # OpenCV says that WebM has no VP8, and writes it all the same
        return cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*codec), rate, size[::-1])

"""A detector over a video file or a camera: the video with the detections drawn in, and one line of JSON per frame."""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from visionkit.files import whole_text, would_be_lost
from visionkit.predict.ahead import ahead
from visionkit.predict.draw import draw_detections
from visionkit.predict.formats import to_record
from visionkit.predict.inputs import Failure
from visionkit.predict.predictor import Predictor
from visionkit.predict.progress import progress_bar
from visionkit.predict.summary import PredictionSummary
from visionkit.predict.tiling import Tiled
from visionkit.predict.tracking import Tracks
from visionkit.types import BOX_TASKS, DataError, Detections
from visionkit.videos import (
    SUFFIXES,
    check_ours,
    cut_short,
    film_of,
    frame_rate,
    open_film,
    promised_frames,
    whole_film,
)

CAMERA = "camera"  # or camera:1, with the number that OpenCV gives it

Frame = tuple[np.ndarray, float]  # uint8 [H, W, 3] RGB; seconds since the first frame


def is_video(source: str | Path) -> bool:
    """Whether `source` is a camera or a file with the suffix of a video."""
    return _camera(source) is not None or Path(source).suffix.lower() in SUFFIXES


def detect_video(
    predictor: Predictor | Tiled,
    source: Path | str,
    out: Path | str,
    score: float = 0.3,
    frames: int | None = None,
    progress: bool = True,
    pictures: bool = True,
    track: bool = False,
) -> PredictionSummary:
    """Detects objects in each frame and writes NAME.webm, with the detections drawn in, and NAME.jsonl into `out`.

    A line of the .jsonl is {"frame": its number from 0, "seconds": since the first, "size": [height, width], "objects":
    [{"label", "class", "score", "box"}]}, with the "id" of each object where they are tracked. The written video has a
    constant frame rate even if its source has none. Both files appear, complete, when the source ends, after `frames`
    frames, or on Ctrl-C, which keeps what is done. Frames in progress are held in memory: about five batches of the
    predictor.

    Args:
        predictor: of a detector; may be a `Tiled` one.
        source: a video file, "camera", or "camera:N".
        out: a folder, created if missing.
        score: detections below it are neither written nor drawn.
        frames: stop after this many; by default at the end of the file, or on Ctrl-C.
        progress: show a progress bar on stderr.
        pictures: write the video.
        track: give each object a number, "id", that it keeps from frame to frame.

    Returns:
        The summary, in frames; a file that ends before the frames it promises is in `failed`.

    Raises:
        DataError: there is no such video or camera, no frame of it can be decoded, an existing file is not from an
            earlier call, the model is not a detector, or what `track` needs is not installed.
    """
    if predictor.task not in BOX_TASKS:
        raise DataError(f"a video is for detectors; this model is for the task {predictor.task}")
    capture, camera = _open(source), _camera(source)
    film, lines_file = _destinations(source, Path(out), camera)
    film.parent.mkdir(parents=True, exist_ok=True)
    rate = frame_rate(capture)
    promised = promised_frames(capture) if camera is None else 0
    total = min(promised, frames or promised) if promised else frames

    def clock() -> float:
        if camera is not None:
            return time.monotonic()
        return capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # the file's own: phones do not write at a constant rate

    tracks = Tracks(rate) if track else None
    job = _VideoJob(predictor, _frames(capture, clock, rate, frames), score, pictures, tracks)
    try:
        with progress_bar(progress) as bar, whole_film(film, rate) as append, whole_text(lines_file) as lines:
            task = bar.add_task("detect", total=total)
            job.run(append, lines, lambda: bar.advance(task))
            if not job.done:
                raise DataError(f"{source}: holds no frame that can be decoded")
    finally:
        capture.release()
    error = cut_short(source, job.done, promised) if frames is None and not job.stopped else None
    failed = [Failure(id=str(source), file=Path(source), error=error)] if error else []
    return PredictionSummary(done=job.done, rows=job.objects, failed=failed)


class _VideoJob:
    """One run over a video, frame by frame; it counts the frames and objects that are written.

    Args:
        predictor: of a detector.
        frames: of the video.
        score: detections below it are neither written nor drawn.
        pictures: whether the video is drawn and written, or the lines only.
        tracks: gives the objects their numbers; None if they have none.
    """

    def __init__(
        self,
        predictor: Predictor | Tiled,
        frames: Iterator[Frame],
        score: float,
        pictures: bool,
        tracks: Tracks | None,
    ):
        self.predictor, self.frames, self.score, self.pictures = predictor, frames, score, pictures
        self.tracks = tracks
        self.done, self.objects, self.stopped = 0, 0, False
        self._waiting: deque[Frame] = deque()  # frames that the predictor has taken and not answered yet

    def run(self, append: Callable[[np.ndarray], None], lines: IO[str], advance: Callable[[], object]) -> None:
        """Writes the frames, until they end or somebody presses Ctrl-C.

        Args:
            append: takes the next picture of the video.
            lines: the open .jsonl.
            advance: called after each frame.
        """
        # Results come in order, so each belongs to the frame that has waited longest.
        results = ((self._waiting.popleft(), result) for result in self.predictor(self._taken(), score=self.score))
        jobs = ((frame, result, self._numbers(result)) for frame, result in results)
        try:
            for picture, seconds, detections, ids in ahead(jobs, self._draw, depth=4):
                self._write_line(lines, seconds, detections, ids)
                if picture is not None:
                    append(picture)
                self.done += 1
                advance()
        except KeyboardInterrupt:  # the usual way to stop a camera
            self.stopped = True

    def _taken(self) -> Iterator[np.ndarray]:
        for frame, seconds in self.frames:
            self._waiting.append((frame, seconds))
            yield frame

    def _numbers(self, detections: object) -> list[int] | None:
        """The objects' numbers, if they have any; called for one frame after the other."""
        assert isinstance(detections, Detections)  # frames are arrays, which cannot fail
        return None if self.tracks is None else self.tracks(detections)

    def _draw(self, job: tuple[Frame, Any, list[int] | None]) -> tuple[np.ndarray | None, float, Detections, Any]:
        """The picture of a frame if pictures are wanted; runs in threads."""
        (frame, seconds), detections, ids = job
        picture = None
        if self.pictures:
            picture = draw_detections(frame, detections, self.predictor.class_names, self.score, ids)
        return picture, seconds, detections, ids

    def _write_line(self, lines: IO[str], seconds: float, detections: Detections, ids: list[int] | None) -> None:
        objects = to_record(detections)["objects"]
        for i, item in enumerate(objects):
            item["class"] = self.predictor.class_names[item["label"]]
            if ids is not None:
                item["id"] = ids[i]
        line = {
            "frame": self.done,
            "seconds": round(seconds, 4),
            "size": list(detections.image_size),
            "objects": objects,
        }
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.objects += len(objects)


def _destinations(source: str | Path, out: Path, camera: int | None) -> tuple[Path, Path]:
    """The files for the video and for the lines; a `DataError` if either exists and `detect_video` did not write it."""
    film = film_of(source, out, None if camera is None else f"camera{camera}")
    lines_file = film.with_suffix(".jsonl")
    check_ours(film, lines_file)
    if lines_file.is_file():
        with lines_file.open("rb") as stream:
            if not stream.readline().startswith(b'{"frame": 0, '):
                raise would_be_lost(lines_file)
    return film, lines_file


def _camera(source: str | Path) -> int | None:
    """The number of the camera that `source` names; None if it names something else."""
    kind, _, number = str(source).partition(":")
    if kind != CAMERA or not (number.isdecimal() or not number):
        return None
    if Path(source).exists():  # a folder of photos with that name
        return None
    return int(number or 0)


def _open(source: str | Path) -> cv2.VideoCapture:
    camera = _camera(source)
    if camera is None:
        return open_film(source)
    capture = cv2.VideoCapture(camera)
    if not capture.isOpened():
        raise DataError(f"{source}: no such camera, or it is in use")
    return capture


def _frames(capture: cv2.VideoCapture, clock: Callable[[], float], rate: float, limit: int | None) -> Iterator[Frame]:
    """At most `limit` frames, turned upright if the file says how, with their seconds by the clock since the first."""
    number, start, before = 0, None, -math.inf
    while limit is None or number < limit:
        ok, frame = capture.read()
        if not ok:
            return
        now = clock()
        if now <= before:  # the file does not say
            now = before + 1 / rate
        before = now
        if start is None:
            start = now
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), now - start
        number += 1

"""A detector over a video file or a camera: the video with what was found drawn in, and a line of JSON a frame."""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visionkit.files import whole_text
from visionkit.predict.draw import draw_detections
from visionkit.predict.folders import Report
from visionkit.predict.formats import to_record
from visionkit.predict.predictor import Failure, Predictor, ahead
from visionkit.types import DataError, would_be_lost
from visionkit.videos import (
    SUFFIXES,
    check_ours,
    cut_short,
    film_of,
    frame_rate,
    promised_frames,
    whole_film,
)

CAMERA = "camera"  # or camera:1, the number that OpenCV counts


def is_video(source: str | Path) -> bool:
    """Whether `source` is a camera or a file with the suffix of a video."""
    return _camera(source) is not None or Path(source).suffix.lower() in SUFFIXES


def detect_video(
    predictor: Predictor,
    source: Path | str,
    out: Path | str,
    score: float = 0.3,
    frames: int | None = None,
    progress: bool = True,
    pictures: bool = True,
) -> Report:
    """Detects objects in each frame and writes NAME.mp4, drawn on, and NAME.jsonl into `out`.

    A line of the .jsonl is {"frame": its number from 0, "seconds": since the first, "size": [height, width], "objects":
    [{"label", "class", "score", "box"}]}. The video has an even rate, also where its source has none. Both files
    appear, whole, at the end: of the source, of `frames`, or by Ctrl-C, which keeps what is done. Frames under way are
    held in memory: some five batches of the predictor.

    Args:
        predictor: of a detector; a `Tiled` one too.
        source: a video file, "camera", or "camera:N".
        out: a folder, made when missing.
        score: detections below are neither written nor drawn.
        frames: stop after so many; by default at the end of the file, or by Ctrl-C.
        progress: show a bar on stderr.
        pictures: write the video.

    Returns:
        The report, in frames; a file that ends before the frames it promises is in `failed`.

    Raises:
        DataError: no such video or camera, nothing in it that can be decoded, a file there is not of an earlier call,
            or the model is no detector.
    """
    if predictor.task not in ("detect", "instance"):
        raise DataError(f"a video is for detectors; this model is for the task {predictor.task}")
    capture, names, out = _open(source), predictor.class_names, Path(out)
    film = film_of(source, out, None if _camera(source) is None else f"camera{_camera(source)}")
    check_ours(film, film.with_suffix(".jsonl"))
    _check_lines(film.with_suffix(".jsonl"))
    rate, promised = frame_rate(capture), promised_frames(capture) if _camera(source) is None else 0

    def clock():  # a film's own: phones write frames when they have them, not at a rate
        return capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if _camera(source) is None else time.monotonic()

    out.mkdir(parents=True, exist_ok=True)
    under_way, done, found, stopped = deque(), 0, 0, False

    def held():
        for frame, seconds in _frames(capture, clock, rate, frames):
            under_way.append((frame, seconds))
            yield frame

    def draw(result):  # in threads; a frame belongs to the result that comes in its turn
        (frame, seconds), result = result
        return (draw_detections(frame, result, names, min_score=score) if pictures else None), seconds, result

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), disable=not progress)
    try:
        with bar, whole_film(film, rate) as append, whole_text(film.with_suffix(".jsonl")) as lines:
            task = bar.add_task("detect", total=min(promised or math.inf, frames or math.inf) if promised else frames)
            results = ((under_way.popleft(), result) for result in predictor(held(), score=score))
            try:
                for picture, seconds, result in ahead(results, draw, depth=4):
                    objects = to_record(result)["objects"]
                    for item in objects:
                        item["class"] = names[item["label"]]
                    line = {"frame": done, "seconds": round(seconds, 4), "size": list(result.image_size)}
                    lines.write(json.dumps(line | {"objects": objects}, ensure_ascii=False) + "\n")
                    if pictures:
                        append(picture)
                    done, found = done + 1, found + len(objects)
                    bar.advance(task)
            except KeyboardInterrupt:  # how a camera is stopped
                stopped = True
            if not done:
                raise DataError(f"{source}: holds no frame that can be decoded")
    finally:
        capture.release()
    error = cut_short(source, done, promised) if frames is None and not stopped else None
    failed = [Failure(id=str(source), file=Path(source), error=error)] if error else []
    return Report(done=done, found=found, failed=failed)


def _check_lines(lines: Path) -> None:
    if lines.is_file():
        with lines.open("rb") as stream:
            if not stream.readline().startswith(b'{"frame": 0, '):
                raise would_be_lost(lines)


def _camera(source: str | Path) -> int | None:
    kind, _, number = str(source).partition(":")
    named = kind == CAMERA and (number.isdecimal() or not number) and not Path(source).exists()  # a folder of photos
    return int(number or 0) if named else None


def _open(source):
    camera = _camera(source)
    if camera is None and not Path(source).is_file():
        raise DataError(f"{source}: no such file")
    capture = cv2.VideoCapture(str(source) if camera is None else camera)
    if not capture.isOpened():
        what = "not a video that can be read" if camera is None else "no such camera, or it is in use"
        raise DataError(f"{source}: {what}")
    return capture


def _frames(capture, clock: Callable[[], float], rate: float, limit: int | None) -> Iterator[tuple[np.ndarray, float]]:
    """(uint8 `[H, W, 3]` RGB, turned upright where the file says how; seconds since the first)."""
    number, start, before = 0, None, -math.inf
    while limit is None or number < limit:
        ok, frame = capture.read()
        if not ok:
            return
        now = clock()
        if now <= before:  # the file does not say
            now = before + 1 / rate
        before, start = now, now if start is None else start
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), now - start
        number += 1

"""Videos, painted frame by frame, each close to the previous one where the scene has only moved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from visionkit.files import write_json
from visionkit.images import read_image, write_image
from visionkit.types import DataError
from visionkit.videos import check_ours, cut_short, film_of, frame_rate, promised_frames, whole_film

SMOOTHING = 0.7  # the default share of the previous frame
FAITHFUL = 12.0  # grey levels; where a frame differs more from the moved previous frame, that one hardly counts


def stylize_video(
    paint: Callable[[np.ndarray], np.ndarray],
    video: Path,
    out: Path,
    smoothing: float = SMOOTHING,
    settings: dict | None = None,
    progress: Callable[[int, int], None] = lambda done, frames: None,
) -> tuple[int, str | None]:
    """Paints a video. If it is interrupted and started again, it continues after the last frame that it wrote.

    Args:
        paint: RGB uint8 `[H, W, 3]` -> the same size, painted.
        video: the file, in a format that OpenCV reads. Its sound is left out.
        out: folder for `frames/000000.png`, ..., and the finished NAME.webm.
        smoothing: 0..1, the share of the previous frame, moved along with the scene, where nothing new comes into view.
        settings: anything else that decides how a frame looks; a folder that was begun with other ones is refused.
        progress: called with the number of frames done, and of all frames as far as the file tells, else 0.

    Returns:
        (frames painted, what is wrong with the file if it ended too early, else None).

    Raises:
        DataError: the video cannot be read or would be overwritten, or `out` was begun with other settings.
    """
    if not 0 <= smoothing <= 1:
        raise DataError(f"smoothing: expected 0 to 1, found {smoothing}")
    reader = cv2.VideoCapture(str(video))
    first, frame = reader.read()
    if not first:
        raise DataError(f"{video}: not a video that OpenCV can read")
    film, rate, total = film_of(video, out), frame_rate(reader), promised_frames(reader)
    settings = (settings or {}) | {"video": video.name, "bytes": video.stat().st_size, "smoothing": smoothing}
    frames = out / "frames"
    check_ours(film, frames / "settings.json")
    frames.mkdir(parents=True, exist_ok=True)
    _same_settings(frames / "settings.json", settings)
    number, before, painted = 0, None, None  # `painted` is `before`, painted; None if it is only on the disk
    while first:
        now, file = np.ascontiguousarray(frame[..., ::-1]), frames / f"{number:06}.png"
        if file.exists():
            painted = None
        else:
            fresh = paint(now)
            if before is not None:
                if painted is None:
                    painted = read_image(frames / f"{number - 1:06}.png")
                fresh = smooth(fresh, painted, now, before, smoothing)
            painted = fresh
            write_image(file, painted)
        before = now
        number += 1
        progress(number, total)
        first, frame = reader.read()
    reader.release()
    _join(frames, number, rate, film)
    return number, cut_short(video, number, total)


def smooth(fresh: np.ndarray, painted: np.ndarray, now: np.ndarray, before: np.ndarray, share: float) -> np.ndarray:
    """The painting of a frame, blended with that of the previous frame; all uint8 `[H, W, 3]`.

    Ruder et al. 2016 (arXiv 1604.08610) keep every frame close to the previous one along the optical flow, except where
    the flow does not explain the frame. Here that is done after the network, so it works with any network.

    Args:
        fresh: `now`, painted by itself.
        painted: the result for `before`.
        now, before: this frame and the previous one.
        share: of `painted`, where the previous frame explains this one completely.
    """
    grey, old = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (now, before))
    no_flow: Any = None  # to start from; OpenCV's types do not allow it
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey, old, no_flow)  # [H, W, 2]
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]  # where each pixel was in the previous frame
    moved = cv2.remap(painted, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    explained = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    error = cv2.GaussianBlur(np.abs(explained - now).mean(axis=-1), (0, 0), 2)  # [H, W]
    inside = (x >= 0) & (x <= grey.shape[1] - 1) & (y >= 0) & (y <= grey.shape[0] - 1)
    weight = (share * inside * np.exp(-((error / FAITHFUL) ** 2)))[..., None]
    return np.round(weight * moved + (1 - weight) * fresh).clip(0, 255).astype(np.uint8)


def _same_settings(file: Path, settings: dict[str, Any]) -> None:
    """Writes the settings, or raises a `DataError` if the folder was begun with other ones."""
    if not file.exists():
        write_json(file, settings)
        return
    try:
        begun = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise DataError(f"{file}: broken; name another --out, or remove {file.parent}") from None
    for name, value in settings.items():
        if begun.get(name) != value:
            raise DataError(
                f"{file.parent.parent}: was begun with {name} {begun.get(name)}, not {value}; "
                "name another --out, or remove this one"
            )


def _join(frames: Path, count: int, rate: float, file: Path) -> None:
    """Writes the video from its painted frames."""
    with whole_film(file, rate) as append:
        for number in range(count):
            append(read_image(frames / f"{number:06}.png"))

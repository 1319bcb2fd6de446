"""Videos, frame by frame, each held to the one before where the scene only moved."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from visionkit.files import write_json
from visionkit.images import read_image, write_image
from visionkit.types import DataError
from visionkit.videos import check_ours, cut_short, film_of, frame_rate, promised_frames, whole_film

FAITHFUL = 12.0  # grey levels: where a frame differs more from the moved one before, that one hardly counts


def stylize_video(
    paint: Callable[[np.ndarray], np.ndarray],
    video: Path,
    out: Path,
    smoothing: float = 0.7,
    settings: dict | None = None,
    progress: Callable[[int, int], None] = lambda done, frames: None,
) -> tuple[int, str | None]:
    """Paints a video. Stopped and started again, it goes on behind the last frame that it wrote.

    Args:
        paint: RGB uint8 `[H, W, 3]` -> the same size, painted.
        video: the file, in a format that OpenCV reads. Its sound is left out.
        out: folder for `frames/000000.png`, ..., and the finished NAME.mp4.
        smoothing: 0..1, the share of the frame before, moved along with the scene, where nothing new comes into view.
        settings: whatever else decides how a frame looks; a folder that was begun with others is refused.
        progress: called with the frames done and, as far as the file says, all frames.

    Returns:
        (frames painted, what is wrong with the file where it ended too early or None).

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
    number, before, painted = 0, None, None
    while first:
        now, file = np.ascontiguousarray(frame[..., ::-1]), frames / f"{number:06}.png"
        if not file.exists():
            if before is not None and painted is None:
                painted = read_image(frames / f"{number - 1:06}.png")
            fresh = paint(now)
            painted = fresh if before is None else smooth(fresh, painted, now, before, smoothing)
            write_image(file, painted)
        else:
            painted = None  # read when it is needed
        before, number = now, number + 1
        progress(number, total)
        first, frame = reader.read()
    reader.release()
    _join(frames, number, rate, film)
    return number, cut_short(video, number, total)


def smooth(fresh: np.ndarray, painted: np.ndarray, now: np.ndarray, before: np.ndarray, share: float) -> np.ndarray:
    """The painting of a frame, drawn towards that of the frame before; all uint8 `[H, W, 3]`.

    Ruder et al. 2016 (arXiv 1604.08610) hold every frame to the one before along the optical flow, but for what the
    flow does not explain; here that is done behind the network, so any network gains.

    Args:
        fresh: `now`, painted by itself.
        painted: the result for `before`.
        now, before: the frames.
        share: of `painted`, where the frame before explains this one fully.
    """
    grey, old = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (now, before))
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(
        grey, old, None
    )  # [H, W, 2]: now -> before
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    at = x + flow[..., 0], y + flow[..., 1]
    moved = cv2.remap(painted, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    explained = cv2.remap(before, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    error = cv2.GaussianBlur(np.abs(explained - now).mean(axis=-1), (0, 0), 2)  # [H, W]
    inside = (at[0] >= 0) & (at[0] <= grey.shape[1] - 1) & (at[1] >= 0) & (at[1] <= grey.shape[0] - 1)
    weight = (share * inside * np.exp(-((error / FAITHFUL) ** 2)))[..., None]
    return np.round(weight * moved + (1 - weight) * fresh).clip(0, 255).astype(np.uint8)


def _same_settings(file, settings):
    if file.exists():
        try:
            begun = dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise DataError(f"{file}: broken; name another --out, or remove {file.parent}") from None
        if other := [name for name in settings if begun.get(name) != settings[name]]:
            name = other[0]
            raise DataError(
                f"{file.parent.parent}: was begun with {name} {begun.get(name)}, not {settings[name]}; "
                "name another --out, or remove this one"
            )
    else:
        write_json(file, settings)


def _join(frames, count, rate, file):
    with whole_film(file, rate) as append:
        for number in range(count):
            append(read_image(frames / f"{number:06}.png"))

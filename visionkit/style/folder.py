"""Painting photos and videos from files with a StyleNetwork."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.image_files import WRITABLE_SUFFIXES, absolute, find_images, relative_names
from visionkit.images import read_image, write_image
from visionkit.style.colours import recolour
from visionkit.style.network import StyleNetwork
from visionkit.style.optimise import scaled
from visionkit.style.stylizer import Stylizer
from visionkit.style.video import SMOOTHING, stylize_video
from visionkit.types import DataError
from visionkit.videos import SUFFIXES


def choose(names: Sequence[str], style: str | None, shares: Sequence[float] | None) -> np.ndarray:
    """The shares that the user asks for.

    Args:
        names: of the K styles.
        style: the name of one style; may be None if there is only one.
        shares: K numbers instead of `style`.

    Returns:
        float32 `[K]`, summing to 1.

    Raises:
        DataError: there is no such style, there are not K shares, or there are several styles and none is chosen.
    """
    known = ", ".join(names)
    if shares is not None:
        parts = np.asarray(shares, np.float32)
        if style is not None or len(parts) != len(names) or parts.min() < 0 or not 0 < parts.sum() < np.inf:
            raise DataError(f"expected --style, or {len(names)} --shares >= 0, not all 0, one each for {known}")
        return parts / parts.sum()
    if style is None and len(names) > 1:
        raise DataError(f"the model has several styles: choose with --style {' or '.join(names)}")
    if style is not None and style not in names:
        raise DataError(f"the model has no style {style!r}; it has {known}")
    chosen = names.index(style) if style else 0
    return np.eye(len(names), dtype=np.float32)[chosen]


class Painter:
    """Paints photos in one way.

    Args:
        model: the network.
        shares: `[K]`, how much of each of its styles.
        size: long side in pixels to which a photo is resized before it is painted; None keeps its size.
        keep_colours: paint only the brightness.
    """

    task, runtime, batch_size = "stylize", "keras", 1

    def __init__(self, model: StyleNetwork, shares: np.ndarray, size: int | None = None, keep_colours: bool = False):
        self.class_names = list(model.class_names)
        self._stylizer, self._shares, self._size, self._keep_colours = Stylizer(model), shares, size, keep_colours

    def paint(self, image: np.ndarray) -> np.ndarray:
        """RGB uint8 `[H, W, 3]` -> RGB uint8 `[H, W, 3]`, or as large as `size` says.

        Raises:
            DataError: the photo is too small.
        """
        if self._size:
            image = scaled(image, self._size)
        painted = self._stylizer(image, self._shares)
        return np.round(recolour(painted, image)).astype(np.uint8) if self._keep_colours else painted


def stylize_path(
    model: StyleNetwork,
    source: Path,
    out: Path,
    shares: np.ndarray,
    *,
    size: int | None = None,
    keep_colours: bool = False,
    smoothing: float | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[int, list[str]]:
    """Paints a photo, every photo of a folder or glob, or a video.

    Args:
        model: the network.
        source: an image file, a folder or a glob, or a video file.
        out: the folder to write to; photos keep the names they have in `source`, for a video see `stylize_video`.
        shares: `[K]`, how much of each style.
        size: long side in pixels to which photos are resized before they are painted; None keeps their size.
        keep_colours: paint only the brightness.
        smoothing, settings: for a video, see `stylize_video`.

    Returns:
        (pictures written, what was wrong with each that could not be read or painted).

    Raises:
        DataError: `size` is given with a video or `smoothing` with photos, or a photo would be overwritten.
    """
    paint = Painter(model, shares, size, keep_colours).paint
    if source.suffix.lower() in SUFFIXES and source.is_file():
        if size:
            raise DataError("--size is not for videos, which keep theirs; leave it out")
        chosen = {"shares": [float(share) for share in shares], "keep_colours": keep_colours}
        done, error = stylize_video(
            paint,
            source,
            out,
            smoothing=SMOOTHING if smoothing is None else smoothing,
            settings=(settings or {}) | chosen,
        )
        return done, [error] if error else []
    if smoothing is not None:
        raise DataError("--smoothing is for videos; leave it out")
    return _stylize_photos(paint, source, out)


def _stylize_photos(paint: Callable[[np.ndarray], np.ndarray], source: Path, out: Path) -> tuple[int, list[str]]:
    """Paints the photos of `source` except those in `out`, unless all of them are there; returns as `stylize_path`."""
    files = find_images(source)
    files = [file for file in files if not absolute(file).is_relative_to(absolute(out))] or files
    names = relative_names(files, source if source.is_dir() else None)
    done, failed = 0, []
    for file, name in zip(files, names, strict=True):
        try:
            image = read_image(file)
        except (DataError, OSError) as error:
            failed.append(str(error))
            continue
        target = out / (name if file.suffix.lower() in WRITABLE_SUFFIXES else f"{name}.png")
        if target.resolve() == file.resolve():
            raise DataError(f"{out}: is where the photos are, which would be overwritten; name another --out")
        try:
            painted = paint(image)
        except DataError as error:
            failed.append(f"{file}: {error}")
            continue
        write_image(target, painted)
        done += 1
    return done, failed

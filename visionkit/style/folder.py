"""A StyleNetwork over photos and videos as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visionkit.image_files import absolute, find_images, relative_names
from visionkit.images import read_image, write_image
from visionkit.style.colours import recolour
from visionkit.style.optimise import scaled
from visionkit.style.stylizer import Stylizer
from visionkit.style.video import stylize_video
from visionkit.types import DataError
from visionkit.videos import SUFFIXES

WRITABLE = (".jpg", ".jpeg", ".png")  # pictures of other kinds get .png behind their name


def choose(names: Sequence[str], style: str | None, shares: Sequence[float] | None) -> np.ndarray:
    """The shares `[K]`, summing to 1, that the user asks for: one style by name, or numbers for all.

    Raises:
        DataError: no such style, not K shares, or nothing asked where there are several styles.
    """
    known = ", ".join(names)
    if shares is not None:
        found = np.asarray(shares, np.float32)
        if style is not None or len(found) != len(names) or found.min() < 0 or not 0 < found.sum() < np.inf:
            raise DataError(f"expected --style, or {len(names)} --shares >= 0, not all 0, one each for {known}")
        return found / found.sum()
    if style is None and len(names) > 1:
        raise DataError(f"the model has several styles: choose with --style {known.replace(', ', ' or ')}")
    if style is not None and style not in names:
        raise DataError(f"the model has no style {style!r}; it has {known}")
    return np.eye(len(names), dtype=np.float32)[names.index(style) if style else 0]


def stylize_path(
    model,
    source: Path,
    out: Path,
    shares: np.ndarray,
    *,
    size: int | None = None,
    keep_colours: bool = False,
    smoothing: float | None = None,
    settings: dict | None = None,
) -> tuple[int, list[str]]:
    """Paints a photo, every photo of a folder or glob, or a video.

    Args:
        model: a StyleNetwork.
        out: the folder to write, photos under the names they have in `source`; for a video see `stylize_video`.
        shares: of the styles `[K]`.
        size: long side in pixels of what is painted; None takes the photos as they are.
        keep_colours: paint the brightness only.
        smoothing, settings: of `stylize_video`; the first is not for photos.

    Returns:
        (pictures written, what was wrong with those that could not be read).
    """
    stylizer = Stylizer(model)

    def paint(image):
        image = scaled(image, size) if size else image
        painted = stylizer(image, shares)
        return np.round(recolour(painted, image)).astype(np.uint8) if keep_colours else painted

    if source.suffix.lower() in SUFFIXES and source.is_file():
        if size:
            raise DataError("--size is not for videos, which keep theirs; leave it out")
        chosen = {"shares": [float(share) for share in shares], "keep_colours": keep_colours}
        moving = {} if smoothing is None else {"smoothing": smoothing}
        done, error = stylize_video(paint, source, out, settings=(settings or {}) | chosen, **moving)
        return done, [error] if error else []
    if smoothing is not None:
        raise DataError("--smoothing is for videos; leave it out")
    done, failed, files = 0, [], find_images(source)
    files = [file for file in files if not absolute(file).is_relative_to(absolute(out))] or files
    names = map(Path, relative_names(files, source if source.is_dir() else None))
    for file, name in zip(files, names, strict=True):
        try:
            image = read_image(file)
        except (DataError, OSError) as error:
            failed.append(str(error))
            continue
        target = out / (name if file.suffix.lower() in WRITABLE else name.with_name(f"{name.name}.png"))
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

"""What a Predictor takes: image files, encoded bytes, arrays, Pillow images and Samples, one or many, or a video."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from PIL import Image as pillow
from PIL import ImageOps

from visionkit import images
from visionkit.types import DataError, Result, Sample
from visionkit.videos import SUFFIXES, open_film

Image: TypeAlias = Path | str | bytes | np.ndarray | pillow.Image | Sample
OneImage: TypeAlias = Path | str | bytes | np.ndarray | pillow.Image | Sample  # also a batch or the path of a video
Failures = Literal["raise", "yield"]
_KEPT_BY_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # modes of Pillow


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be read.

    Args:
        id: the sample's id or the file's path.
        file: the image file, or None.
        error: one line that says what is wrong with it.
    """

    id: str
    file: Path | None
    error: str


def is_one(items: Any) -> bool:
    """Whether `items` is one image, rather than a batch, a video or another collection of images."""
    if isinstance(items, str | Path):
        return not _is_film(items)
    return isinstance(items, bytes | pillow.Image | Sample) or (_is_array(items) and items.ndim < 4)


def answer(items: Any, failures: Failures, run: Callable[[Iterator[Callable[[], Image]]], Iterator[Any]]) -> Any:
    """What a predictor returns: the only result for one image, else an iterator over those of all.

    Args:
        items: what the predictor was given.
        failures: "raise" raises a `DataError` in place of a `Failure`, in its turn; "yield" hands it out.
        run: functions that fetch one item each -> its result, or a `Failure` if the item could not be read.

    Raises:
        ValueError: `failures` is neither.
    """
    if failures not in ("raise", "yield"):
        raise ValueError(f"failures: expected 'raise' or 'yield', found {failures!r}")
    if not is_one(items):
        results = run(getters(items))
        return _raising(results) if failures == "raise" else results
    item = read_item(0, lambda: items)
    if isinstance(item, Failure):
        if failures == "raise":
            raise DataError(item.error)
        return item
    (result,) = run(iter([lambda: item]))
    if isinstance(result, Result) and result.file is None:  # then a notebook could not show it otherwise
        return replace(result, image=item.image)
    return result


def _raising(results: Iterator[Any]) -> Iterator[Any]:
    for result in results:
        if isinstance(result, Failure):
            raise DataError(result.error)
        yield result


def getters(items: Any) -> Iterator[Callable[[], Image]]:
    """Functions that fetch one item each: the items of a sequence when they are called, those of an iterator here.

    Args:
        items: what a Predictor is called with, other than one image.

    Raises:
        DataError: `items` is a video that cannot be opened.
        TypeError: `items` is not a collection of images.
    """
    if isinstance(items, str | Path):
        items = frames_of(items)
    elif isinstance(items, Mapping) or not isinstance(items, Iterable):
        raise TypeError(f"expected an image, a batch, a video, or several images, found {type(items).__name__}")
    if isinstance(items, Sequence):
        sequence: Sequence[Image] = items
        return ((lambda i=i: sequence[i]) for i in range(len(sequence)))
    return ((lambda item=item: item) for item in items)


def read_item(number: int, get: Callable[[], Image]) -> Sample | Failure:
    """The item with its pixels, or the reason why it has none.

    Args:
        number: becomes the id of an item without a name; the id of a file is its path.
        get: fetches the item.

    Raises:
        ValueError: an array that is no image (see `_of_array`), or a Sample with neither an image nor a file.
        TypeError: the item is nothing that can hold an image.
    """
    name, file = str(number), None
    try:
        item = get()
        if isinstance(item, Sample):
            name, file, image = item.id, item.file, item.image
            if image is None and file is None:
                raise ValueError(f"sample {name!r}: expected an image or a file, found neither")
        elif isinstance(item, str | Path):
            name, file, image = str(item), Path(item), None
        elif isinstance(item, bytes):
            image = images.read_image(item)
        elif isinstance(item, pillow.Image):
            image = _of_pillow(item)
        elif _is_array(item):
            image = np.asarray(item)
        else:
            raise TypeError(f"image {name}: expected a file, bytes, an array or an image, found {type(item).__name__}")
        if image is None:
            assert file is not None
            if _is_film(file):
                raise DataError(f"{file}: a video among images; give it to the predictor alone")
            image = images.read_image(file)
    except FileNotFoundError:
        return Failure(id=name, file=file, error=f"{name}: no such file")
    except IsADirectoryError:
        error = f"{name}: is a folder; give its files, such as sorted(Path({name!r}).glob('*.jpg'))"
        return Failure(id=name, file=file, error=error)
    except (DataError, OSError) as error:
        return Failure(id=name, file=file, error=str(error))
    image = _of_array(name, image)
    return Sample(id=name, file=file, image_size=image.shape[:2], image=image)


def frames_of(file: Path | str) -> Iterator[np.ndarray]:
    """The frames of a video file, RGB uint8 `[H, W, 3]`, turned upright if the file says how.

    Raises:
        DataError: there is no such file, or it cannot be read as a video.
    """
    return _frames(open_film(file))


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _is_film(file: str | Path) -> bool:
    return Path(file).suffix.lower() in SUFFIXES


def _is_array(item: Any) -> bool:
    """Whether an item is an array of NumPy or, like a tensor, can become one."""
    return hasattr(item, "__array__") and hasattr(item, "ndim")


def _of_array(name: str, image: np.ndarray) -> np.ndarray:
    """RGB uint8 `[H, W, 3]` of uint8 `[H, W]` or `[H, W, 1]` grey, `[H, W, 3]` RGB or `[H, W, 4]` RGBA.

    Raises:
        ValueError: the array is none of these.
    """
    found = f"{image.dtype} {list(image.shape)}"
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise ValueError(f"image {name}: expected uint8 [H, W] or [H, W, 1, 3 or 4] of 0..255, found {found}")
    if image.shape[2] == 4:
        return np.asarray(images.rgb(pillow.fromarray(image)))
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _of_pillow(image: pillow.Image) -> np.ndarray:
    """The pixels of a Pillow image by the rules for files: upright, without alpha, in 8 bits."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "RGB" and not upright.has_transparency_data:
        return np.asarray(upright)
    stream, kind = io.BytesIO(), "PNG" if upright.mode in _KEPT_BY_PNG else "TIFF"
    upright.save(stream, kind)  # neither changes a pixel, so there is one set of rules
    return images.read_image(stream.getvalue())

"""A style network in the place of a Predictor: what an export of it is compared with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from visionkit.export.answers import Painting
from visionkit.predict.inputs import Failure, Failures, read_item
from visionkit.predict.predictor import Predictor
from visionkit.types import DataError

MAX_PIXELS = 4_000_000  # an export paints a picture in one pass, which takes some 800 bytes a pixel


class Painter:
    """Paints image files, each in the next style: the I-th that can be painted in style I modulo K.

    Args:
        model: a StyleNetwork.
    """

    def __init__(self, model):
        from visionkit.style.stylizer import Stylizer

        self._styles = np.eye(model.num_classes, dtype=np.float32)
        self._stylizer = Stylizer(model, whole=MAX_PIXELS)

    def __call__(
        self, files: Sequence[Path], score: float | None = None, failures: Failures = "yield"
    ) -> Iterator[Painting | Failure]:
        """Yields a painting for each file, or a Failure; the other arguments are a Predictor's and change nothing."""
        painted = 0
        for file in files:
            answer = self._paint(file, self._styles[painted % len(self._styles)])
            painted += isinstance(answer, Painting)
            yield answer

    def _paint(self, file: Path, shares: np.ndarray) -> Painting | Failure:
        item = read_item(0, lambda: file)
        if isinstance(item, Failure):
            return item
        assert item.image is not None
        h, w = item.image_size
        if h * w > MAX_PIXELS:
            return Failure(id=item.id, file=file, error=f"{file}: {w}x{h} is above the limit of {MAX_PIXELS} pixels")
        try:
            painting = self._stylizer(item.image, shares)
        except DataError as error:  # it is too small
            return Failure(id=item.id, file=file, error=f"{file}: {error}")
        return Painting(id=item.id, file=file, image_size=(h, w), painting=painting)


def predictor_of(model) -> Predictor | Painter:
    """What answers as a Task's export does: a Predictor of one size, or for a style network a Painter."""
    return Painter(model) if model.task == "style" else Predictor(model, one_size=True)

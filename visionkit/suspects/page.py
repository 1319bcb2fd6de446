"""The suspects as an HTML page with pictures."""

from collections.abc import Sequence

import cv2
import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.html.document import document, picture, text
from visionkit.npboxes import clip
from visionkit.resizing import resize
from visionkit.suspects.find import count_kinds
from visionkit.suspects.predictions import Predictions
from visionkit.suspects.suspect import KINDS, Suspect

SHOWN = 100  # pictures, the most suspicious first
SIDE = 300  # pixels of a picture
AROUND = 1.0  # of the object's size that is shown on each side of it
LEAST = 96  # pixels of the image that are shown at least
GIVEN, SAID, OTHER = (230, 30, 40), (20, 170, 70), (150, 150, 150)
STYLE = """
.pictures { --least: 17em } .key { display: inline-block; width: 1.2em; height: .8em; border: 3px solid }
.given { border-color: rgb(230, 30, 40) } .said { border-color: rgb(20, 170, 70) }
.other { border-color: rgb(150, 150, 150) }
"""


def page(predictions: Predictions, suspects: Sequence[Suspect], source: str) -> str:
    """Returns the whole page. Names of files and classes are untrusted text and are escaped.

    Args:
        predictions: from which the suspects were found.
        suspects: the most suspicious first.
        source: where the predictions come from.
    """
    dataset = predictions.dataset
    rows = "".join(
        f'<tr><td>{text(kind)}</td><td class="number">{count:,}</td><td class="soft">{text(KINDS[kind])}</td></tr>'
        for kind, count in count_kinds(suspects).items()
    )
    note = f"The first {SHOWN} of {len(suspects):,} are shown." if len(suspects) > SHOWN else ""
    key = (
        '<p class="soft"><span class="key given"></span> as annotated &nbsp; <span class="key said"></span> '
        'as the model sees it &nbsp; <span class="key other"></span> other objects</p>'
    )
    figures = "".join(_figure(number, suspect, dataset) for number, suspect in enumerate(suspects[:SHOWN], 1))
    parts = [
        f"<header><p class='soft'>visionkit suspects</p><h1>{len(suspects):,} labels to look at</h1>"
        f"<p class='soft'>{len(dataset):,} images: {text(dataset.source)}; predictions: {text(source)}</p></header>",
        f'<div class="card scroll"><table>{rows}</table></div>',
        f"<h2>The most suspicious first</h2><p>{note}</p>",
        "" if predictions.of_classes else key,
        f'<div class="pictures">{figures}</div>',
    ]
    return document("Suspicious labels", "\n".join(parts), STYLE)


def _figure(number: int, suspect: Suspect, dataset: Dataset) -> str:
    words = suspect.in_words(dataset.class_names)
    caption = f"<b>{number}.</b> {text(words)}<br><span class='soft'>{text(dataset.records[suspect.image].id)}</span>"
    shown = picture(draw(suspect, dataset), SIDE, words)
    return f'<figure class="card">{shown}<figcaption>{caption}</figcaption></figure>'


def draw(suspect: Suspect, dataset: Dataset) -> np.ndarray:
    """The part of the image around a suspicious object, with its boxes; all of an image whose class is suspicious.

    Returns:
        uint8 `[H, W, 3]` with a long side of SIDE pixels.
    """
    sample = dataset[suspect.image]
    image = sample.image
    assert image is not None
    drawn = [box for box in (suspect.box, suspect.proposed_box) if box is not None]
    x1, y1, x2, y2 = _window(np.array(drawn), sample.image_size) if drawn else (0, 0, *sample.image_size[::-1])
    scale = SIDE / max(x2 - x1, y2 - y1)
    size = max(1, round((y2 - y1) * scale)), max(1, round((x2 - x1) * scale))
    part = resize(image[y1:y2, x1:x2], size).copy()
    others = [] if sample.boxes is None else [box for row, box in enumerate(sample.boxes) if row != suspect.row]
    colours = [(box, OTHER, 1) for box in others] if drawn else []
    colours += [(suspect.box, GIVEN, 2), (suspect.proposed_box, SAID, 2)]
    for box, colour, width in colours:
        if box is not None:
            corners = ((np.asarray(box, float) - [x1, y1, x1, y1]) * scale).round().astype(int).tolist()
            cv2.rectangle(part, tuple(corners[:2]), tuple(corners[2:]), colour, width)
    return part


def _window(boxes: np.ndarray, image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels x1, y1, x2, y2 around boxes `[n, 4]` that are shown."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(LEAST, float((high - low).max()) * (1 + 2 * AROUND))
    middle = (low + high) / 2
    whole = np.concatenate([middle - side / 2, middle + side / 2])[None]
    x1, y1, x2, y2 = clip(whole, image_size)[0].round().astype(int).tolist()
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)

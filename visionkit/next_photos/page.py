"""The chosen photos as an HTML page: in their order, with what the model sees and why each was chosen."""

import numpy as np

from visionkit.html.document import document, picture, text
from visionkit.next_photos.find import SCORE, Choice, Selection
from visionkit.types import Detections

SHOWN = 200  # photos
SIDE = 360  # pixels of a photo
STYLE = ".pictures { --least: 20em }"


def page(selection: Selection, source: str, words: str, flat: bool, score: float = SCORE) -> str:
    """Returns the whole page. Names of files and classes are untrusted text and are escaped.

    Args:
        selection: what to show.
        source: the model.
        words, flat: of `curve.advice`.
        score: from which detections are drawn.
    """
    chosen = selection.chosen
    left = f", {selection.labelled:,} of them labelled already" if selection.labelled else ""
    heading = f"{len(chosen):,} photos, if you label more" if flat else f"Label these {len(chosen):,} photos next"
    note = f"The first {SHOWN} are shown." if len(chosen) > SHOWN else ""
    figures = "".join(_figure(number, choice, score) for number, choice in enumerate(chosen[:SHOWN], 1))
    parts = [
        f"<header><p class='soft'>visionkit next</p><h1>{heading}</h1>"
        f"<p class='soft'>of {selection.photos:,} photos{left}; model: {text(source)}</p></header>",
        f'<div class="card">{text(words[:1].upper() + words[1:])}.</div>' if words else "",
        f"<h2>In this order</h2><p>Each photo is one about which the model is unsure and which differs from those "
        f"before it. {note}</p>",
        f'<div class="pictures">{figures}</div>',
    ]
    return document("What to label next", "\n".join(parts), STYLE)


def _figure(number: int, choice: Choice, score: float) -> str:
    said = choice.prediction
    drawn = said.plot(score=score) if isinstance(said, Detections) else said.plot()
    shown = picture(np.asarray(drawn.convert("RGB")), SIDE, choice.file.name)
    caption = f"<b>{number}.</b> {text(choice.in_words())}<br><span class='soft'>{text(choice.file)}</span>"
    return f'<figure class="card">{shown}<figcaption>{caption}</figcaption></figure>'

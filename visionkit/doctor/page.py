"""The doctor's diagnosis as an HTML page."""

from pathlib import Path

import cv2
import numpy as np

from visionkit.data.repair import Finding
from visionkit.doctor.diagnosis import KINDS, Diagnosis
from visionkit.doctor.overview import overview
from visionkit.html import charts
from visionkit.html.document import document, picture, text
from visionkit.images import read_image
from visionkit.resizing import resize
from visionkit.types import DataError

SHOWN = 24  # findings of a kind that are shown, half of them with pictures
LONG_SIDE = 200  # pixels of a finding's picture
STYLE = """
.pictures { --least: 28em } .pictures.samples { --least: 15em }
.tables { display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-start; margin: 1em 0 }
"""


def page(diagnosis: Diagnosis) -> str:
    """Returns the whole page. Names of files and classes are untrusted text and are escaped."""
    images = ", ".join(f"{split} {count}" for split, count in diagnosis.images().items())
    parts = [
        f"<h1>{text(diagnosis.title)}</h1><p>{diagnosis.grades_text()}. {text(f'Images: {images}.')}</p>",
        overview(diagnosis),
        *(_section(kind, findings) for kind, findings in diagnosis.by_kind().items()),
    ]
    return document("Dataset doctor", "\n".join(parts), STYLE + charts.STYLE)


def _section(kind: str, findings: list[Finding]) -> str:
    grade, advice = KINDS[kind]
    title = f'<h2>{text(kind)} ({len(findings)}) <span class="grade {grade}">{grade}</span></h2><p>{text(advice)}</p>'
    figures = "".join(_figure(finding) for finding in findings[: SHOWN // 2])
    parts = [title, f'<div class="pictures">{figures}</div>']
    if others := findings[SHOWN // 2 : SHOWN]:
        items = "".join(f"<li>{text(finding.message)}</li>" for finding in others)
        parts.append(f"<ul>{items}</ul>")
    if len(findings) > SHOWN:
        parts.append(f"<p>and {len(findings) - SHOWN} more</p>")
    return "".join(parts)


def _figure(finding: Finding) -> str:
    pictures = "".join(_picture(file, None if i else finding.box) for i, file in enumerate(finding.files[:2]))
    return f"<figure>{pictures}<figcaption>{text(finding.message)}</figcaption></figure>"


def _picture(file: Path, box: tuple[float, ...] | None) -> str:
    """An <img> of the file with the box in red; empty if the file cannot be read, which is then the finding."""
    try:
        image = read_image(file)
    except (DataError, OSError):
        return ""
    h, w = image.shape[:2]
    scale = LONG_SIDE / max(h, w)
    small = resize(image, (max(1, round(h * scale)), max(1, round(w * scale)))).copy()
    if box is not None:
        limit = 10 * LONG_SIDE  # far beyond the picture; cv2 cannot take any number
        x1, y1, x2, y2 = np.clip(np.array(box) * scale, -limit, limit).round().astype(int).tolist()
        cv2.rectangle(small, (x1, y1), (x2, y2), (230, 30, 30), 2)
    return picture(small, LONG_SIDE)

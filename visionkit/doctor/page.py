"""The doctor's report as one HTML page."""

from pathlib import Path

import cv2
import numpy as np

from visionkit.data.repair import Finding
from visionkit.doctor.examine import KINDS, Report
from visionkit.html.document import document, picture, text
from visionkit.images import read_image
from visionkit.resizing import resize
from visionkit.types import DataError

SHOWN = 24  # findings of a kind that are written out, and half as many with pictures
SIDE = 200  # pixels of a picture's long side


def page(report: Report) -> str:
    """The whole page. Names of files and classes are a stranger's words, and are escaped."""
    grades = ", ".join(f"{count} {grade}{'s' * (count != 1)}" for grade, count in report.grades().items())
    parts = [f"<h1>{text(report.title)}</h1><p>{grades}. {text(_images(report))}</p>", _classes(report)]
    parts += [_section(kind, found) for kind, found in report.by_kind().items()]
    return document("Dataset doctor", "\n".join(parts), ".pictures { --least: 28em }")


def _images(report):
    return "Images: " + ", ".join(f"{split} {count}" for split, count in report.images().items()) + "."


def _classes(report):
    head = "".join(f'<th class="number">{text(split)}</th>' for split in report.counts)
    rows = (
        f"<tr><td>{text(name)}</td>"
        + "".join(f'<td class="number">{count[k]:,}</td>' for count in report.counts.values())
        + "</tr>"
        for k, name in enumerate(report.class_names)
    )
    return f'<div class="card scroll"><table><tr><th>{report.what}</th>{head}</tr>{"".join(rows)}</table></div>'


def _section(kind: str, found: list[Finding]) -> str:
    grade, advice = KINDS[kind]
    drawn = [_figure(finding) for finding in found[: SHOWN // 2]]
    left = [f"<li>{text(f.message)}</li>" for f in found[SHOWN // 2 : SHOWN]]
    more = f"<p>and {len(found) - SHOWN} more</p>" if len(found) > SHOWN else ""
    title = f'<h2>{text(kind)} ({len(found)}) <span class="grade {grade}">{grade}</span></h2><p>{text(advice)}</p>'
    return f'{title}<div class="pictures">{"".join(drawn)}</div>' + (f"<ul>{''.join(left)}</ul>" if left else "") + more


def _figure(finding: Finding) -> str:
    pictures = "".join(_drawn(file, None if i else finding.box) for i, file in enumerate(finding.files[:2]))
    return f"<figure>{pictures}<figcaption>{text(finding.message)}</figcaption></figure>"


def _drawn(file: Path, box) -> str:
    """An <img> of the file with the box in red, or nothing where it cannot be read: that is then the finding."""
    try:
        image = read_image(file)
    except (DataError, OSError):
        return ""
    h, w = image.shape[:2]
    scale = SIDE / max(h, w)
    small = resize(image, (max(1, round(h * scale)), max(1, round(w * scale)))).copy()
    if box is not None:
        corners = np.clip(np.array(box) * scale, -10 * SIDE, 10 * SIDE).round().astype(int).tolist()
        cv2.rectangle(small, tuple(corners[:2]), tuple(corners[2:]), (230, 30, 30), 2)
    return picture(small, SIDE)

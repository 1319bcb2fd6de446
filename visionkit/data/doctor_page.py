"""The doctor's report as one HTML page that needs nothing else: no script, no network, pictures inside."""

import base64
import html
from pathlib import Path

import cv2
import numpy as np

from visionkit.data.doctor import KINDS, Report
from visionkit.data.repair import Finding
from visionkit.images import read_image, resize
from visionkit.types import DataError

SHOWN = 24  # findings of a kind that are written out, and half as many with pictures
SIDE = 200  # pixels of a picture's long side

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .2em .8em .2em 0; text-align: left }
h2 { margin: 1.6em 0 .2em } h2 span { font-size: .75em; padding: .1em .5em; border-radius: .3em; color: #fff }
.error { background: #b3261e } .warning { background: #a15c00 } .note { background: #4a6572 }
figure { display: inline-block; margin: .4em .8em .4em 0; max-width: 30em; vertical-align: top }
figcaption, li { font-size: .85em; overflow-wrap: anywhere } img { margin-right: 3px }
"""


def page(report: Report) -> str:
    """The whole page. Names of files and classes are a stranger's words, and are escaped."""
    grades = ", ".join(f"{count} {grade}{'s' * (count != 1)}" for grade, count in report.grades().items())
    parts = [f"<h1>{_text(report.title)}</h1><p>{grades}. {_text(_images(report))}</p>", _classes(report)]
    parts += [_section(kind, found) for kind, found in report.by_kind().items()]
    head = f'<meta charset="utf-8"><title>Dataset doctor</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _images(report):
    return "Images: " + ", ".join(f"{split} {count}" for split, count in report.images().items()) + "."


def _classes(report):
    head = "".join(f"<th>{_text(split)}</th>" for split in report.counts)
    rows = (
        f"<tr><td>{_text(name)}</td>" + "".join(f"<td>{count[k]}</td>" for count in report.counts.values()) + "</tr>"
        for k, name in enumerate(report.class_names)
    )
    return f"<table><tr><th>{report.what}</th>{head}</tr>{''.join(rows)}</table>"


def _section(kind: str, found: list[Finding]) -> str:
    grade, advice = KINDS[kind]
    drawn = [_figure(finding) for finding in found[: SHOWN // 2]]
    left = [f"<li>{_text(f.message)}</li>" for f in found[SHOWN // 2 : SHOWN]]
    more = f"<p>and {len(found) - SHOWN} more</p>" if len(found) > SHOWN else ""
    title = f'<h2>{_text(kind)} ({len(found)}) <span class="{grade}">{grade}</span></h2><p>{_text(advice)}</p>'
    return title + "".join(drawn) + (f"<ul>{''.join(left)}</ul>" if left else "") + more


def _figure(finding: Finding) -> str:
    pictures = "".join(_picture(file, None if i else finding.box) for i, file in enumerate(finding.files[:2]))
    return f"<figure>{pictures}<figcaption>{_text(finding.message)}</figcaption></figure>"


def _picture(file: Path, box) -> str:
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
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def _text(words: str) -> str:
    return html.escape(str(words).encode(errors="replace").decode())

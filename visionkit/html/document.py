"""The shell of visionkit's HTML pages: single files that need nothing else, with their pictures inside."""

import base64
import html

import cv2
import numpy as np

from visionkit.resizing import resize

_ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # enforced by the browser
_STYLE = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1c2127; --soft: #5b6570; --line: #e2e6eb;
  --error: #b3261e; --warning: #9a5700; --note: #47616d; --good: #1b7a48; --blue: 37, 99, 235; --red: 214, 48, 49 }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --card: #1d2126; --ink: #e7eaee; --soft: #9aa5b1;
  --line: #323941; --error: #ff7b70; --warning: #f0a642; --note: #8fb1c1; --good: #55c98a; --blue: 88, 150, 255;
  --red: 255, 105, 97 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 74em; padding: 1.6em 1.2em 4em;
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere }
h1 { font-size: 1.8em; line-height: 1.2; margin: .2em 0 } h2 { font-size: 1.25em; margin: 2em 0 .5em }
h3 { font-size: 1em; margin: 1.2em 0 .4em } p { margin: .4em 0 } .soft { color: var(--soft) }
h2 .grade, td .grade { font-size: .8em; padding: .1em .6em; border-radius: 1em; color: var(--card); font-weight: 600 }
h2 .grade { font-size: .7em; vertical-align: .15em }
.grade.error { background: var(--error) } .grade.warning { background: var(--warning) }
.grade.note { background: var(--note) } .grade.good { background: var(--good) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6em; padding: .9em 1.1em }
.scroll { overflow-x: auto } table { border-collapse: collapse } img { max-width: 100%; height: auto }
td, th { padding: .25em .9em .25em 0; text-align: left; overflow-wrap: normal }
tr + tr td { border-top: 1px solid var(--line) } th { color: var(--soft); font-weight: 600; font-size: .85em }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
figure { margin: 0 } figcaption { font-size: .85em; color: var(--soft) } li { margin: .2em 0 }
.pictures { display: grid; gap: .9em; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr)) }
.pictures img { display: inline-block; border-radius: .35em; margin-right: 3px } .pictures { --least: 14em }
"""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page in the common style, light or dark like the reader's system, for desktops and phones.

    Args:
        title: for the browser's tab; escaped here.
        body: HTML.
        style: CSS in addition to the shell's.
    """
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{_ALLOWED}">'
    head += f"<title>{text(title)}</title><style>{_STYLE}{style}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def text(words: object) -> str:
    """Text escaped for HTML; names of files and classes may contain anything."""
    return html.escape(str(words).encode(errors="replace").decode())


def picture(image: np.ndarray, side: int, alt: str = "") -> str:
    """An <img> that contains its data as a JPEG.

    Args:
        image: uint8 `[H, W, 3]` RGB.
        side: pixels; an image with a longer side is scaled down to it.
        alt: what it shows, for readers who cannot see it; escaped here.
    """
    h, w = image.shape[:2]
    scale = min(1.0, side / max(h, w))
    small = resize(image, (max(1, round(h * scale)), max(1, round(w * scale))))
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    size = f'width="{small.shape[1]}" height="{small.shape[0]}"'
    return f'<img alt="{text(alt)}" {size} src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'

"""Keeps the picture and the table of the package in docs/design.md: a maintenance script, not a verb.

python tools/maintenance/floors.py     draws docs/floors.svg and writes the table of docs/design.md

Both follow from `ALLOWED` in tests/support/house.py and from the docstrings of the parts. tests/test_house.py fails
when they are out of date.
"""

import re
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.house import ALLOWED, PACKAGE, floors, purpose  # noqa: E402

PICTURE = ROOT / "docs" / "floors.svg"
PAGE = ROOT / "docs" / "design.md"
TOP = ["cli", "configs/", "tools/"]  # may import anything
FOLDER, FILE, OUTSIDE = "#cfe3f7", "#e9eef3", "#fbeccb"  # fill of a box
CHARACTER, HEIGHT, GAP, MARGIN, WIDTH = 8.5, 30, 12, 16, 680  # pixels; the width is the least


def picture() -> str:
    """The SVG: a row of boxes a floor, the highest on top."""
    rows = [TOP, *reversed(floors())]
    widths = [[round(CHARACTER * len(part)) + 20 for part in row] for row in rows]
    full = max(WIDTH, max(sum(row) + GAP * (len(row) - 1) for row in widths) + 2 * MARGIN)
    shapes = []
    for floor, (row, row_widths) in enumerate(zip(rows, widths, strict=True)):
        x = (full - sum(row_widths) - GAP * (len(row) - 1)) / 2  # centred
        for part, width in zip(row, row_widths, strict=True):
            shapes.append(_box(part, x, MARGIN + floor * (HEIGHT + GAP), width))
            x += width + GAP
    bottom = MARGIN + len(rows) * (HEIGHT + GAP)
    note = "A part imports only what stands on a floor below it. Blue: a folder; grey: a single file."
    shapes.append(f'<text x="{full / 2:g}" y="{bottom + 10}" font-size="12">{escape(note)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {bottom + MARGIN + 10}" width="{full}"'
    style = 'font-family="monospace" font-size="14" text-anchor="middle" fill="#1c2833"'
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([f"{head} {style}>", background, *shapes, "</svg>", ""])


def table() -> str:
    """A row for each part, the lowest floor first: what it is for, and what it imports besides `types`."""
    lines = ["| floor | part | what it is for | imports |", "|---|---|---|---|"]
    rows = [*enumerate(floors()), ("top", ["cli"])]
    for floor, row in rows:
        for part in row:
            name = f"{part}/" if (PACKAGE / part).is_dir() else f"{part}.py"
            imported = "anything" if part == "cli" else ", ".join(sorted(ALLOWED[part])) or "-"
            lines.append(f"| {floor} | `{name}` | {purpose(part)} | {imported} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The text of docs/design.md with the table in its place."""
    return re.sub(r"(<!-- map -->\n).*(<!-- /map -->)", lambda m: f"{m[1]}{table()}\n{m[2]}", text, flags=re.S)


def _box(part: str, x: float, y: int, width: int) -> str:
    fill = OUTSIDE if part in TOP else FOLDER if (PACKAGE / part).is_dir() else FILE
    return (
        f'<rect x="{x:g}" y="{y}" width="{width}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="#5d6d7e"/>'
        f'<text x="{x + width / 2:g}" y="{y + 20}">{escape(part)}</text>'
    )


if __name__ == "__main__":
    text, drawing = page(PAGE.read_text()), picture()  # both or neither: either may find a part without a docstring
    PAGE.write_text(text)
    PICTURE.write_text(drawing)

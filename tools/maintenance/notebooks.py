"""Maintenance: writes pages of docs/ as notebooks into notebooks/, which is not committed.

Run: make notebooks, or `python tools/maintenance/notebooks.py OUT docs/course/8-image-augmentation.md` for some pages.
The text of a page becomes text, its Python becomes cells, and its commands become cells with an exclamation mark; what
it shows as output becomes the output of the cell before. The first cell installs visionkit. A notebook is a JSON file
of a simple form (nbformat 4.5), so nothing needs to be installed to write one. Links lead to pages beside the
notebook's own, which are not there, so they are written as plain text.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from support.pages import BLOCK, COURSE  # noqa: E402 -- found only now

import visionkit  # noqa: E402

HOWTO = ("faster_rcnn_voc", "map_is_zero", "from_torchvision", "from_kerashub", "keras_applications")
WHEEL = f"keras_visionkit-{visionkit.__version__}-py3-none-any.whl"
INSTALL = f"""# keras-visionkit is not on PyPI yet, and `visionkit` there is another project. Build the wheel in a clone
# of the repository, `python -m build`, put dist/{WHEEL} beside this notebook (on Colab: upload it), and run this.
%pip install --quiet "{WHEEL}[demo]"
"""
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)")
FIGURE = re.compile(r"^!\[([^\]]*)\]\(figures/[^)]+\)$", re.M)
MARK = re.compile(r"<!-- .*? -->\n?", re.S)


def notebook(page: str) -> dict:
    """A page's Markdown as a notebook."""
    cells, end = [_code(INSTALL)], 0
    for block in BLOCK.finditer(page):
        cells += _text(page[end : block.start()])
        kind, content, shown = block.groups()
        cells.append(_code(content if kind == "python" else content.replace("$ ", "!"), shown))
        end = block.end()
    cells += _text(page[end:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _code(content: str, shown: str | None = None) -> dict:
    outputs = [{"output_type": "stream", "name": "stdout", "text": shown.splitlines(keepends=True)}] if shown else []
    lines = content.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "source": lines, "outputs": outputs}


def _text(markdown: str) -> list[dict]:
    """A cell with the text, or none. A figure is drawn by the code, so its description is all that is left of it."""
    text = LINK.sub(r"\1", FIGURE.sub(r"*\1*", MARK.sub("", markdown))).strip()
    return [{"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}] if text else []


def write(page: Path, out: Path) -> Path:
    """Writes the page's notebook into the folder and returns it."""
    file = out / f"{page.stem}.ipynb"
    file.write_text(json.dumps(notebook(page.read_text()), indent=1, ensure_ascii=False) + "\n")
    return file


def main() -> None:
    out = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "notebooks"
    pages = [Path(page) for page in sys.argv[2:]] or [
        *COURSE,
        *(ROOT / "docs" / "howto" / f"{name}.md" for name in HOWTO),
    ]
    out.mkdir(parents=True, exist_ok=True)
    for page in pages:
        print(write(page, out))


if __name__ == "__main__":
    main()

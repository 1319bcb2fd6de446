"""Runs the Python on the pages of docs/ and compares what it prints with what they show."""

import contextlib
import io
import re
import sys
from pathlib import Path

import keras
from support.paths import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
COURSE = sorted((ROOT / "docs" / "course").glob("*.md"), key=lambda page: int(page.name.partition("-")[0]))
SLOW = "<!-- slow: run by make book"  # the first line of pages that take more than about 20 seconds of CPU time
NEEDS = re.compile(r"needs ([\w-]+) -->")  # there too: a distribution that `make test` does not install
# A block of Python, and the output that is shown right below it, if any.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)


def is_slow(page: Path) -> bool:
    return page.read_text().startswith(SLOW)


def run(page: Path) -> None:
    """Runs the page's blocks in order, in the present folder, in which its figures end up.

    Raises:
        AssertionError: the page shows another output; or whatever its code raises. Tracebacks name its line.
    """
    text, names = page.read_text(), {"__name__": "page"}
    keras.utils.set_random_seed(0)
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(1))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * first + block[1], page, "exec"), names)
        if block[2] is not None and printed.getvalue() != block[2]:
            raise AssertionError(f"{page}:{first}: shows\n{block[2]}and prints\n{printed.getvalue()}")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

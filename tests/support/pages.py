"""Runs the Python and the commands on the pages of docs/ and compares what they print with what the pages show."""

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import keras
from support.paths import ROOT

from visionkit.cli import main

PAGES = sorted((ROOT / "docs").rglob("*.md"))
COURSE = sorted((ROOT / "docs" / "course").glob("*.md"), key=lambda page: int(page.name.partition("-")[0]))
SLOW = "<!-- slow: run by make book"  # the first line of pages that take more than about 20 seconds of CPU time
NEEDS = re.compile(r"needs ([\w-]+) -->")  # there too: a distribution that `make test` does not install
# A block of Python, or of commands behind a $, and the output that is shown right below it, if any.
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)


def is_slow(page: Path) -> bool:
    return page.read_text().startswith(SLOW)


def run(page: Path) -> dict[str, Any]:
    """Runs the page's blocks in order, in the present folder, in which its figures end up.

    Returns:
        The names that its code has defined.

    Raises:
        AssertionError: the page shows another output; or whatever its code raises. Tracebacks name its line.
    """
    text = page.read_text()
    names: dict[str, Any] = {"__name__": "page"}
    keras.utils.set_random_seed(0)
    for block in BLOCK.finditer(text):
        kind, content, shown = block.groups()
        first = text.count("\n", 0, block.start(2))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if kind == "python":
                exec(compile("\n" * first + content, page, "exec"), names)
            else:
                run_commands(content, f"{page}:{first}")
        if shown is not None and printed.getvalue() != shown:
            raise AssertionError(f"{page}:{first}: shows\n{shown}and prints\n{printed.getvalue()}")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    return names


def run_commands(lines: str, where: str) -> None:
    """Runs `$ visionkit ...` of each line; the exit code is 0, or the one in its comment `# exit code 1`."""
    for line in lines.splitlines():
        command, _, code = line.removeprefix("$ visionkit ").partition("# exit code ")
        if (found := main(shlex.split(command))) != int(code[:1] or 0):
            raise AssertionError(f"{where}: exit code {found}: {command}")

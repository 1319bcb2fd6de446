"""`visionkit WORDS` as a user would type it, but in the tests' own process, which has TensorFlow started already."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from visionkit.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended, under the names that subprocess has for it."""

    returncode: int
    stdout: str
    stderr: str


def visionkit(words: list[str], folder: Path | str) -> Done:
    """Runs a command in a folder."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return Done(code, out.getvalue(), err.getvalue())

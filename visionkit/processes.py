"""The one way to run another Python process to its end and to learn how it went."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended.

    Args:
        code: its exit code; negative where a signal killed it.
        output: what it wrote to stdout.
        log: what it wrote to stderr.
    """

    code: int
    output: str
    log: str

    @property
    def failure(self) -> str | None:
        """None after an exit code of 0; else the last line of the log, which is where Python names the error."""
        if self.code == 0:
            return None
        lines = [line.strip() for line in self.log.splitlines() if line.strip()]
        return lines[-1] if lines else "no message"


def run_python(
    arguments: Sequence[str],
    job: Any = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | str | None = None,
) -> Ended:
    """Runs this Python interpreter in a process of its own, where the same visionkit is found, and waits for it.

    Args:
        arguments: of the interpreter, such as `["-m", "visionkit.export.alone", ...]`. With -E and -P first, the
            process finds visionkit only where it is installed.
        job: what the process reads from stdin, as JSON; paths become strings.
        environment: variables to set besides those of this process.
        folder: its working directory; by default that of this process.
    """
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
    done = subprocess.run(
        [sys.executable, *arguments],
        input=json.dumps(job, default=str),
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",  # a library may print anything
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
    )
    return Ended(code=done.returncode, output=done.stdout, log=done.stderr)

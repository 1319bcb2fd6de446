"""Several processes on this machine that train together, with one stream of output and one end.

Imports no framework: what is trained is the business of the processes.
"""

import collections
import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from visionkit.train.cluster import free_addresses, variables
from visionkit.train.interrupt import Interrupted
from visionkit.types import DataError

BACKENDS = ("jax", "tensorflow")
LAST = 20  # lines of what another process than the first said, which are shown if it fails
GRACE = 15.0  # seconds in which the processes end by themselves once one of them has failed, or Ctrl-C was pressed
ALIKE = 5.0  # seconds after an error in which others that have the same one come to it
ERROR = "visionkit: error: "  # how the line begins by which a process says why it failed


def backend_of(environment: Mapping[str, str]) -> str:
    """The backend on which Keras will run, without importing it.

    Raises:
        DataError: it cannot train with several processes.
    """
    backend = environment.get("KERAS_BACKEND", "")
    if not backend:
        file = Path(environment.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
        try:
            backend = json.loads(file.read_text())["backend"]
        except (OSError, ValueError, LookupError, TypeError):
            backend = "tensorflow"
    if backend not in BACKENDS:
        raise DataError(f"launch: the backend is {backend}; several processes train on {' or '.join(BACKENDS)} only")
    return backend


def commands(command: Sequence[str], backend: str, addresses: Sequence[str]) -> list[str]:
    """What to type on each of several machines, so that they run `command` together."""
    lines = []
    for index in range(len(addresses)):
        values = {"KERAS_BACKEND": backend, **variables(backend, addresses, index)}
        settings = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
        lines.append(" ".join([*settings, shlex.join(command)]))
    return lines


def launch(command: Sequence[str], count: int, backend: str) -> int:
    """Runs `command` in `count` processes that train together, and returns when all of them have ended.

    All lines of the first process are printed, and the last ones of another that fails, each behind the number of its
    process. When one fails, the others are ended. An error that several have is printed once.

    Args:
        command: a program and its arguments.
        count: how many processes.
        backend: "jax" or "tensorflow".

    Returns:
        The exit code of the process that failed first, as a shell reports it; 0 if none did.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came, and all processes have ended.
    """
    addresses = free_addresses(count)
    ended: queue.Queue[_Process] = queue.Queue()
    processes: list[_Process] = []
    with _signals_raise():
        try:
            for index in range(count):
                processes.append(_Process(command, backend, addresses, index, ended))
            failed = next((process for process in (ended.get() for _ in processes) if process.code), None)
            if failed is not None and failed.error():
                _await_the_same(processes)
        finally:
            _end(processes)
    if failed is None:
        return 0
    assert failed.code is not None
    code = 128 - failed.code if failed.code < 0 else failed.code
    _report(failed, processes, code)
    return code


def _await_the_same(processes: "Sequence[_Process]") -> None:
    """Gives the processes that still run, but will show nothing more, the time to come to an error that one had."""
    for process in processes:
        process.mute()
    by = time.monotonic() + ALIKE
    while time.monotonic() < by and any(process.code is None for process in processes):
        time.sleep(0.05)


def _report(failed: "_Process", processes: "Sequence[_Process]", code: int) -> None:
    """Prints what a process said before it failed, unless the first one has said the same, and how many failed so."""
    error = failed.error()
    if not (error and processes[0].has_shown(error)):
        failed.show_last()
    alike = sum(process.error() == error for process in processes) if error else 1
    if alike == 1:
        said = f"process {failed.index} failed (exit code {code}), so all were ended"
    elif alike < len(processes):
        said = f"{alike} of {len(processes)} processes failed with this error (exit code {code}), so all were ended"
    else:
        said = f"all {alike} processes failed with this error (exit code {code})"
    print(f"visionkit: {said}", file=sys.stderr)


class _Process:
    """One of the processes. It is put into `ended` when it has, with its `code`."""

    def __init__(
        self, command: Sequence[str], backend: str, addresses: Sequence[str], index: int, ended: "queue.Queue[_Process]"
    ):
        here = str(Path(__file__).parents[2])
        path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
        own = {"KERAS_BACKEND": backend, "PYTHONPATH": path, **variables(backend, addresses, index)}
        if backend == "jax":
            own["JAX_COORDINATOR_BIND_ADDRESS"] = addresses[0]  # else it listens to all of the network
        self.index = index
        self.code: int | None = None
        self._mute = index > 0
        self._last: collections.deque[str] = collections.deque(maxlen=LAST)  # of the lines that were not shown
        self._error = ""
        self._shown = False  # the error
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **own},
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which passes it on
        )
        streams: list[tuple[Any, IO[str]]] = [(self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr)]
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in streams]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    def _read(self, source: IO[str], target: IO[str]) -> None:
        with source:
            for line in source:
                mute = self._mute
                if not mute:
                    self._show(line, target)
                elif target is sys.stderr:
                    self._last.append(line)
                if target is sys.stderr and line.startswith(ERROR):
                    self._error, self._shown = line, not mute

    def _show(self, line: str, target: IO[str]) -> None:
        target.write(f"[{self.index}] {line.rstrip()}\n")
        target.flush()

    def _wait(self, ended: "queue.Queue[_Process]") -> None:
        self.code = self._process.wait()
        ended.put(self)

    def mute(self) -> None:
        """From now on nothing is shown by itself."""
        self._mute = True

    def error(self) -> str:
        """The line by which the process said why it failed; "" where there was none."""
        if self.code is not None:
            self._join_readers()
        return self._error

    def has_shown(self, error: str) -> bool:
        """Whether this line was printed when it came."""
        return self._shown and self._error == error

    def show_last(self) -> None:
        """Prints the last lines that the process wrote to stderr, and that were not shown."""
        for line in self._last:
            self._show(line, sys.stderr)

    def ask_to_end(self) -> None:
        """As Ctrl-C does. What it says of its end, and libraries of the connections that it cuts, is not shown."""
        if self._process.poll() is None:
            self.mute()
            self._process.send_signal(signal.SIGINT)

    def end(self, by: float) -> None:
        """Waits for the end of the process, and forces it, and that of those which it started, at the time `by`."""
        try:
            self._process.wait(max(0.0, by - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._join_readers()

    def _join_readers(self) -> None:
        for reader in self._readers:
            reader.join(timeout=1.0)  # a process that it left behind may hold the pipe open


def _end(processes: Sequence[_Process]) -> None:
    """Ends those that still run; a second Ctrl-C ends them at once."""
    for process in processes:
        process.ask_to_end()
    by = time.monotonic() + GRACE
    for process in processes:
        try:
            process.end(by)
        except KeyboardInterrupt:
            by = 0.0
            process.end(by)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Inside this context Ctrl-C and SIGTERM raise `Interrupted`.

    That is so even where a shell has made this process ignore Ctrl-C: the processes that it starts would ignore it too.
    """

    def stop(number: int, frame: Any) -> None:
        raise Interrupted("interrupted; all processes have ended", number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

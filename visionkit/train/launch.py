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
    process. When one fails, the others are ended.

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
        finally:
            _end(processes)
    if failed is None:
        return 0
    assert failed.code is not None
    failed.show_last()
    code = 128 - failed.code if failed.code < 0 else failed.code
    print(f"visionkit: process {failed.index} failed (exit code {code}), so all were ended", file=sys.stderr)
    return code


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
        self._asked = False  # to end
        self._last: collections.deque[str] = collections.deque(maxlen=LAST)
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
                if self.index == 0 and (not self._asked or line.startswith("visionkit: ")):
                    self._show(line, target)
                elif target is sys.stderr:
                    self._last.append(line)

    def _show(self, line: str, target: IO[str]) -> None:
        target.write(f"[{self.index}] {line.rstrip()}\n")
        target.flush()

    def _wait(self, ended: "queue.Queue[_Process]") -> None:
        self.code = self._process.wait()
        ended.put(self)

    def show_last(self) -> None:
        """Prints the last lines of what a process other than the first wrote to stderr."""
        for line in self._last:
            self._show(line, sys.stderr)

    def ask_to_end(self) -> None:
        """As Ctrl-C does. What libraries say of the connections that are cut by it is no longer shown."""
        if self._process.poll() is None:
            self._asked = True
            self._process.send_signal(signal.SIGINT)

    def end(self, by: float) -> None:
        """Waits for the end of the process, and forces it, and that of those which it started, at the time `by`."""
        try:
            self._process.wait(max(0.0, by - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
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

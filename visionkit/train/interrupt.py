"""Ctrl-C and SIGTERM end a training after the step that it is in, with a checkpoint to go on from."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAID = b"\nending after this step, with a checkpoint; Ctrl-C again ends at once\n"


class Interrupted(KeyboardInterrupt):
    """A training was ended by a signal; the message says how to go on.

    Args:
        number: of the signal.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number


class Interruption:
    """Notes that a training is to end: `asked` is the number of the signal that came inside `noticed`, or None."""

    def __init__(self):
        self.asked: int | None = None

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Inside this context the first signal is noted, and a second one ends the process at once.

        Signals that the program handles itself, or ignores, are left alone, and threads cannot change that.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            usual = (signal.SIG_DFL, signal.default_int_handler)
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            before = {number: handler for number, handler in before.items() if handler in usual}
        for number in before:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        for each in _SIGNALS:
            if signal.getsignal(each) == self._note:
                signal.signal(each, signal.SIG_DFL)  # Python's own handler would wait for the end of the step
        os.write(2, _SAID)  # a signal may come while sys.stderr is being written to, which cannot be entered twice

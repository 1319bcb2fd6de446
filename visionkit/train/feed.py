"""Measures how long training waits for its data."""

import time

import grain


class Timed(grain.IterDataset):
    """A data set that measures how long its consumer waits for it.

    `waited` is the seconds spent waiting so far, and `error` the last exception that reading raised, or None.
    """

    def __init__(self, parent: grain.IterDataset):
        super().__init__(parent)
        self.waited = 0.0
        self.error: Exception | None = None

    def __iter__(self) -> grain.DatasetIterator:
        return _TimedIterator(self, iter(self._parent))


class _TimedIterator(grain.DatasetIterator):
    def __init__(self, clock: Timed, parent: grain.DatasetIterator):
        super().__init__(parent)
        self.clock = clock
        self.parent = parent

    def __next__(self):
        start = time.monotonic()
        try:
            return next(self.parent)
        except StopIteration:
            raise
        except Exception as error:
            self.clock.error = error
            raise
        finally:
            self.clock.waited += time.monotonic() - start

    def get_state(self):
        return self.parent.get_state()

    def set_state(self, state):
        self.parent.set_state(state)

"""Measures how long training waits for its data."""

import time

import grain


class Timed(grain.IterDataset):
    """A data set that counts the seconds for which whoever iterates over it has waited, in `waited`.

    What was raised meanwhile is kept in `error`.
    """

    def __init__(self, parent: grain.IterDataset):
        super().__init__(parent)
        self.waited, self.error = 0.0, None

    def __iter__(self):
        return _TimedIterator(self, iter(self._parent))


class _TimedIterator(grain.DatasetIterator):
    def __init__(self, clock, parent):
        super().__init__(parent)
        self.clock, self.parent = clock, parent

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

"""Work that threads do ahead of whoever asks for its results."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

DECODERS = min(4, os.cpu_count() or 1)  # threads; Pillow and NumPy release the interpreter lock while they work

Job = TypeVar("Job")
Result = TypeVar("Result")


def ahead(jobs: Iterable[Job], work: Callable[[Job], Result], depth: int, threads: int = DECODERS) -> Iterator[Result]:
    """`map(work, jobs)` in order, computed in threads up to `depth` jobs ahead of the consumer.

    `jobs` is only advanced in the consumer's thread, so it may be a generator.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(work, job))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also if the consumer stops early
        pool.shutdown(cancel_futures=True)

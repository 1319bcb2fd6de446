"""The limits on what a file may cost, whoever made it: all on this page, and raised together by one option.

`--limits 4`, or VISIONKIT_LIMITS=4 in the environment, makes all of them four times as large. It is for files whose
source you trust. Besides an image's own limit, all threads of a process share `DECODING`: an image waits until enough
of it is free.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from visionkit.types import DataError

VARIABLE = "VISIONKIT_LIMITS"
_MOST = 1000  # times
_ADVICE = re.compile("; --limits [0-9]+ would allow it|, which --limits raises")

PIXELS = 89_478_485  # of an image: a quarter of a GiB as RGB; a few bytes of PNG can claim any size
SIDE = 65_535  # pixels, the longest side of an image: JPEG's own limit
DECODING = 640 * 2**20  # bytes of all images that are being decoded, results included
MASKS = 2**29  # bytes of the instance masks of one image, N x H x W
EDGES = 1_000_000  # pixels, the length of all polygons of one object; drawing takes some 140 bytes for each
TEXT = 10 * 2**20  # bytes of an XML or text file; the largest seen in the wild is below 1 MB
YAML = 2**20  # bytes of a YAML file, whose parser takes a thousand times as many
JSON = 2**30  # bytes of a COCO file; instances_train2017.json has 449 MB
OBJECT = 2**29  # bytes of an image in object storage, which is read as a whole
GROUP = (
    2**31
)  # bytes of a row group of images in a Parquet file, of which two are in memory; writers put 1000 rows in it
ARRAYS = 2**29  # bytes of the arrays of a .npz data set, with a KiB for each row; MNIST takes 130 MB
TORCH = 2**32  # bytes of a PyTorch checkpoint
PICKLE = 2_000_000  # steps of a checkpoint's pickle, and items that are copied; a large model takes 100,000
DOWNLOAD = 2**32  # bytes of a .keras file on the Hugging Face Hub
CONFIG = 2**24  # bytes of config.json in a .keras file
UNPACKED = 2**27  # bytes that a .keras file may unpack to, besides four times its own
NETWORK = 2**22  # pixels of the images that a model takes; 2048 x 1024 is the largest in common use


def times() -> float:
    """How many times larger than on this page the limits are.

    Raises:
        DataError: the environment does not say a number from 1 to 1000.
    """
    text = os.environ.get(VARIABLE, "1")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= _MOST:
        raise DataError(f"{VARIABLE} (--limits): expected a number from 1 to {_MOST}, found {text[:40]!r}")
    return value


def raised(limit: int) -> int:
    """A limit of this page as the user has set it."""
    return int(limit * times())


def check(found: int, limit: int, text: str, kind: str | None = None, unit: int = 1) -> None:
    """Refuses a file that costs more than a limit.

    Args:
        found: what it costs.
        limit: one of this page.
        text: what to say; {limit} in it is replaced by the limit in force.
        kind: see `DataError`.
        unit: in which the text states the limit, e.g. 2**20 for MB.

    Raises:
        DataError: `found` is above the limit; says how to raise it.
    """
    if found > (top := raised(limit)):
        text = text.replace("{limit}", str(top // unit))
        enough = -(-found // limit)
        raise DataError(f"{text}; --limits {enough} would allow it" if enough <= _MOST else text, kind)


def without_option(text: str) -> str:
    """An error for somebody who has no say in this process's options, such as a client of the server."""
    return _ADVICE.sub("", text).replace("above the limit", "above this server's limit")


class _Budget:
    """Bytes that the threads of a process share."""

    def __init__(self):
        self._free = threading.Condition()
        self._used = 0

    @contextmanager
    def holding(self, size: int, top: int) -> Iterator[None]:
        """Waits until `size` of `top` bytes are free, or nobody else has any, and keeps them while the block runs."""
        with self._free:
            self._free.wait_for(lambda: self._used == 0 or self._used + size <= top)
            self._used += size
        try:
            yield
        finally:
            with self._free:
                self._used -= size
                self._free.notify_all()


_decoding = _Budget()
if hasattr(os, "register_at_fork"):  # a child has none of the threads that would give back what they hold
    os.register_at_fork(after_in_child=lambda: _decoding.__init__())


@contextmanager
def decoding(size: int, what: str) -> Iterator[None]:
    """The block decodes an image, for which it needs `size` bytes of those that all threads share.

    Raises:
        DataError: that is more than there are; begins with `what`.
    """
    text = f"{what}: decoding it would take {size // 2**20} MB, above the limit of {{limit}} MB"
    check(size, DECODING, text, unit=2**20)
    with _decoding.holding(size, raised(DECODING)):
        yield

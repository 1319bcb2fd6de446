"""The server's log on stderr: one line for each request that was refused or failed."""

import sys
import time

from visionkit.types import plain

_LOGGED = (403, 408, 413, 431)  # besides 5xx; other errors are the client's own affair
_LONGEST = 300  # characters of a reason, part of which is the client's


def log_refused(client: str, request: str, status: int, reason: str) -> None:
    """Writes the line, if the status is one that an operator wants to know about.

    Args:
        client: its address.
        request: method and path; "-" if they did not arrive.
        status: of the answer.
        reason: may quote the client; control characters are escaped.
    """
    if status in _LOGGED or status >= 500:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        line = f"{now} {client} {request[:_LONGEST]}: {status} {reason[:_LONGEST]}"
        print(plain(line), file=sys.stderr, flush=True)

"""Starts a server and ends it."""

import logging
import select
import signal
import sys
import threading
from typing import Any

import numpy as np

from visionkit.serve.application import Application
from visionkit.serve.limits import Limits
from visionkit.types import DataError

HEADER_BYTES, BUFFER_BYTES = 2**14, 2**16  # of a request's headers; of its body, before it goes to a temporary file
OWN_SOCKETS = 16  # those that the server listens on and wakes itself up with


def create_server(application: Application, host: str, port: int, limits: Limits | None = None) -> Any:
    """A waitress server: `run()` serves, `close()` ends it, `effective_port` is the port that was picked for 0.

    Args:
        application: answers the requests.
        host, port: the address to listen on.
        limits: what clients are granted; by default `Limits()`.

    Raises:
        DataError: waitress is not installed.
    """
    try:
        import waitress

        from visionkit.serve.channel import limit
    except ModuleNotFoundError:
        raise DataError(
            "waitress is not installed; it comes with visionkit's extra serve: pip install 'keras-visionkit[serve]'"
        ) from None
    limits, sockets = limits or Limits(), {}
    server = waitress.create_server(  # pyright: ignore[reportAttributeAccessIssue]  (waitress has no types)
        application,
        map=sockets,
        host=host,
        port=port,
        threads=limits.threads,
        # Our connections keep the limit by making room; waitress' own is for the case that all are being answered.
        connection_limit=limits.connections + OWN_SOCKETS,
        asyncore_use_poll=hasattr(select, "poll"),  # select() knows no file above 1023
        max_request_header_size=HEADER_BYTES,
        inbuf_overflow=BUFFER_BYTES,
        # Waitress refuses a body above its limit before reading it, with a 413 in its own words.
        max_request_body_size=application.max_bytes + 1,
    )
    limit(sockets, limits, application.metrics)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each that waits; the metrics have them
    return server


def serve(application: Application, host: str, port: int, limits: Limits | None = None) -> None:
    """Answers requests until it is interrupted; arguments as in `create_server`.

    A black image of each size that the predictor has a network for is predicted first, so that the first answers are as
    quick as the others.
    """
    for size in application.predictor.sizes:
        application.predictor(np.zeros((*size, 3), np.uint8))
    server = create_server(application, host, port, limits)
    # A host with several addresses, such as localhost with IPv4 and IPv6, has a port for each.
    port = getattr(server, "effective_port", None) or server.effective_listen[0][1]
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    print(
        f"{address}/predict takes images, {address}/ is a page to try it; Ctrl-C ends it", file=sys.stderr, flush=True
    )
    main = threading.current_thread() is threading.main_thread()  # the only one that may set signal handlers
    before = None
    if main:  # SIGTERM is how containers are ended
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run()
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        server.close()
        application.close()

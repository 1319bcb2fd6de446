"""A server in a thread of the test, and a client that says exactly what it is told to."""

import contextlib
import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image

from visionkit.serve.application import Application
from visionkit.serve.limits import Limits
from visionkit.serve.server import create_server


def encoded(width: int, kind: str = "PNG") -> bytes:
    """An image file, 30 pixels high."""
    stream = io.BytesIO()
    Image.new("RGB", (width, 30), (90, 20, width)).save(stream, kind)
    return stream.getvalue()


@contextlib.contextmanager
def running(application: Application, limits: Limits | None = None) -> Iterator[int]:
    """Yields the port of a server that runs until the block ends."""
    server = create_server(application, "127.0.0.1", 0, limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server.effective_port
    # First its threads: one that is still answering wakes the server by a byte to a file number, which after close()
    # may be another file's, such as a browser's pipe.
    server.task_dispatcher.shutdown()
    server.close()
    for channel in list(server.active_channels.values()):  # which a browser keeps open
        channel.will_close = True
    thread.join(10)
    assert not thread.is_alive()


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """(status, content, headers) of an answer; JSON is decoded."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        # Too large a body is answered, and the connection closed, before all of it was sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        if content and "json" in response.headers["Content-Type"]:
            content = json.loads(content)
        return response.status, content, response.headers


def raw(port: int, data: bytes = b"") -> socket.socket:
    """A connection over which `data` was sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(data)
    return connection


def ended(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found

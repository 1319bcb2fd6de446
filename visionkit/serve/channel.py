"""Waitress' connections with deadlines and a place for everyone. Imported where waitress is known to be installed.

Waitress reads requests in one thread that never blocks, so a slow client takes nothing from the others but a place
among the connections. But its timeout begins anew with every byte, and at its limit it accepts nobody any more. Here,
each stage of a request has a deadline that no byte postpones, and a newcomer takes the place of the connection that has
waited for its client for the longest time.
"""

# What the types of waitress know of it is incomplete.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false

import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask
from waitress.utilities import Error

from visionkit.serve.limits import Limits
from visionkit.serve.log import log_refused
from visionkit.serve.metrics import Metrics


class RequestTimeout(Error):
    """The answer to a request that did not arrive in time."""

    code, reason = 408, "Request Timeout"


class CountedError(ErrorTask):
    """An answer of waitress itself, to what never became a request to the application: counted like the others."""

    def execute(self) -> None:
        request, error = self.request, self.request.error
        self.channel.metrics.count("-", error.code)
        sent = f"{getattr(request, 'command', '-')} {getattr(request, 'path', '')}"  # if they arrived
        log_refused(str(self.channel.addr[0]), sent, error.code, f"{error.reason}: {error.body}")
        super().execute()


class TimedChannel(HTTPChannel):
    """A connection.

    Args:
        limits, metrics: of the server.
        server, sock, addr, adj, map: waitress' own.
    """

    error_task_class = CountedError

    def __init__(self, limits: Limits, metrics: Metrics, server, sock, addr, adj, map: dict[int, Any]):
        self.limits, self.metrics = limits, metrics
        self._answered = 0  # requests that were answered over this connection
        self._stage: tuple[int, str] = (0, "headers")  # what is waited for, in which request
        self._since = time.monotonic()  # when that began
        super().__init__(server, sock, addr, adj, map=map)
        self._make_room([channel for channel in map.values() if isinstance(channel, TimedChannel)])

    def readable(self) -> bool:
        """Waitress asks every connection at least once a second whether it wants to read."""
        self._look_at_the_clock()
        return super().readable()

    def service(self) -> None:
        super().service()
        self._answered += 1

    @property
    def waited_for(self) -> str:
        """What comes next: "headers" of a request, its "body", our "answer", or the client to "take" it."""
        # Above the watermark, the thread that answers waits for the client.
        if self.requests and self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            return "answer"
        if self.total_outbufs_len:
            return "take"
        return "body" if self.request is not None and self.request.headers_finished else "headers"

    def _make_room(self, channels: list["TimedChannel"]) -> None:
        """If there are too many connections, closes the one that has waited for its client the longest."""
        idle = [channel for channel in channels if channel.waited_for != "answer" and not channel.will_close]
        open_channels = sum(not channel.will_close for channel in channels)
        if open_channels > self.limits.connections and idle:
            min(idle, key=lambda channel: channel._since)._drop()

    def _drop(self) -> None:
        """Closes the connection, even if the client takes nothing.

        Waitress closes what it may write to. A socket whose buffer is full is no such thing until it is shut down.
        """
        self.will_close = True
        with suppress(OSError):  # it is closed already
            self.socket.shutdown(socket.SHUT_RDWR)

    def _look_at_the_clock(self) -> None:
        now, stage = time.monotonic(), (self._answered, self.waited_for)
        if stage != self._stage:
            self._stage, self._since = stage, now
        waited_for = stage[1]
        if waited_for == "answer" or self.will_close:
            return
        seconds = self.limits.header_seconds if waited_for == "headers" else self.limits.body_seconds
        if now - self._since <= seconds:
            return
        if waited_for == "take" or self.request is None:  # nothing has begun that could be answered
            self._drop()
            return
        with self.requests_lock:
            request, self.request = self.request, None
            request.error = RequestTimeout(f"the {waited_for} did not arrive within {seconds:g} seconds")
            self.requests.append(request)
        self.server.add_task(self)


def limit(sockets: dict[int, Any], limits: Limits, metrics: Metrics) -> None:
    """Gives the servers among waitress' `sockets` (by file number) connections that keep to the limits."""
    servers = [server for server in sockets.values() if isinstance(server, BaseWSGIServer)]
    for server in servers:
        server.channel_class = partial(TimedChannel, limits, metrics)
    metrics.watch(
        connections=lambda: sum(isinstance(found, TimedChannel) for found in list(sockets.values())),
        queue=lambda: len(servers[0].task_dispatcher.queue),  # one for all of them
    )

"""Looks whether a server could listen, before its model is loaded, which takes long."""

import errno
import os
import socket

from visionkit.types import DataError


def check_address(host: str, port: int) -> None:
    """Refuses an address that cannot be listened on.

    Args:
        host: a name or an address of this machine.
        port: 0 is any free one.

    Raises:
        DataError: there is no such port or host, or the port is in use.
    """
    if not 0 <= port <= 65535:
        raise DataError(f"--port: expected 0 to 65535, found {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"--host {host}: not an address of this machine ({reason}); 0.0.0.0 is all of them") from None
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                if os.name == "posix":  # as waitress does; elsewhere it would allow a port that is in use
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as error:
            raise DataError(_why_not(host, port, error)) from None


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: already in use; choose another or stop what uses it"
    if error.errno == errno.EACCES:
        return f"--port {port}: only an administrator may use it; choose one above 1023 and put a proxy in front"
    return f"--host {host}: cannot be listened on ({error.strerror}); 0.0.0.0 is all addresses of this machine"

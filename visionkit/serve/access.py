"""Which requests a server answers, by the names under which it was reached: the defence against hostile web pages.

A page that somebody opens in a browser can send requests to servers that only this machine can reach, directly or under
a name of its own that it lets point to 127.0.0.1 (DNS rebinding). The browser says so in `Origin` and `Host`.
"""

import ipaddress
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from visionkit.types import DataError

EVERY = "*"  # in the list: any Host


def host_names(hosts: Collection[str], option: str = "--allow-host") -> set[str]:
    """Hosts as `refusal` takes them: in lower case, IPv6 addresses without brackets.

    Args:
        hosts: names and addresses.
        option: that they come from, for the message.

    Raises:
        DataError: one of them is more than a name, such as a URL, has a port, or is a pattern.
    """
    names = {host.strip("[]").lower() for host in hosts}
    for name in names:
        plain = f"//[{name}]" if ":" in name else f"//{name}"
        if name != EVERY and (not name or _name(plain) != name):
            reason = "expected the name of a host, without http:// and without a port"
            raise DataError(f"{option}: {reason}, found {name!r}")
        if name != EVERY and EVERY in name:
            reason = "* alone is every Host, and no part of a name; expected names in full"
            raise DataError(f"{option}: {reason}, found {name!r}")
    return names


def refusal(environ: dict[str, Any], hosts: Collection[str] = ()) -> str | None:
    """Why a request is refused: its Host or its Origin names another server. None if it is welcome.

    Args:
        environ: the WSGI request.
        hosts: names and addresses, from `host_names`, that are welcome besides those of this machine itself; "*" is
            every Host.
    """
    host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
    name = _name(f"//{host}")
    if EVERY not in hosts and not (name and (_loopback(name) or name in hosts)):
        return f"Host {host!r} is not a name of this server"
    if origin is not None and _address(origin) != host.lower():
        name = _name(origin)
        if not name or name not in hosts:
            return f"Origin {origin!r}: pages of other servers may not use this one"
    return None


def _address(url: str) -> str:
    """HOST:PORT of a URL, in lower case; "" where there is none."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _name(url: str) -> str:
    """The host that a URL names, without its port; "" where it names none, or more than a host and a port."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.path or parts.query or parts.fragment:
            return ""
        return (parts.hostname or "").rstrip(".")
    except ValueError:
        return ""


def _loopback(name: str) -> bool:
    """Whether `name` can only be this machine."""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

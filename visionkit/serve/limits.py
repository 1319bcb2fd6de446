"""What a server grants its clients: connections, time and threads."""

from dataclasses import dataclass, field

from visionkit.types import DataError

CONNECTIONS = 256  # or fewer, where the process may open fewer files: 256 files are the limit of a shell on macOS
_LARGEST = 10_000  # megabytes or megapixels
RESERVED = 128  # open files that are not connections: the model's, the libraries'


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Args:
        connections: open at a time; beyond that, a newcomer takes the place of the one that has been idle longest. By
            default 256, or as many as this process has files for.
        header_seconds: from the opening of a connection, or from the last answer, to the end of a request's headers.
        body_seconds: for a request's body to arrive, and for an answer to be taken.
        threads: requests that are decoded and answered at a time; further ones wait.

    Raises:
        DataError: a limit is not positive, or this process may not open as many files.
    """

    connections: int = field(default_factory=lambda: default_connections())
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    threads: int = 8

    def __post_init__(self):
        for name, value in vars(self).items():
            least = 1 if isinstance(value, int) else 0.1
            if not value >= least:
                raise DataError(f"--{name.replace('_', '-')}: expected {least} or more, found {value:g}")
        most = most_connections()
        if most is not None and self.connections > most:
            raise DataError(
                f"--connections: this process may open files for {most} connections, not for {self.connections}; "
                "`ulimit -n` raises that"
            )


def check_sizes(batch_size: int, megabytes: float, megapixels: float) -> None:
    """Refuses sizes that make no sense: each is more than 0, and none is infinite."""
    if batch_size < 1:
        raise DataError(f"--batch-size: expected 1 or more, found {batch_size}")
    for option, value in (("--megabytes", megabytes), ("--megapixels", megapixels)):
        if not 0 < value <= _LARGEST:
            raise DataError(f"{option}: expected more than 0 and at most {_LARGEST}, found {value:g}")


def default_connections() -> int:
    """256, or as many as this process has files for."""
    most = most_connections()
    return CONNECTIONS if most is None else min(CONNECTIONS, most)


def most_connections() -> int | None:
    """How many connections this process has files for, two for each: its socket and a large body. None if unlimited."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 256  # its select() takes 512 sockets
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if files == resource.RLIM_INFINITY else max(1, (files - RESERVED) // 2)

"""The one way to write a file: first under a temporary name beside it, so that nobody ever reads half of it.

`locked` keeps a folder to one process.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, Any

from visionkit.types import DataError

LOCK = ".visionkit.lock"  # there while a process writes into the folder, and left behind by one that was killed


_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+")  # of a store, of which pathlib makes s3:/bucket; but not C:/photos


def address_of(path: str | Path) -> str | None:
    """The address of a store that `path` is, such as s3://bucket/key, or None if it is a path on this machine."""
    scheme = _ADDRESS.match(str(path))
    return scheme and f"{scheme[1]}://{str(path)[scheme.end() :]}"


def check_local(path: str | Path) -> None:
    """Refuses the address of a store as a folder to write to, which would become a local folder of that name.

    Raises:
        DataError: `path` is an address.
    """
    if address := address_of(path):
        raise DataError(f"{address}: expected a folder on this machine; copy what is written to the store afterwards")


@contextmanager
def whole_file(file: Path, sync: bool = False) -> Iterator[Path]:
    """Yields a path to write to; `file` gets its content when the block ends without an error, and not before.

    The yielded path is in the same folder as `file` and has its suffix, from which many writers choose the format. The
    folder is created if it is missing.

    Args:
        file: the file to write.
        sync: wait until the content is on the disk, so that it survives a power failure too.

    Raises:
        DataError: the file could not be written (a full disk, a read-only folder); what was there before is unchanged.
    """
    temporary = file.with_name(temporary_name(file))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if sync:
                _sync(temporary)
            temporary.replace(file)
            if sync:
                _sync(file.parent)  # where the new name is an entry
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise DataError(f"{file}: could not be written ({reason}); what was there before is unchanged") from error


@contextmanager
def whole_text(file: Path, errors: str = "surrogateescape") -> Iterator[IO[str]]:
    """Like `whole_file`, but yields a stream for UTF-8 text.

    Args:
        file: the file to write.
        errors: how surrogates are encoded, which stand for the bytes of a file name that is not UTF-8: by default the
            original bytes are written; "backslashreplace" keeps JSON valid.
    """
    with whole_file(file) as path, path.open("w", encoding="utf-8", errors=errors, newline="") as stream:
        yield stream


def write_bytes(file: Path, data: bytes, sync: bool = False) -> None:
    """Writes bytes; see `whole_file` for `sync` and errors."""
    with whole_file(file, sync) as path:
        path.write_bytes(data)


def write_json(file: Path, value: Any) -> None:
    """Writes indented JSON and waits until it is on the disk; dataclasses become objects, paths become strings."""
    write_bytes(file, (json.dumps(value, indent=2, default=_as_json) + "\n").encode(), sync=True)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits; the file is not read into memory as a whole."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def as_json(value: Any) -> Any:
    """`value` as it is when read back after `write_json`."""
    return json.loads(json.dumps(value, default=_as_json))


def temporary_name(file: Path) -> str:
    """A new hidden name with the suffix of `file`; short, since the file's own name may have the maximum length."""
    return f".{secrets.token_hex(8)}.part{file.suffix[:8]}"


def remove_temporary(folder: Path, suffix: str) -> None:
    """Removes temporary files with this suffix that a killed process left; call it only while no process is writing."""
    for temporary in folder.glob(f".*.part{suffix}"):
        temporary.unlink(missing_ok=True)  # another process in the same folder may have been quicker


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While the block runs, no other process can enter one for the same folder, which must exist.

    The operating system lifts the lock when a process ends, however it ends. On a file system that knows no locks,
    nothing is locked.

    Raises:
        DataError: another process is in such a block; says which.
    """
    handle = _acquire(folder)
    try:
        yield
    finally:
        if handle is not None:
            (folder / LOCK).unlink(missing_ok=True)
            os.close(handle)


def _as_json(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _acquire(folder: Path) -> int | None:
    """The open lock file; None where there are no locks."""
    file = folder / LOCK
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, these are not inherited by forks
        except OSError as error:
            owner = os.pread(handle, 300, 0).decode(errors="replace").strip()
            os.close(handle)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return None
            raise DataError(
                f"{folder}: another process writes there ({owner or 'of this or another machine'}); wait until it has "
                "ended, or choose another folder"
            ) from None
        if _is_current(handle, file):
            with contextlib.suppress(OSError):  # a full disk: then nobody learns who it is
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return handle
        os.close(handle)  # its owner removed it between our opening and locking it


def _is_current(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def would_be_lost(file: Path | str) -> DataError:
    """The error to raise instead of overwriting `file`, which exists and may not have been written by visionkit."""
    return DataError(f"{file}: was not written by an earlier run and would be lost; choose another output folder")

"""The one way to write a file: under a temporary name beside it first, so that nobody ever meets half of it."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, Any

from visionkit.types import DataError


@contextmanager
def whole_file(file: Path, sync: bool = False) -> Iterator[Path]:
    """Yields a path to write to; `file` takes its content when the block ends without an error, and not before.

    The yielded path lies beside `file` and has its suffix, since many writers choose the format by it. The folder is
    made when it is missing.

    Args:
        sync: wait until the content is on the disk, so that it also survives a power failure.

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
                _sync(file.parent)  # the new name is an entry of the folder
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise DataError(f"{file}: could not be written ({reason}); what was there before is unchanged") from error


@contextmanager
def whole_text(file: Path, errors: str = "surrogateescape") -> Iterator[IO[str]]:
    """`whole_file`, opened for UTF-8 text.

    Args:
        errors: what becomes of a file name that is not UTF-8 and so reached Python as surrogates: by default it is
            written as it came; "backslashreplace" keeps JSON valid.
    """
    with whole_file(file) as path, path.open("w", encoding="utf-8", errors=errors, newline="") as stream:
        yield stream


def write_bytes(file: Path, data: bytes, sync: bool = False) -> None:
    """Writes bytes as `whole_file` does."""
    with whole_file(file, sync) as path:
        path.write_bytes(data)


def write_json(file: Path, value: Any) -> None:
    """Writes JSON for people to read, and waits until it is on the disk; dataclasses become objects, paths text."""
    write_bytes(file, (json.dumps(value, indent=2, default=_as_json) + "\n").encode(), sync=True)


def as_json(value: Any) -> Any:
    """`value` as it comes back when `write_json` has written it."""
    return json.loads(json.dumps(value, default=_as_json))


def temporary_name(file: Path) -> str:
    """A new hidden name with the suffix of `file`; it does not grow with its name, which may be as long as allowed."""
    return f".{secrets.token_hex(8)}.part{file.suffix[:8]}"


def remove_temporary(folder: Path, suffix: str) -> None:
    """Removes what a killed process left of files with this suffix; only where no process is writing."""
    for temporary in folder.glob(f".*.part{suffix}"):
        temporary.unlink(missing_ok=True)  # another process that shares the folder may be quicker


def _as_json(value):
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

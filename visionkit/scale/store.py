"""Files by URI: local paths, and s3://, gs://, memory:// and what else Arrow or fsspec can open.

An object is read as a whole and written as a whole: what is to be written is bytes already when the writing begins, so
no error in between can leave half of it under its name.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from visionkit.files import write_bytes
from visionkit.types import DataError

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_ARROWS = ("s3", "gs", "gcs", "abfs", "abfss")  # the stores that Arrow opens itself; fsspec knows the others
_TIMES = ("mtime", "last_modified", "LastModified", "created")  # names of the time of change in fsspec's systems
_EXTRA = "it comes with visionkit's extra scale: pip install 'keras-visionkit[scale]'"


class Unreachable(RuntimeError):
    """A store does not answer, or not as it should; unlike a missing object, this may pass."""


@dataclass(frozen=True)
class Entry:
    """A file or a folder in a store.

    Args:
        name: the last part of its URI.
        folder: whether it is a folder, or a prefix that objects share.
        size: in bytes.
        changed: nanoseconds since 1970; 0 where the store does not say.
    """

    name: str
    folder: bool
    size: int = 0
    changed: int = 0


def is_uri(text: str) -> bool:
    """Whether `text` names something in a store rather than a local path: s3://bucket/key, but not C:/photos."""
    return _SCHEME.match(text) is not None


def scheme_of(uri: str) -> str:
    """The part before ://, in lower case; "file" for a local path."""
    found = _SCHEME.match(uri)
    return found[1] if found else "file"


def without_query(uri: str) -> str:
    """The URI without what follows a ?, which is about the store; a local path as it is."""
    return uri.partition("?")[0] if is_uri(uri) else uri


def suffix_of(uri: str) -> str:
    """The suffix of a file's name in lower case, such as .tar; "" without one."""
    return PurePosixPath(without_query(uri)).suffix.lower()


def join(folder: str, *names: str) -> str:
    """The URI of what lies in a folder; a query behind the folder's URI stays behind it."""
    address = without_query(folder)
    query = folder[len(address) :]
    return "/".join([address.rstrip("/") or "/", *names]) + query


def read(uri: str) -> bytes:
    """The whole content of a file.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: it may not be read.
        Unreachable: the store does not answer.
        DataError: the URI is of no known kind.
    """
    with _told(uri):
        system, path = _opened(uri)
        with system.open_input_file(path) as stream:
            return stream.read()


@contextmanager
def opened(uri: str) -> Iterator[Any]:
    """A stream of a file's bytes, in which one may seek, for the block. Raises: as `read`."""
    with _told(uri):
        system, path = _opened(uri)
        with system.open_input_file(path) as stream:
            yield stream


def read_part(uri: str, offset: int, size: int) -> bytes:
    """The bytes of a file from `offset` on, at most `size` of them. Raises: as `read`."""
    with opened(uri) as stream:
        stream.seek(offset)
        return stream.read(size)


def chunks(uri: str, size: int) -> Iterator[bytes]:
    """The content of a file, at most `size` bytes at a time. Raises: as `read`."""
    with opened(uri) as stream:
        while chunk := stream.read(size):
            yield chunk


def write(uri: str, content: bytes) -> None:
    """Writes a file in one piece; folders on the way to it are made.

    Raises:
        DataError: it could not be written; what was there before is unchanged.
        Unreachable: the store does not answer.
    """
    if scheme_of(uri) == "file":
        write_bytes(_local(uri), content, sync=True)
        return
    with _told(uri):
        system, path = _opened(uri)
        fsspec = getattr(getattr(system, "handler", None), "fs", None)
        if fsspec is not None:
            fsspec.pipe_file(path, content)
            return
        stream = system.open_output_stream(path)  # no `with`: after an error it would put what there is so far
        stream.write(content)
        stream.close()


def entry(uri: str) -> Entry | None:
    """What there is under a URI; None if there is nothing. Raises: as `read`, but for FileNotFoundError."""
    from pyarrow import fs

    with _told(uri):
        system, path = _opened(uri)
        info = system.get_file_info(path)
    return None if info.type == fs.FileType.NotFound else _entry(info)


def exists(uri: str) -> bool:
    """Whether there is a file or a folder. Raises: as `entry`."""
    return entry(uri) is not None


def is_folder(uri: str) -> bool:
    """Whether there is a folder, or a prefix that objects share. Raises: as `entry`."""
    found = entry(uri)
    return found is not None and found.folder


def listed(uri: str) -> list[Entry]:
    """What lies directly in a folder, by name; nothing where there is no such folder. Raises: as `exists`."""
    from pyarrow import fs

    with _told(uri):
        system, path = _opened(uri)
        found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(map(_entry, found), key=lambda entry: entry.name)


def delete(uri: str) -> None:
    """Deletes a file. Raises: as `read`."""
    with _told(uri):
        system, path = _opened(uri)
        system.delete_file(path)


def delete_folder(uri: str) -> None:
    """Deletes a folder with all that is in it. Raises: as `read`."""
    with _told(uri):
        system, path = _opened(uri)
        system.delete_dir(path)


def put(file: Path, uri: str) -> None:
    """Copies a local file of any size to `uri`. Raises: as `write`."""
    with _told(uri):
        system, path = _opened(uri)
        if scheme_of(uri) == "file":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        from pyarrow import fs

        fs.copy_files(str(file), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=system)


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turns the errors of Arrow and fsspec, which may have many lines, into one line each."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{uri}: no such file") from None
    except OSError as error:
        reason = " ".join(str(error).split())[:300]
        if isinstance(error, PermissionError) or "ACCESS_DENIED" in reason or "HTTP status 403" in reason:
            raise PermissionError(f"{uri}: no permission ({reason})") from error
        raise Unreachable(f"{uri}: the store does not answer, or not as it should ({reason})") from error


def _entry(info: Any) -> Entry:
    from pyarrow import fs

    return Entry(info.base_name, info.type == fs.FileType.Directory, info.size or 0, info.mtime_ns or 0)


def _local(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def _opened(uri: str) -> tuple[Any, str]:
    """The file system (of pyarrow.fs) that a URI belongs to, and its path there."""
    scheme = scheme_of(uri)
    if scheme == "file":
        return _system("file", "", ""), os.path.abspath(_local(uri))  # noqa: PTH100 (no links are followed)
    address, _, query = uri.partition("?")
    path = address.partition("://")[2]
    return _system(scheme, path.partition("/")[0], query), path.rstrip("/")


@lru_cache(maxsize=64)
def _system(scheme: str, bucket: str, query: str) -> Any:
    """A file system of pyarrow.fs; opened once, since it holds connections, and asks for the region of a bucket.

    Raises:
        DataError: Arrow is not installed, or neither it nor fsspec knows the scheme.
    """
    try:
        import pyarrow
        from pyarrow import fs
    except ImportError:
        raise DataError(f"{scheme}://{bucket}: needs pyarrow; {_EXTRA}") from None
    if scheme == "file":
        return fs.LocalFileSystem()
    uri = f"{scheme}://{bucket}" + (f"?{query}" if query else "")
    if scheme in _ARROWS:
        if scheme == "s3":  # a small object is one request, not the three of a multipart upload
            uri += ("&" if query else "?") + "allow_delayed_open=true"
        try:
            return fs.FileSystem.from_uri(uri)[0]
        except pyarrow.ArrowException as error:
            raise DataError(f"{scheme}://{bucket}: cannot be opened: {error}") from None
    try:
        import fsspec

        return fs.PyFileSystem(_handler(fsspec.filesystem(scheme)))
    except ImportError as error:
        raise DataError(f"{uri}: cannot be opened: {error}") from None
    except ValueError:
        raise DataError(f"{uri}: expected a local path, s3://, gs://, az://, or another store of fsspec's") from None


def _handler(system: Any) -> Any:
    """What Arrow needs of a file system of fsspec's, with the time of change under whatever name that gives it."""
    from pyarrow import fs

    class Handler(fs.FSSpecHandler):
        @staticmethod
        def _create_file_info(path: str, info: dict[str, Any]) -> Any:
            times = (info.get(key) for key in _TIMES)
            known = (time for time in times if isinstance(time, datetime | float))
            return fs.FSSpecHandler._create_file_info(path, info | {"mtime": next(known, None)})

    return Handler(system)

"""A data set in object storage, as a copy on this machine that later trainings bring up to date."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from visionkit.files import locked, whole_file
from visionkit.predict.ahead import ahead
from visionkit.scale import store
from visionkit.types import DataError

VARIABLE = "VISIONKIT_DATA_GB"
GIGABYTES = 100.0  # of all copies together, by default
THREADS = 16  # files that are fetched at a time
CHUNK = 2**22  # bytes that a thread holds


def cache_folder() -> Path:
    """The folder for the copies: `$XDG_CACHE_HOME/visionkit/data`, by default under `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionkit" / "data"


def fetch_dataset(uri: str) -> tuple[Path, int]:
    """Copies a data set from a store; only files that are new or changed there are fetched, whole or not at all.

    A file is taken for unchanged if its size and its time of change are the same; where the store says no time,
    all are fetched. Files that are gone from the store are deleted from the copy. Hidden files are left out.

    Args:
        uri: its folder, or a YOLO data.yaml in it.

    Returns:
        (the folder or the data.yaml in it, how many files were fetched).

    Raises:
        DataError: there is nothing, or more than the copies may take.
        PermissionError: it may not be read.
        Unreachable: the store does not answer; the next call goes on from there.
    """
    uri = store.join(uri)  # without a / at its end
    found = store.entry(uri)
    if found is None:
        raise DataError(f"{uri}: no such folder")
    if not found.folder:
        address = store.without_query(uri)
        parent, _, name = address.rpartition("/")
        copy, count = fetch_dataset(parent + uri[len(address) :])
        return copy / name, count
    digest = hashlib.sha256(uri.encode()).hexdigest()[:12]
    copy = cache_folder() / f"{PurePosixPath(store.without_query(uri)).name}-{digest}"
    copy.mkdir(parents=True, exist_ok=True)
    with locked(copy):
        for part in copy.rglob(".*.part*"):  # of a process that was killed
            part.unlink()
        listed = dict(_files_below(uri, PurePosixPath()))
        _check_room(uri, copy, sum(entry.size for entry in listed.values()))
        for file in _files_in(copy):
            if file.relative_to(copy).as_posix() not in listed:
                file.unlink()
        changed = [name for name, entry in listed.items() if not _is_same(copy / name, entry)]
        for _ in ahead(changed, lambda name: _fetch(uri, copy, name, listed[name]), depth=2 * THREADS, threads=THREADS):
            pass
    return copy, len(changed)


def _files_below(folder: str, path: PurePosixPath) -> Iterator[tuple[str, store.Entry]]:
    for entry in store.listed(folder):
        if entry.name.startswith("."):
            continue  # also .., which some stores allow as a name
        if entry.folder:
            yield from _files_below(store.join(folder, entry.name), path / entry.name)
        else:
            yield (path / entry.name).as_posix(), entry


def _files_in(copy: Path) -> list[Path]:
    return [file for file in copy.rglob("*") if file.is_file() and not file.name.startswith(".")]


def _check_room(uri: str, copy: Path, size: int) -> None:
    """Raises a DataError if a data set of `size` bytes does not fit beside the other copies."""
    text = os.environ.get(VARIABLE, str(GIGABYTES))
    try:
        limit = float(text)
    except ValueError:
        raise DataError(f"{VARIABLE}: expected a number, found {text[:40]!r}") from None
    others = [folder for folder in copy.parent.iterdir() if folder != copy]
    taken = sum(file.stat().st_size for folder in others for file in _files_in(folder))
    if size + taken > limit * 1e9:
        beside = f", beside {taken / 1e9:.2f} GB of other data sets" if taken else ""
        raise DataError(
            f"{uri}: {size / 1e9:.2f} GB{beside}: the copies in {copy.parent} may take {limit:g} GB; delete what is no "
            f"longer needed there, or set {VARIABLE}"
        )


def _is_same(file: Path, entry: store.Entry) -> bool:
    try:
        status = file.stat()
    except FileNotFoundError:
        return False
    return entry.changed > 0 and (status.st_size, status.st_mtime_ns) == (entry.size, entry.changed)


def _fetch(uri: str, copy: Path, name: str, entry: store.Entry) -> None:
    with whole_file(copy / name) as part:
        with part.open("wb") as stream:
            try:
                for chunk in store.chunks(store.join(uri, *name.split("/")), CHUNK):
                    stream.write(chunk)
            except (FileNotFoundError, PermissionError) as error:
                raise DataError(str(error)) from error
        os.utime(part, ns=(entry.changed, entry.changed))

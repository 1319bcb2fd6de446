"""results.jsonl: what became of each image, one line of JSON per image; it survives kills, and runs continue it."""

import errno
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from visionkit.files import would_be_lost, write_bytes

_HEAD, _CLAIM = b'{"settings": ', b'{"wrote": '  # how the lines begin that are not records

Stamp = Sequence[int | str]  # size and time of change of an image, then the names of the files written for it


class Journal:
    """results.jsonl of a results folder. Its first line holds the settings; the records of images follow, one per line.

    Records are appended as images are done and handed to the operating system at once, so that a killed process loses
    at most the line that it was writing; an incomplete last line is cut off when the journal is opened again. An image
    counts as done as long as its file keeps its size and time of change, and the files written for it keep their names.
    Besides records there are claims: lines that name the files in the folder that are ours. The journal takes a few
    hundred bytes of memory per image.

    Args:
        file: the journal; its folder must exist.
        settings: what the results depend on besides the images, as JSON values. A journal with other settings is
            started anew, and so is every journal if this is None; only the claims are kept.

    Raises:
        DataError: the file exists and is not a journal.
    """

    def __init__(self, file: Path, settings: dict[str, Any] | None):
        self.file, self._head = Path(file), {"settings": settings}
        self._places: dict[str, tuple[int, Stamp]] = {}  # name -> (first byte of its record, stamp)
        self._claims = claimed(self.file)
        self._lock = Lock()

    def __enter__(self) -> "Journal":
        end = self._read() if self._head["settings"] is not None and self.file.is_file() else 0
        if not end:  # started anew, but in one piece: the claims must not be lost
            content = _line(self._head)
            if self._claims:
                content += _line({"wrote": {name: sorted(digests) for name, digests in self._claims.items()}})
            write_bytes(self.file, content)
        self._handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if end:
            os.ftruncate(self._handle, end)
        self._stream = self.file.open("rb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        os.close(self._handle)

    def claim(self, names: Iterable[str]) -> None:
        """Records, before they are written, that these files in the folder are ours and may be overwritten."""
        if claims := {name: [] for name in sorted(names)}:
            self._append({"wrote": claims})

    def write(self, name: str, content: bytes) -> bool:
        """Writes a file in the folder that people may edit, unless it exists and differs from all that we wrote there.

        Returns:
            True if the file has this content now, False if it was left alone because somebody has edited it.
        """
        file, digest = self.file.parent / name, _digest(content)
        existing = _digest(file.read_bytes()) if file.is_file() else None
        ours = self._claims.get(name, ())
        if existing not in (None, digest, *ours):
            return False
        if digest not in ours:  # claimed first: after a kill in between, the file would count as somebody's edit
            self._append({"wrote": {name: [digest]}})
            self._claims.setdefault(name, set()).add(digest)
        if existing != digest:
            write_bytes(file, content)
        return True

    def done(self, name: str, stamp: Sequence[int], written: Sequence[str] = ()) -> bool:
        """Whether there is a record of `name`, made from a file with this `stamp`, and `written` was written for it."""
        if name not in self._places:
            return False
        size, changed, *names = self._places[name][1]
        return [size, changed] == list(stamp) and set(written) <= set(names)

    def add(self, name: str, stamp: Sequence[int], record: dict[str, Any], written: Sequence[str] = ()) -> None:
        """Appends the record of one image; it replaces any earlier record with that name.

        Args:
            name: of the image.
            stamp: `stamp_of` its file, taken before the file was read.
            record: see `formats`.
            written: names of the files that were written for the image.
        """
        whole_stamp = [*stamp, *written]
        place = self._append({"file": name, "stamp": whole_stamp, **record})
        self._places[name] = (place, whole_stamp)

    def records(self, names: Iterable[str], failed: Collection[int] = ()) -> "Records":
        """The records of `names` that exist, in that order, without those whose indices are in `failed`."""
        return Records(self, list(names), failed)

    def record(self, name: str) -> dict[str, Any] | None:
        """The record that was added for `name`, with `file` in it; None if there is none."""
        if name not in self._places:
            return None
        self._stream.seek(self._places[name][0])
        record = json.loads(self._stream.readline())
        record.pop("stamp")
        return record

    def _append(self, content: dict[str, Any]) -> int:
        """Appends a line, whole or not at all, and returns where it starts; may be called from several threads."""
        line = _line(content)
        with self._lock:
            place = os.lseek(self._handle, 0, os.SEEK_END)
            if os.write(self._handle, line) < len(line):  # in one piece, so that no line is inside another
                os.ftruncate(self._handle, place)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))
        return place

    def _read(self) -> int:
        """Finds the records in the file; returns where its last complete line ends, or 0 if the settings differ."""
        end = 0
        with self.file.open("rb") as stream:
            for line in stream:
                content = _parsed(line)
                if content is None or (end == 0 and content != self._head):
                    break
                if "file" in content:
                    self._places[content["file"]] = (end, content["stamp"])
                end += len(line)
        return end


class Records:
    """Records of a `Journal`, read from the file one at a time; can be iterated over any number of times."""

    def __init__(self, journal: Journal, names: list[str], failed: Collection[int]):
        self._journal, self._names, self._failed = journal, names, set(failed)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Records with `number`, the index of the image among all images, including those that could not be read."""
        for number, name in enumerate(self._names):
            if number not in self._failed and (record := self._journal.record(name)) is not None:
                yield {"number": number, **record}


def claimed(file: Path) -> dict[str, set[str]]:
    """The files that the journal `file` says are ours, whatever its settings, with digests of what we wrote to them.

    Raises:
        DataError: the file exists and is not a journal.
    """
    claims: dict[str, set[str]] = {}
    if not file.is_file():
        return claims
    with file.open("rb") as stream:
        first = stream.readline()
        if first and not first.startswith(_HEAD):
            raise would_be_lost(file)
        for line in stream:
            content = _parsed(line) if line.startswith(_CLAIM) else None
            if content is None:
                continue
            wrote = content["wrote"]
            for name in wrote:
                digests = wrote[name] if isinstance(wrote, dict) else ()  # a list of names in journals of old versions
                claims.setdefault(name, set()).update(digests)
    return claims


def earlier_settings(file: Path) -> dict[str, Any] | None:
    """The settings of the records in the journal `file`; None if it has none, or if nobody said what made them."""
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        head = _parsed(stream.readline()) or {}
        return head.get("settings") if any(b'"file": ' in line for line in stream) else None


def stamp_of(source: Path) -> list[int]:
    """Size and time of change of a file; it counts as unchanged while both stay the same."""
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The object on a line; None if the line is incomplete or holds something else."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None

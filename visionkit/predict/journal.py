"""What became of each image, a line of JSON an image: results that outlast a kill, and from which work goes on."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock

from visionkit.files import write_bytes
from visionkit.types import would_be_lost

_HEAD, _CLAIM = b'{"settings": ', b'{"wrote": '


class Journal:
    """results.jsonl of a folder of results. The first line says what made them; each other is the record of one image.

    Lines are appended as images are done and reach the operating system at once, so that a killed process loses at
    most the line it was writing; that torn line is cut off when the journal is opened again. An image counts as done
    while its file keeps size and time of change, and what is written for it its names. In memory there are a few
    hundred bytes an image.

    Args:
        file: the journal; its folder exists.
        settings: what the results depend on besides the images, as JSON knows it. A journal of other settings is begun
            anew; None begins anew always. Only what it says of written files is kept.

    Raises:
        DataError: the file is there, and no journal.
    """

    def __init__(self, file: Path, settings: dict | None):
        self.file, self._head = Path(file), {"settings": settings}
        self._places = {}  # name -> (first byte of its record, stamp)
        self._wrote = claimed(self.file)
        self._lock = Lock()

    def __enter__(self) -> "Journal":
        end = self._read() if self._head["settings"] is not None and self.file.is_file() else 0
        if not end:  # anew, but whole at once: the claims must not be lost
            wrote = {name: sorted(digests) for name, digests in self._wrote.items()}
            write_bytes(self.file, _line(self._head) + (_line({"wrote": wrote}) if wrote else b""))
        self._stream = self.file.open("r+b")
        if end:
            self._stream.truncate(end)
        return self

    def __exit__(self, kind, error, trace):
        self._stream.close()

    def claim(self, names: Iterable[str]) -> None:
        """Says, before it is so, that these files of the folder are written by us, and may be written again."""
        if claims := {name: [] for name in sorted(names)}:
            self._append({"wrote": claims})

    def write(self, name: str, content: bytes) -> bool:
        """Writes a file of the folder that people may correct: not where it is there and not as we once wrote it.

        Returns:
            whether the file is as asked for, and not left as somebody made it.
        """
        file, digest = self.file.parent / name, _digest(content)
        there, ours = _digest(file.read_bytes()) if file.is_file() else None, self._wrote.get(name, ())
        if there not in (None, digest, *ours):
            return False
        if digest not in ours:  # said before it is so: after a kill it would else count as somebody's
            self._append({"wrote": {name: [digest]}})
            self._wrote.setdefault(name, set()).add(digest)
        if there != digest:
            write_bytes(file, content)
        return True

    def done(self, name: str, stamp: Sequence[int], written: Sequence[str] = ()) -> bool:
        """Whether the record of `name` is here and was made of the file of that `stamp`, and `written` with it."""
        if name not in self._places:
            return False
        size, changed, *made = self._places[name][1]
        return [size, changed] == list(stamp) and set(written) <= set(made)

    def add(self, name: str, stamp: Sequence[int], record: dict, written: Sequence[str] = ()) -> None:
        """Appends the record of one image; it takes the place of an earlier one of that name.

        Args:
            stamp: `stamp_of` its file, before it was read.
            written: names of the files that were written for it.
        """
        stamp = [*stamp, *written]
        self._places[name] = self._append({"file": name, "stamp": stamp, **record}), stamp

    def records(self, names: Iterable[str], failed: Collection[int] = ()) -> "Records":
        """The records of those of `names` that are here, in that order, without those whose places are in `failed`."""
        return Records(self, list(names), failed)

    def record(self, name: str) -> dict | None:
        """What was added for `name`, and its `file`; None where there is nothing."""
        if name not in self._places:
            return None
        self._stream.seek(self._places[name][0])
        found = json.loads(self._stream.readline())
        found.pop("stamp")
        return found

    def _append(self, content: dict) -> int:
        with self._lock:
            place = self._stream.seek(0, os.SEEK_END)
            self._stream.write(_line(content))
            self._stream.flush()
        return place

    def _read(self) -> int:
        """Notes what is in the file and returns where its last whole line ends; 0 if it is of other settings."""
        end = 0
        with self.file.open("rb") as stream:
            for line in stream:
                content = _whole(line)
                if content is None or (end == 0 and content != self._head):
                    break
                if "file" in content:
                    self._places[content["file"]] = end, content["stamp"]
                end += len(line)
        return end


class Records:
    """Iterates over records of a `Journal`, read from the file one at a time; as often as one likes."""

    def __init__(self, journal: Journal, names: list[str], failed: Collection[int]):
        self._journal, self._names, self._failed = journal, names, set(failed)

    def __iter__(self) -> Iterator[dict]:
        """Records with `number`, the place of the image among all, also of those that could not be read."""
        for number, name in enumerate(self._names):
            if number not in self._failed and (record := self._journal.record(name)) is not None:
                yield {"number": number, **record}


def claimed(file: Path) -> dict[str, set[str]]:
    """The files that the journal `file`, of whatever settings, says are ours, with the digests that they have had.

    Raises:
        DataError: the file is there, and no journal.
    """
    found = {}
    if file.is_file():
        with file.open("rb") as stream:
            if not (first := stream.readline()).startswith(_HEAD) and first:
                raise would_be_lost(file)
            for line in stream:
                if line.startswith(_CLAIM):
                    wrote = (_whole(line) or {}).get("wrote", {})
                    for name in wrote:
                        found.setdefault(name, set()).update(wrote[name] if isinstance(wrote, dict) else ())
    return found


def stamp_of(source: Path) -> list[int]:
    """By which a file is known not to have changed: its size and its time of change."""
    found = source.stat()
    return [found.st_size, found.st_mtime_ns]


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _line(content: dict) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"


def _whole(line: bytes) -> dict | None:
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None

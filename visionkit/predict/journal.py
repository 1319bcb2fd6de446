"""What became of each image, a line of JSON an image: results that outlast a kill, and from which work goes on."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from visionkit.images import unfinished

_CLAIM = b'{"wrote": '


class Journal:
    """results.jsonl of a folder of results. The first line says what made them; each other is the record of one image.

    Lines are appended as images are done and reach the operating system at once, so that a killed process loses at
    most the line it was writing; that torn line is cut off when the journal is opened again. An image counts as done
    while its file keeps size and time of change, and what is written for it its names. In memory there are a few
    hundred bytes an image.

    Args:
        file: the journal; its folder exists.
        settings: what the results depend on besides the images, as JSON knows it. A journal of other settings is begun
            anew; None begins anew always. Only its claims are kept.
    """

    def __init__(self, file: Path, settings: dict | None):
        self.file, self._head = Path(file), {"settings": settings}
        self._places = {}  # name -> (first byte of its record, stamp)

    def __enter__(self) -> "Journal":
        claims = claimed(self.file)
        end = self._read() if self._head["settings"] is not None and self.file.is_file() else 0
        self._stream = self.file.open("r+b" if end else "w+b")
        self._stream.truncate(end)
        self._stream.seek(end)
        if not end:
            self._append(self._head)
            self.claim(claims)
        return self

    def __exit__(self, kind, error, trace):
        self._stream.close()

    def claim(self, written: Iterable[str]) -> None:
        """Says, before it is so, that these files of the folder are written by us, and may be written again."""
        if written := sorted(written):
            self._append({"wrote": written})

    def done(self, name: str, source: Path, written: Sequence[str] = ()) -> bool:
        """Whether the record of `name` is here and was made of the file `source` as it is now, with files `written`."""
        return name in self._places and self._places[name][1] == [*_stamp(source), *written]

    def add(self, name: str, source: Path, record: dict, written: Sequence[str] = ()) -> None:
        """Appends the record of one image; it takes the place of an earlier one of that name."""
        stamp = [*_stamp(source), *written]
        self._places[name] = self._append({"file": name, "stamp": stamp, **record}), stamp

    def records(self, names: Iterable[str], fresh: Collection[int] = (), failed: Collection[int] = ()) -> "Records":
        """The records of those of `names` that are here, in that order, without those whose places are in `failed`."""
        return Records(self, list(names), fresh, failed)

    def record(self, name: str) -> dict | None:
        """What was added for `name`, and its `file`; None where there is nothing."""
        if name not in self._places:
            return None
        self._stream.seek(self._places[name][0])
        found = json.loads(self._stream.readline())
        found.pop("stamp")
        return found

    def _append(self, content: dict) -> int:
        place = self._stream.seek(0, os.SEEK_END)
        self._stream.write(json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass") + b"\n")
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

    def __init__(self, journal: Journal, names: list[str], fresh: Collection[int], failed: Collection[int]):
        self._journal, self._names, self._fresh, self._failed = journal, names, set(fresh), set(failed)

    def __iter__(self) -> Iterator[dict]:
        """Records with `number`, the place of the image among all, also of those that could not be read, and `fresh`,
        whether it is among those given as such."""
        for number, name in enumerate(self._names):
            if number not in self._failed and (record := self._journal.record(name)) is not None:
                yield {"number": number, "fresh": number in self._fresh, **record}


def claimed(file: Path) -> set[str]:
    """What `Journal.claim` was told in the journal `file`, of whatever settings."""
    found = set()
    if file.is_file():
        with file.open("rb") as stream:
            for line in stream:
                if line.startswith(_CLAIM):
                    found.update((_whole(line) or {}).get("wrote", ()))
    return found


def _stamp(source: Path) -> list[int]:
    found = source.stat()
    return [found.st_size, found.st_mtime_ns]


def _whole(line: bytes) -> dict | None:
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def whole_file(file: Path, errors: str = "surrogateescape"):
    """Opens a text file that appears, whole, when the block ends well; otherwise what was there before stays.

    Args:
        errors: what becomes of a file's name that is not UTF-8, and so reached Python as surrogates: by default it is
            written as it came; "backslashreplace" makes valid JSON of it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = unfinished(file)
    try:
        with part.open("w", encoding="utf-8", errors=errors, newline="") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)

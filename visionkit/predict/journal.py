"""What became of each image, a line of JSON an image: results that outlast a kill, and from which work goes on."""

import hashlib
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
            anew; None begins anew always. Only what it says of written files is kept.
    """

    def __init__(self, file: Path, settings: dict | None):
        self.file, self._head = Path(file), {"settings": settings}
        self._places = {}  # name -> (first byte of its record, stamp)
        self._wrote = {}  # as of `claimed`

    def __enter__(self) -> "Journal":
        self._wrote = claimed(self.file)
        end = self._read() if self._head["settings"] is not None and self.file.is_file() else 0
        self._stream = self.file.open("r+b" if end else "w+b")
        self._stream.truncate(end)
        self._stream.seek(end)
        if not end:
            self._append(self._head)
            if self._wrote:
                self._append({"wrote": self._wrote})
        return self

    def __exit__(self, kind, error, trace):
        self._stream.close()

    def claim(self, names: Iterable[str]) -> None:
        """Says, before it is so, that files of the folder are written by us, and may be written again."""
        if claims := dict.fromkeys(sorted(names)):
            self._wrote |= claims
            self._append({"wrote": claims})

    def wrote(self, name: str) -> None:
        """Says of a file that is written that it is ours as it is now, so that a change by others will be seen."""
        digest = _digest((self.file.parent / name).read_bytes())
        if self._wrote.get(name) != digest:
            self._wrote[name] = digest
            self._append({"wrote": {name: digest}})

    def corrected(self, name: str) -> bool:
        """Whether a file of the folder is there, and not as we left it: somebody changed it, or put it there."""
        file = self.file.parent / name
        if not file.is_file():
            return False
        return name not in self._wrote or self._wrote[name] not in (None, _digest(file.read_bytes()))

    def write(self, texts: Iterable[tuple[str, str]]) -> list[str]:
        """Writes text files of the folder, given as (name, text), but for `corrected` ones, whose names it returns."""
        left = []
        for name, text in texts:
            file = self.file.parent / name
            if file.is_file() and file.read_bytes() == text.encode(errors="replace"):
                self.wrote(name)  # also where a killed run wrote it, and could not say so
            elif self.corrected(name):
                left.append(name)
            else:
                with whole_file(file, errors="replace") as stream:
                    stream.write(text)
                self.wrote(name)
        return left

    def done(self, name: str, source: Path, written: Sequence[str] = ()) -> bool:
        """Whether the record of `name` is here and was made of the file `source` as it is now, with files `written`."""
        return name in self._places and self._places[name][1] == [*_stamp(source), *written]

    def add(self, name: str, source: Path, record: dict, written: Sequence[str] = ()) -> None:
        """Appends the record of one image; it takes the place of an earlier one of that name."""
        stamp = [*_stamp(source), *written]
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

    def __init__(self, journal: Journal, names: list[str], failed: Collection[int]):
        self._journal, self._names, self._failed = journal, names, set(failed)

    def __iter__(self) -> Iterator[dict]:
        """Records with `number`, the place of the image among all, also of those that could not be read."""
        for number, name in enumerate(self._names):
            if number not in self._failed and (record := self._journal.record(name)) is not None:
                yield {"number": number, **record}


def claimed(file: Path) -> dict[str, str | None]:
    """The files that the journal `file`, of whatever settings, says are ours; with a digest those that were said to be
    as they were then."""
    found = {}
    if file.is_file():
        with file.open("rb") as stream:
            for line in stream:
                if line.startswith(_CLAIM):
                    found |= (_whole(line) or {}).get("wrote", {})
    return found


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


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

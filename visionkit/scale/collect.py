"""The results of all shards as the files that `detect` writes for a folder of images, read one shard at a time."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from visionkit.files import whole_text
from visionkit.predict.formats import AREAS, BEST, LABELS, TABLES, write_areas, write_classes
from visionkit.scale import store
from visionkit.scale.rows import record_of
from visionkit.scale.shard import Work, read_rows
from visionkit.types import DataError

PARQUET = "parquet"  # the format that is there anyway
JSON_LINES = "jsonl"
_Write = Callable[[Path, "ScaleRecords", Sequence[str]], None]


class ScaleRecords:
    """Records as `predict.formats` takes them, of all shards; can be iterated over any number of times.

    Args:
        work: where the results are.
        names: of the shards, in order.
        root: the folder to which the names of images are relative; None leaves whole URIs.
        errors: yield records of images that could not be read as well: `number`, `file` and `error`.
    """

    def __init__(self, work: Work, names: Sequence[str], root: str | None, errors: bool = False):
        self._work, self._names, self._errors = work, names, errors
        self._root, self._query = "", ""
        if root is not None:
            folder = store.join(root, "")
            self._root = store.without_query(folder)
            self._query = folder[len(self._root) :]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = -1
        for name in self._names:
            for row in read_rows(self._work.result(name)):
                number += 1
                record = {"number": number, "file": self._file(row["uri"])}
                if row["error"] is None:
                    yield record | record_of(row)
                elif self._errors:
                    yield record | {"error": row["error"]}

    def _file(self, uri: str) -> str:
        return uri.removesuffix(self._query).removeprefix(self._root)


def check_formats(formats: Iterable[str], task: str) -> None:
    """Raises a `DataError` for a format that is not written at this scale."""
    known = (*_tables(task), JSON_LINES, PARQUET)
    for name in formats:
        if name in LABELS:
            raise DataError(f"--format {name}: one file an image is not written at scale; take coco, or leave it out")
        if name not in known:
            raise DataError(f"no format {name!r}; at scale there are {', '.join(known)}")


def files_of(formats: Iterable[str], task: str) -> dict[str, _Write]:
    """By the name of each file that is written: what writes it into a local folder."""
    known = _tables(task) | {JSON_LINES: ("results.jsonl", _write_lines)}
    return {known[name][0]: known[name][1] for name in formats if name != PARQUET}


def _tables(task: str) -> dict[str, tuple[str, _Write]]:
    """By format: a file and what writes it."""
    others: dict[str, dict[str, tuple[str, _Write]]] = {
        "classify": {"csv": (BEST, write_classes)},
        "segment": {"csv": (AREAS, write_areas)},
        "stylize": {},
    }
    return others.get(task, dict(TABLES))


def collect(
    work: Work, names: Sequence[str], root: str | None, class_names: Sequence[str], formats: Iterable[str]
) -> None:
    """Writes the files of `formats` into the output folder; see `ScaleRecords` for the arguments.

    Raises:
        DataError: one of them could not be written.
        Unreachable: the store does not answer.
    """
    for file, write in files_of(formats, work.task).items():
        records = ScaleRecords(work, names, root, errors=write is _write_lines)
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), records, class_names)
            store.put(Path(folder) / file, store.join(work.out, file))


def _write_lines(out: Path, records: ScaleRecords, class_names: Sequence[str]) -> None:
    with whole_text(out / "results.jsonl", errors="backslashreplace") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")

"""Checkpoints: one file each, written whole or not at all, verified when read; the newest few are kept.

A file begins with three lines of text: its kind, the SHA-256 of everything after that second line, and the JSON
{"state": ..., "arrays": [{"name", "dtype", "shape"}, ...]}. The arrays' values follow as bytes, one array after the
other. Reading executes nothing.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from visionkit.files import remove_temporary, whole_file
from visionkit.types import DataError

MAGIC = b"visionkit checkpoint 1\n"
SUFFIX = ".ckpt"


def save(folder: Path, step: int, arrays: dict[str, np.ndarray], state: dict, keep: int = 3) -> Path:
    """Writes the checkpoint of `step` and removes all but the newest `keep`.

    Args:
        folder: must exist.
        step: of two checkpoints, the one with the higher step is the newer.
        arrays: any names; booleans, integers and floats of any shape.
        state: what JSON can hold; NumPy's numbers and arrays become plain numbers and lists.

    Returns:
        The file.

    Raises:
        DataError: it could not be written; the earlier ones are still there.
    """
    parts = [np.ascontiguousarray(array) for array in arrays.values()]
    entries = [
        {"name": name, "dtype": part.dtype.str, "shape": list(array.shape)}
        for (name, array), part in zip(arrays.items(), parts, strict=True)
    ]
    head = json.dumps({"state": state, "arrays": entries}, default=lambda value: value.tolist()).encode() + b"\n"
    digest = hashlib.sha256(head)
    for part in parts:
        digest.update(part.data)

    file = folder / f"step-{step:09}{SUFFIX}"
    with whole_file(file, sync=True) as path, path.open("wb") as stream:
        stream.write(MAGIC + digest.hexdigest().encode() + b"\n" + head)
        for part in parts:
            stream.write(part.data)
    remove_old(folder, keep)
    return file


def remove_old(folder: Path, keep: int) -> None:
    """Removes all checkpoints but the newest `keep`."""
    for old in _newest_first(folder)[keep:]:
        old.unlink()


def read(file: Path) -> tuple[dict[str, np.ndarray], dict]:
    """(arrays, state) of one checkpoint.

    Raises:
        DataError: the file is damaged, or not a checkpoint.
    """
    magic, _, rest = file.read_bytes().partition(b"\n")
    digest, _, rest = rest.partition(b"\n")
    if magic + b"\n" != MAGIC or hashlib.sha256(rest).hexdigest().encode() != digest:
        raise DataError(f"{file}: damaged: its content is not what was written")
    end = rest.index(b"\n") + 1
    head = json.loads(rest[:end])
    arrays = {}
    for entry in head["arrays"]:
        dtype, shape = np.dtype(entry["dtype"]), entry["shape"]
        count = int(np.prod(shape, dtype=np.int64))
        arrays[entry["name"]] = np.frombuffer(rest, dtype, count, end).reshape(shape).copy()
        end += count * dtype.itemsize
    return arrays, head["state"]


def newest(folder: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """(arrays, state) of the newest undamaged checkpoint, or None when there are no checkpoints.

    A damaged one is reported, renamed to NAME.damaged and skipped.

    Raises:
        DataError: there are checkpoints, but all are damaged.
    """
    remove_temporary(folder, SUFFIX)  # left by a process that was killed while writing
    files = _newest_first(folder)
    for file in files:
        try:
            return read(file)
        except DataError:
            print(f"{file} is damaged; going back to the checkpoint before it")
            file.rename(file.with_name(f"{file.name}.damaged"))
    if files:
        raise DataError(f"{folder}: all {len(files)} checkpoints are damaged; start a new run")
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"step-*{SUFFIX}"), reverse=True)

"""Checkpoints: one file each, written whole or not at all, verified when read; the newest few are kept.

A file begins with three lines of text: its kind, the SHA-256 of everything after that second line, and the JSON
{"state": ..., "arrays": [{"name", "dtype", "shape"}, ...]}. The arrays' values follow as bytes, one array after the
other. Reading executes nothing.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.files import remove_temporary, whole_file
from visionkit.types import DataError

MAGIC = b"visionkit checkpoint 1\n"
SUFFIX = ".ckpt"
_NAME = re.compile(r"step-(\d{9,})" + re.escape(SUFFIX))


def save(folder: Path, step: int, arrays: dict[str, np.ndarray], state: dict, keep: int = 3) -> Path:
    """Writes the checkpoint of `step` and removes older ones, so that `keep` are left.

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
    remove_old(folder, step, keep)
    return file


def remove_old(folder: Path, step: int, keep: int) -> None:
    """Removes all but the newest `keep` of the checkpoints up to `step`, which is the one written last.

    Files with a higher step are none of this run's: they neither count nor are they removed.
    """
    for old in [file for file in _newest_first(folder) if _step(file) <= step][keep:]:
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
    try:
        return _parse(rest)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        # The digest fits, so somebody made it this way.
        raise DataError(f"{file}: damaged: its content is not that of a checkpoint ({type(error).__name__})") from error


def _parse(content: bytes) -> tuple[dict[str, np.ndarray], dict]:
    """(arrays, state) from what follows the digest; any of several errors where it is something else."""
    end = content.index(b"\n") + 1
    head = json.loads(content[:end])
    arrays = {}
    for entry in head["arrays"]:
        dtype, shape = np.dtype(entry["dtype"]), entry["shape"]
        if dtype.kind not in "biufV" or dtype.hasobject or not all(_is_count(size) for size in shape):
            raise ValueError(entry)
        count = math.prod(shape)
        arrays[entry["name"]] = np.frombuffer(content, dtype, count, end).reshape(shape).copy()
        end += count * dtype.itemsize
    if end != len(content) or not isinstance(head["state"], dict):
        raise ValueError(end)
    return arrays, head["state"]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def newest(
    folder: Path, check: Callable[[dict], None] = lambda state: None
) -> tuple[dict[str, np.ndarray], dict] | None:
    """(arrays, state) of the newest undamaged checkpoint, or None when there are no checkpoints.

    A damaged one is reported, renamed to NAME.damaged and skipped.

    Args:
        folder: need not exist.
        check: raises a `DataError` for a state that cannot be gone on from; its checkpoint counts as damaged.

    Raises:
        DataError: there are checkpoints, but all are damaged.
    """
    remove_temporary(folder, SUFFIX)  # left by a process that was killed while writing
    files = _newest_first(folder)
    for file in files:
        try:
            arrays, state = read(file)
            check(state)
            return arrays, state
        except DataError:
            print(f"{file} is damaged; going back to the checkpoint before it")
            file.rename(file.with_name(f"{file.name}.damaged"))
    if files:
        raise DataError(f"{folder}: all {len(files)} checkpoints are damaged; start a new run")
    return None


def _newest_first(folder: Path) -> list[Path]:
    files = [file for file in folder.glob(f"step-*{SUFFIX}") if _NAME.fullmatch(file.name) and file.is_file()]
    return sorted(files, key=_step, reverse=True)


def _step(file: Path) -> int:
    match = _NAME.fullmatch(file.name)
    assert match is not None  # of `_newest_first`
    return int(match[1])

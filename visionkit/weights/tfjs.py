"""Reads the weights of TensorFlow.js models (`model.json` and its `.bin` files) without executing anything.

The JSON file lists the tensors in the order in which they are stored in the binary files, each with its name, shape and
type and, if its numbers are stored in fewer bits, how to restore them. The graph in the same file is ignored.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from visionkit.types import DataError

MAX_BYTES = 1 << 30  # larger files are refused
MAX_TENSORS = 100_000
_TYPES = {"float32": "<f4", "int32": "<i4", "bool": "?", "uint8": "u1", "uint16": "<u2", "float16": "<f2"}


def read_tfjs_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a model.

    Args:
        file: the JSON file; the binary files that it names must be in the same folder.

    Returns:
        Tensor name -> array of the type that the model computes with: float32, int32 or bool.

    Raises:
        DataError: not such a file, a binary file that is missing or does not have the size given by the list, or files
            larger than `MAX_BYTES`. The message names the file.
    """
    file = Path(file)
    try:
        groups = json.loads(_read(file))["weightsManifest"]
        tensors: dict[str, np.ndarray] = {}
        for group in groups:
            data = b"".join(_read(_beside(file, name)) for name in group["paths"])
            tensors.update(_cut(data, group["weights"]))
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: not the weights of a TensorFlow.js model ({type(error).__name__}: {error})"
        ) from error
    if not tensors:
        raise DataError(f"{file}: it holds no tensors")
    return tensors


def _beside(file: Path, name: Any) -> Path:
    """The binary file of that name in the folder of `file`; a path that leads elsewhere is refused."""
    if not isinstance(name, str) or name in ("", ".", "..") or any(c in name for c in "/\\\0"):
        raise DataError(f"expected the name of a file beside it, found {str(name)[:60]!r}")
    return file.with_name(name)


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{file.name} has {size} bytes; models up to {MAX_BYTES} bytes are read")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read ({error.strerror})") from None


def _cut(data: bytes, listed: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The tensors of one group, which must fill `data` to its last byte."""
    tensors: dict[str, np.ndarray] = {}
    offset = 0
    if len(listed) > MAX_TENSORS:
        raise DataError(f"lists {len(listed)} tensors; up to {MAX_TENSORS} are read")
    for entry in listed:
        name, shape, dtype = str(entry["name"]), entry["shape"], entry["dtype"]
        stored = entry.get("quantization", {}).get("dtype", dtype)
        if dtype not in ("float32", "int32", "bool") or stored not in _TYPES:
            raise DataError(f"{name}: expected float32, int32 or bool, found {dtype} stored as {stored}")
        if not all(type(side) is int and side >= 0 for side in shape):
            raise DataError(f"{name}: expected a shape of whole numbers of 0 or more, found {shape}")
        count, kind = math.prod(shape), np.dtype(_TYPES[stored])
        end = offset + count * kind.itemsize
        if end > len(data):
            raise DataError(f"{name}: its {shape} end at byte {end} of {len(data)}")
        numbers = np.frombuffer(data, kind, count, offset).reshape(shape)
        tensors[name] = _widened(numbers, dtype, entry.get("quantization", {}))
        offset = end
    if offset != len(data):
        raise DataError(f"the tensors take {offset} bytes, but there are {len(data)}")
    return tensors


def _widened(numbers: np.ndarray, dtype: str, quantization: dict[str, Any]) -> np.ndarray:
    """The numbers in the type `dtype`; those stored in 8 or 16 bits have a scale and a minimum."""
    if quantization and numbers.dtype.kind == "u":
        scale, least = float(quantization["scale"]), float(quantization["min"])
        numbers = numbers * scale + least
        if dtype == "int32":
            numbers = np.round(numbers)
    return numbers.astype(_TYPES[dtype])

"""Reads the weights of TensorFlow.js models (`model.json` and its `.bin` files) without executing anything.

The JSON file lists the tensors in the order in which their numbers follow one another in the binary files: name,
shape, type and, where the numbers are stored in fewer bits, how. The graph that stands beside the list is not looked
at.
"""

import json
import math
from pathlib import Path

import numpy as np

from visionkit.types import DataError

MAX_BYTES = 1 << 30  # a model whose files are larger than this is refused
MAX_TENSORS = 100_000
_TYPES = {"float32": "<f4", "int32": "<i4", "bool": "?", "uint8": "u1", "uint16": "<u2", "float16": "<f2"}


def read_tfjs_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a model.

    Args:
        file: the JSON file; the binary files that it names lie in the same folder.

    Returns:
        Tensor name -> array of the type that the model computes in: float32, int32 or bool.

    Raises:
        DataError: not such a file, a binary file that is missing or of another size than the list says, or files
            larger than `MAX_BYTES`. The message names the file.
    """
    file = Path(file)
    try:
        groups = json.loads(_read(file))["weightsManifest"]
        tensors = {}
        for group in groups:
            data = b"".join(_read(_beside(file, name)) for name in group["paths"])
            tensors |= _cut(data, group["weights"])
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise DataError(
            f"{file}: not the weights of a TensorFlow.js model ({type(error).__name__}: {error})"
        ) from error
    if not tensors:
        raise DataError(f"{file}: it holds no tensors")
    return tensors


def _beside(file, name):
    """The binary file of that name in the folder of `file`; a path that leads elsewhere is refused."""
    if not isinstance(name, str) or name in ("", ".", "..") or any(c in name for c in "/\\\0"):
        raise DataError(f"expected the name of a file beside it, found {str(name)[:60]!r}")
    return file.with_name(name)


def _read(file):
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{file.name} has {size} bytes; models up to {MAX_BYTES} bytes are read")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file.name} cannot be read ({error.strerror})") from None


def _cut(data, listed):
    """The tensors of one group, which fill `data` to its last byte."""
    tensors, offset = {}, 0
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


def _widened(numbers, dtype, quantization):
    """Numbers as the model computes with them: whole numbers of 8 or 16 bits have a scale and a least value."""
    if quantization and numbers.dtype.kind == "u":
        scale, least = float(quantization["scale"]), float(quantization["min"])
        numbers = numbers * scale + least
        if dtype == "int32":
            numbers = np.round(numbers)
    return numbers.astype(_TYPES[dtype])

"""Reads PyTorch checkpoints (`.pth`, `.pt`, `.th`, `.bin`) without PyTorch and without executing anything.

A checkpoint is a pickled dict of tensors, together with raw storages: a zip archive since torch 1.6, before that one
stream of pickles and bytes ("legacy"). `unpickle` interprets the pickles.
"""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from visionkit import limits
from visionkit.types import DataError
from visionkit.weights.unpickle import Storage, StoredTensor, check_key, named, unpickle

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_torch_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint.

    Args:
        file: a zip or legacy torch file holding a state dict, or a dict with one under `state_dict` or `model`.

    Returns:
        Tensor name -> read-only array of the stored type, float32 for bfloat16. DataParallel's prefix `module.` is
        removed.

    Raises:
        DataError: not a torch file, truncated, larger than `limits.TORCH`, with a tensor outside its storage, or with a
            global other than tensors and plain containers (such a pickle would run code). The message names the file
            and the global.
    """
    file = Path(file)
    size = file.stat().st_size
    limits.check(size, limits.TORCH, f"{file}: {size} bytes; torch files up to {{limit}} bytes are read")
    try:
        data = file.read_bytes()
        tree, storages = _read_zip(data) if data[:2] == b"PK" else _read_legacy(data)
        for key in ("state_dict", "model"):
            if isinstance(tree, dict) and isinstance(tree.get(key), dict):
                tree = tree[key]
        if not isinstance(tree, dict):
            raise DataError(f"expected a dict of tensors, found {type(tree).__name__}")
        tensors = {
            str(name).removeprefix("module."): _cut(name, tensor, storages)
            for name, tensor in tree.items()
            if isinstance(tensor, StoredTensor)
        }
        if not tensors:
            raise DataError("it holds no tensors")
        return tensors
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(f"{file}: not a complete torch file ({type(error).__name__}: {error})") from error


def _read_zip(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DataError(f"expected one data.pkl in the archive, found {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise DataError("expected an archive without compression, as torch writes it")
        if sum(info.file_size for info in archive.infolist()) > len(data):
            raise DataError("its storages overlap")
        if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
            raise DataError("expected little-endian storages")
        used: dict[str, Storage] = {}
        tree = unpickle(io.BytesIO(archive.read(pickles[0])), used)
        arrays = {s.key: _numbers(archive.read(f"{root}data/{s.key}"), s.dtype) for s in used.values()}
    return tree, arrays


def _read_legacy(data: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    stream = io.BytesIO(data)
    used: dict[str, Storage] = {}
    if not data.startswith(b"\x80") or unpickle(stream, {}) != _LEGACY_MAGIC:
        raise DataError("neither a zip nor a legacy torch file")
    if (protocol := unpickle(stream, {})) != _LEGACY_PROTOCOL:
        raise DataError(f"expected legacy protocol {_LEGACY_PROTOCOL}, found {named(protocol)}")
    if not unpickle(stream, {}).get("little_endian", True):
        raise DataError("expected little-endian storages")
    tree = unpickle(stream, used)
    arrays: dict[str, np.ndarray] = {}
    for key in unpickle(stream, {}):
        check_key(key)
        (length,) = struct.unpack("<q", stream.read(8))
        if length != used[key].length:
            raise DataError(f"storage {key}: {length} elements stored, {used[key].length} announced")
        arrays[key] = _numbers(data, used[key].dtype, length, stream.tell())
        stream.seek(length * _bytes_each(used[key].dtype), io.SEEK_CUR)
    return tree, arrays


def _numbers(data: bytes, dtype: str, count: int = -1, offset: int = 0) -> np.ndarray:
    """The values of a storage."""
    if dtype != "bfloat16":
        return np.frombuffer(data, dtype, count, offset)
    upper = np.frombuffer(data, "<u2", count, offset).astype("<u4")  # half of a float32
    return (upper << 16).view("<f4")


def _bytes_each(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _cut(name: Any, tensor: StoredTensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    """The array of a tensor, after checking that every element lies inside its storage."""
    storage = storages[tensor.storage.key]
    numbers = (tensor.offset, *tensor.size, *tensor.stride)
    if len(tensor.size) != len(tensor.stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise DataError(
            f"{name}: bad offset, size or stride: expected whole numbers of 0 or more, as many strides as sizes"
        )
    if 0 in tensor.size:
        return np.zeros(tensor.size, storage.dtype)
    last, count = tensor.offset, 1
    for size, stride in zip(tensor.size, tensor.stride, strict=True):
        last += (size - 1) * stride
        count *= size
    if last >= len(storage) or count > len(storage):  # the second refuses a stride of 0, which repeats elements
        raise DataError(
            f"{name}: size {tensor.size}, stride {tensor.stride} from {tensor.offset} exceeds {len(storage)}"
        )
    strides = [stride * storage.itemsize for stride in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)

"""Reads PyTorch checkpoints (`.pth`, `.pt`, `.th`, `.bin`) without PyTorch and without executing anything.

A checkpoint is a pickle of a dict of tensors beside raw storages: a zip archive since torch 1.6, one stream of
pickles and bytes ("legacy") before it. Instead of Python's unpickler, which calls what the file tells it to, a
small interpreter walks the opcodes and knows only plain values and the few globals of `_GLOBALS`.
"""

import io
import pickletools
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit.types import DataError

MAX_BYTES = 4 << 30  # a file, or the storages of an archive taken together, larger than this is refused

_STORAGES = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MARK = object()


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class _Tensor:
    """A view into a storage, in elements; bounds are checked when it is cut out."""

    storage: _Storage
    offset: int
    size: tuple
    stride: tuple


def _rebuild_tensor(storage, offset, size, stride, *_):
    return _Tensor(storage, offset, tuple(size), tuple(stride))


_GLOBALS = {
    "collections OrderedDict": lambda items=(): OrderedDict(items),
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "torch Size": lambda size=(): tuple(size),
    **_STORAGES,
}


def read_torch_file(file: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a checkpoint.

    Args:
        file: a zip or legacy torch file holding a state dict, or a dict with one under `state_dict` or `model`.

    Returns:
        Tensor name -> read-only array of the stored type. The prefix `module.` of DataParallel is removed.

    Raises:
        DataError: not a torch file, truncated, larger than `MAX_BYTES`, a tensor outside its storage, or any global
            other than tensors and plain containers (a pickle that would run code). The message names file and global.
    """
    file = Path(file)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{file}: {size} bytes; torch files up to {MAX_BYTES} bytes are read")
    try:
        data = file.read_bytes()
        tree, storages = _read_zip(data) if data[:2] == b"PK" else _read_legacy(data)
        for key in ("state_dict", "model"):
            if isinstance(tree, dict) and isinstance(tree.get(key), dict):
                tree = tree[key]
        if not isinstance(tree, dict):
            raise DataError(f"expected a dict of tensors, found {type(tree).__name__}")
        found = {
            str(name).removeprefix("module."): _cut(name, tensor, storages)
            for name, tensor in tree.items()
            if isinstance(tensor, _Tensor)
        }
        if not found:
            raise DataError("it holds no tensors")
        return found
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
        raise DataError(f"{file}: not a whole torch file ({type(error).__name__}: {error})") from error


def _read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DataError(f"expected one data.pkl in the archive, found {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise DataError("expected an archive without compression, as torch writes it")
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:  # entries may overlap
            raise DataError(f"its storages take more than {MAX_BYTES} bytes")
        if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
            raise DataError("expected little-endian storages")
        used = {}
        tree = _unpickle(io.BytesIO(archive.read(pickles[0])), used)
        arrays = {s.key: np.frombuffer(archive.read(f"{root}data/{s.key}"), s.dtype) for s in used.values()}
    return tree, arrays


def _read_legacy(data):
    stream, used = io.BytesIO(data), {}
    if not data.startswith(b"\x80") or _unpickle(stream, {}) != _LEGACY_MAGIC:
        raise DataError("neither a zip nor a legacy torch file")
    if (protocol := _unpickle(stream, {})) != _LEGACY_PROTOCOL:
        raise DataError(f"expected legacy protocol {_LEGACY_PROTOCOL}, found {protocol!r}")
    if not _unpickle(stream, {}).get("little_endian", True):
        raise DataError("expected little-endian storages")
    tree = _unpickle(stream, used)
    arrays = {}
    for key in _unpickle(stream, {}):
        (length,) = struct.unpack("<q", stream.read(8))
        if length != used[key].length:
            raise DataError(f"storage {key}: {length} elements stored, {used[key].length} announced")
        arrays[key] = np.frombuffer(data, used[key].dtype, length, stream.tell())
        stream.seek(arrays[key].nbytes, io.SEEK_CUR)
    return tree, arrays


def _cut(name, tensor, storages):
    """The array of a tensor, after checking that every element lies inside its storage."""
    storage, numbers = storages[tensor.storage.key], (tensor.offset, *tensor.size, *tensor.stride)
    if len(tensor.size) != len(tensor.stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise DataError(f"{name}: bad offset, size or stride {tensor.offset} {tensor.size} {tensor.stride}")
    if 0 in tensor.size:
        return np.zeros(tensor.size, storage.dtype)
    last, count = tensor.offset, 1
    for size, stride in zip(tensor.size, tensor.stride, strict=True):
        last, count = last + (size - 1) * stride, count * size
    if last >= len(storage) or count > len(storage):  # the second refuses a stride of 0, which repeats elements
        raise DataError(
            f"{name}: size {tensor.size}, stride {tensor.stride} from {tensor.offset} exceeds {len(storage)}"
        )
    strides = [stride * storage.itemsize for stride in tensor.stride]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)


def _unpickle(stream, storages):
    """Interprets one pickle up to its STOP; `storages` collects the storages it refers to."""
    stack, memo = [], {}

    def since_mark():
        at = len(stack) - 1 - stack[::-1].index(_MARK)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def items_into(container, items):
        if isinstance(container, list):
            container.extend(items)
        elif isinstance(container, dict):
            container.update(zip(items[::2], items[1::2], strict=True))
        else:
            raise DataError(f"cannot put items into {type(container).__name__}")

    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            pass
        elif name == "STOP":
            return stack.pop()
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name == "LIST":
            stack.append(since_mark())
        elif name == "DICT":
            items = since_mark()
            stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        elif name in ("APPENDS", "SETITEMS"):
            items = since_mark()
            items_into(stack[-1], items)
        elif name == "APPEND":
            item = stack.pop()
            items_into(stack[-1], [item])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            items_into(stack[-1], [key, value])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                argument = f"{module} {attribute}"
            if argument not in _GLOBALS:
                raise DataError(f"refused global {argument.replace(' ', '.')}: a weights file must hold tensors only")
            stack.append(_GLOBALS[argument])
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not callable(function):
                raise DataError(f"refused to call {function!r}")
            stack.append(function(*arguments))
        elif name == "BUILD":  # attributes of a state dict (`_metadata`): nothing we need
            stack.pop()
        elif name == "BINPERSID":
            kind, dtype, key, _, length, *view = stack.pop()
            if kind != "storage" or dtype not in _STORAGES.values() or any(v is not None for v in view):
                raise DataError(f"refused persistent object {kind!r} of {dtype!r}")
            stack.append(storages.setdefault(key, _Storage(key, dtype, length)))
        else:
            raise DataError(f"refused pickle opcode {name}")
    raise EOFError("pickle without an end")


_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}

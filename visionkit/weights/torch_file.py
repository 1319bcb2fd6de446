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
    "torch BFloat16Storage": "bfloat16",
}
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


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


def _ordered(items):
    for key, _ in items:
        _check_key(key)
    return OrderedDict(items)


_GLOBALS = {
    "collections OrderedDict": lambda items=(): _ordered(items),
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
        Tensor name -> read-only array of the stored type, float32 for bfloat16. The prefix `module.` of DataParallel is
        removed.

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
        arrays = {s.key: _numbers(archive.read(f"{root}data/{s.key}"), s.dtype) for s in used.values()}
    return tree, arrays


def _read_legacy(data):
    stream, used = io.BytesIO(data), {}
    if not data.startswith(b"\x80") or _unpickle(stream, {}) != _LEGACY_MAGIC:
        raise DataError("neither a zip nor a legacy torch file")
    if (protocol := _unpickle(stream, {})) != _LEGACY_PROTOCOL:
        raise DataError(f"expected legacy protocol {_LEGACY_PROTOCOL}, found {_named(protocol)}")
    if not _unpickle(stream, {}).get("little_endian", True):
        raise DataError("expected little-endian storages")
    tree = _unpickle(stream, used)
    arrays = {}
    for key in _unpickle(stream, {}):
        _check_key(key)
        (length,) = struct.unpack("<q", stream.read(8))
        if length != used[key].length:
            raise DataError(f"storage {key}: {length} elements stored, {used[key].length} announced")
        arrays[key] = _numbers(data, used[key].dtype, length, stream.tell())
        stream.seek(length * _bytes_each(used[key].dtype), io.SEEK_CUR)
    return tree, arrays


def _numbers(data, dtype, count=-1, offset=0):
    """What a storage holds."""
    if dtype != "bfloat16":
        return np.frombuffer(data, dtype, count, offset)
    upper = np.frombuffer(data, "<u2", count, offset).astype("<u4")  # half of a float32
    return (upper << 16).view("<f4")


def _bytes_each(dtype):
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _cut(name, tensor, storages):
    """The array of a tensor, after checking that every element lies inside its storage."""
    storage, numbers = storages[tensor.storage.key], (tensor.offset, *tensor.size, *tensor.stride)
    if len(tensor.size) != len(tensor.stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise DataError(
            f"{name}: bad offset, size or stride: expected whole numbers of 0 or more, as many strides as sizes"
        )
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
    """Interprets one pickle up to its STOP; `storages` collects the storages it refers to.

    Tuples that hold one tuple twice, and so on, are small in the file and endless when they are hashed or written out:
    neither is done.
    """
    stack, memo, marks = [], {}, []

    def since_mark():
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    def pairs(items):
        for key in items[::2]:
            _check_key(key)
        return zip(items[::2], items[1::2], strict=True)

    def items_into(container, items):
        if isinstance(container, list):
            container.extend(items)
        elif isinstance(container, dict):
            container.update(pairs(items))
        else:
            raise DataError(f"cannot put items into {type(container).__name__}")

    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            pass
        elif name == "STOP":
            return stack.pop()
        elif name == "MARK":
            marks.append(len(stack))
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
            stack.append(dict(pairs(since_mark())))
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
                argument = f"{_named(module)} {_named(attribute)}"
            if argument not in _GLOBALS:
                refused = argument.replace(" ", ".")[:100]
                raise DataError(f"refused global {refused}: a weights file must hold tensors only")
            stack.append(_GLOBALS[argument])
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not callable(function):
                raise DataError(f"refused to call {_named(function)}")
            stack.append(function(*arguments))
        elif name == "BUILD":  # attributes of a state dict (`_metadata`): nothing we need
            stack.pop()
        elif name == "BINPERSID":
            kind, dtype, key, _, length, *view = stack.pop()
            _check_key(key)
            if kind != "storage" or dtype not in _STORAGES.values() or any(v is not None for v in view):
                raise DataError(f"refused persistent object {_named(kind)} of {_named(dtype)}")
            if type(length) is not int:
                raise DataError(f"storage {key}: expected its length, found {_named(length)}")
            stack.append(storages.setdefault(key, _Storage(key, dtype, length)))
        else:
            raise DataError(f"refused pickle opcode {name}")
    raise EOFError("pickle without an end")


def _check_key(key):
    if not isinstance(key, str | int | float | None):
        raise DataError(f"refused {_named(key)} as a key")


def _named(value) -> str:
    """A value for a message."""
    return value[:60] if isinstance(value, str) else f"a {type(value).__name__}"


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

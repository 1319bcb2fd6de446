"""Interprets the pickles of PyTorch checkpoints without executing anything.

Python's unpickler would call whatever a file names. Instead, a small interpreter steps through the opcodes; it knows
only plain values and the few globals in `_GLOBALS`.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from visionkit import limits
from visionkit.types import DataError

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
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


_DIMENSIONS = 64  # NumPy's limit


@dataclass(frozen=True)
class Storage:
    """The name of a raw storage in the file, the type of its numbers and how many there are."""

    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class StoredTensor:
    """A view into a storage, in elements; bounds are checked when it is cut out."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage: Storage, offset: int, size: Iterable[int], stride: Iterable[int], *_: Any) -> StoredTensor:
    return StoredTensor(storage, offset, _dimensions(size), _dimensions(stride))


def _dimensions(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > _DIMENSIONS:
        raise DataError(f"a size or stride: expected at most {_DIMENSIONS} numbers, found {named(numbers)}")
    return tuple(numbers)


def _ordered(items: Sequence[tuple[Any, Any]]) -> OrderedDict[Any, Any]:
    for key, _ in items:
        check_key(key)
    return OrderedDict(items)


_GLOBALS: dict[str, Any] = {
    "collections OrderedDict": lambda items=(): _ordered(items),
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "torch Size": lambda size=(): _dimensions(size),
    **_STORAGES,
}


def unpickle(stream: BinaryIO, storages: dict[str, Storage]) -> Any:
    """Interprets one pickle up to its STOP; `storages` collects the storages that it refers to.

    Nested tuples that repeat one tuple can be small in the file and practically endless when they are hashed or
    printed. Neither is done.
    """
    machine = _Machine(storages)
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.spend(1)
        machine.execute(opcode.name, argument)
    raise EOFError("pickle without an end")


class _Machine:
    """The stack, the memo and the marks of a pickle in progress."""

    def __init__(self, storages: dict[str, Storage]):
        self.storages = storages
        self.stack: list[Any] = []
        self.memo: dict[Any, Any] = {}
        self.marks: list[int] = []
        self.spent = 0

    def spend(self, count: int) -> None:
        """Counts steps and copied items, so that no small file makes endless copies of what it has pushed once."""
        self.spent += count
        if self.spent > limits.PICKLE:
            limits.check(self.spent, limits.PICKLE, "its pickle is above the limit of {limit} steps and items")

    def execute(self, name: str, argument: Any) -> None:
        """Executes the opcode `name`."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.spend(4 if name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET") else 0)  # each takes up to 216 bytes
            self.stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.push_global(argument)
        elif name == "STACK_GLOBAL":
            attribute, module = self.stack.pop(), self.stack.pop()
            self.push_global(f"{named(module)} {named(attribute)}")
        elif name == "REDUCE":
            self.call()
        elif name == "BINPERSID":
            self.push_storage()
        elif name == "BUILD":  # attributes of a state dict (`_metadata`), which are not needed
            self.stack.pop()
        elif name not in ("PROTO", "FRAME"):
            self.fill_container(name)

    def fill_container(self, name: str) -> None:
        """Builds a tuple, list or dict, or adds items to one."""
        if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            self.stack[-count:] = [tuple(self.stack[-count:])]
        elif name == "TUPLE":
            self.stack.append(tuple(self.since_mark()))
        elif name == "LIST":
            self.stack.append(self.since_mark())
        elif name == "DICT":
            self.stack.append(dict(_pairs(self.since_mark())))
        elif name in ("APPENDS", "SETITEMS"):
            items = self.since_mark()
            _add_items(self.stack[-1], items)
        elif name == "APPEND":
            item = self.stack.pop()
            _add_items(self.stack[-1], [item])
        elif name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            _add_items(self.stack[-1], [key, value])
        else:
            raise DataError(f"refused pickle opcode {name}")

    def since_mark(self) -> list[Any]:
        """Takes what was pushed since the last mark off the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def push_global(self, name: str) -> None:
        """Pushes the one of `_GLOBALS` that is called `name`, "module attribute"."""
        if name not in _GLOBALS:
            refused = name.replace(" ", ".")[:100]
            raise DataError(f"refused global {refused}: a weights file must hold tensors only")
        self.stack.append(_GLOBALS[name])

    def call(self) -> None:
        """Replaces a function and its arguments by the result; only the functions of `_GLOBALS` are callable."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not callable(function):
            raise DataError(f"refused to call {named(function)}")
        for argument in arguments:
            self.spend(len(argument) if isinstance(argument, list | tuple | dict | str) else 0)
        self.stack.append(function(*arguments))

    def push_storage(self) -> None:
        """Replaces a persistent id, torch's reference to a storage, by the storage."""
        kind, dtype, key, _, length, *view = self.stack.pop()
        check_key(key)
        if kind != "storage" or dtype not in _STORAGES.values() or any(v is not None for v in view):
            raise DataError(f"refused persistent object {named(kind)} of {named(dtype)}")
        if type(length) is not int:
            raise DataError(f"storage {key}: expected its length, found {named(length)}")
        storage = self.storages.setdefault(key, Storage(key, dtype, length))
        if storage.dtype != dtype:
            raise DataError(f"storage {key}: holds both {storage.dtype} and {dtype}")
        self.stack.append(storage)


def _pairs(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    for key in items[::2]:
        check_key(key)
    return zip(items[::2], items[1::2], strict=True)


def _add_items(container: Any, items: list[Any]) -> None:
    if isinstance(container, list):
        container.extend(items)
    elif isinstance(container, dict):
        container.update(_pairs(items))
    else:
        raise DataError(f"cannot put items into {type(container).__name__}")


def check_key(key: Any) -> None:
    """Raises `DataError` unless `key` is a plain value: hashing a nested tuple could take forever."""
    if not isinstance(key, str | int | float | None):
        raise DataError(f"refused {named(key)} as a key")


def named(value: Any) -> str:
    """A short name of a value for a message."""
    return value[:60] if isinstance(value, str) else f"a {type(value).__name__}"

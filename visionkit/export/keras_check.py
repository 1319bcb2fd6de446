"""Looks at a .keras file before Keras loads it: what it unpacks to, and how large a network it makes.

Keras builds what config.json describes before it compares the network with the stored weights, so a few hundred bytes
could ask for any amount of memory.
"""

import io
import json
import math
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from visionkit import limits
from visionkit.export.exported import check_image_size
from visionkit.types import DataError

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_building = threading.Lock()


def check_keras_file(file: Path) -> int:
    """Checks the sizes in a .keras file.

    Returns:
        The bytes of its weights.

    Raises:
        DataError: it is none, or is above `limits.CONFIG`, `limits.UNPACKED` or `limits.NETWORK`; does not name it.
        Exception: what zipfile, json and h5py raise for broken files.
    """
    if not zipfile.is_zipfile(file):
        raise DataError("not a .keras file, which is a zip archive")
    size = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info.file_size for info in archive.infolist()}
        if missing := {_CONFIG, _WEIGHTS} - members.keys():
            raise DataError(f"not a .keras file: it lacks {min(missing)}")
        for name, member in members.items():
            if name.endswith(".json"):
                limits.check(member, limits.CONFIG, f"{name} has {member} bytes, above the limit of {{limit}}")
        _check_unpacked(sum(info.file_size for info in archive.infolist()), size, "it unpacks to")
        _check_sizes(json.loads(archive.read(_CONFIG)))
        with h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r") as weights:
            total = _bytes_of(weights)
    _check_unpacked(total, size, "its weights take")
    return total


@contextmanager
def weights_below(size: int) -> Iterator[None]:
    """While the block runs, Keras' layers make weights of at most twice `size` bytes and `limits.UNPACKED` more.

    Raises:
        DataError: they would make more.
    """
    import keras

    original, made = keras.layers.Layer.add_weight, 0

    def add_weight(layer: Any, *args: Any, **options: Any) -> Any:
        nonlocal made
        shape = args[0] if args else options.get("shape")
        made += 4 * math.prod(shape or ())  # float32, as nearly all are
        text = f"its layers ask for {made} bytes and it holds {size}: above the limit of {{limit}} for the rest"
        limits.check(made - 2 * size, limits.UNPACKED, text)
        return original(layer, *args, **options)

    with _building:
        setattr(keras.layers.Layer, "add_weight", add_weight)  # noqa: B010 (a type checker refuses to assign it)
        try:
            yield
        finally:
            setattr(keras.layers.Layer, "add_weight", original)  # noqa: B010


def _check_unpacked(found: int, size: int, what: str) -> None:
    text = f"{what} {found} bytes and the file has {size}: above the limit of {{limit}} for what is compressed"
    limits.check(found - 4 * size, limits.UNPACKED, text)


def _check_sizes(config: Any) -> None:
    """Checks each size of images in a config, wherever it is."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            pending += value.values()
            if len(size := _items(value.get("image_size"))) == 2:
                check_image_size(size)
            shape = _items(value.get("batch_shape"))
            if len(shape) == 4 and None not in shape[1:3]:  # of images
                check_image_size(shape[1:3])


def _items(value: Any) -> list[Any]:
    """A tuple or a list as Keras stores it; [] if it is something else."""
    items = value.get("items") if isinstance(value, dict) else value
    return items if isinstance(items, list) else []


def _bytes_of(weights: h5py.File) -> int:
    total = 0

    def add(_: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            total += math.prod(item.shape) * item.dtype.itemsize

    weights.visititems(add)
    return total

"""Starts a model for other classes from a trained one of the same kind: what it knows of equal classes is kept by name.

The classes of a model lie in the last axis of some of its layers' weights. Rows are copied where a name is in both
models and stay as they were drawn elsewhere; all other weights are copied whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from visionkit.models.task import ClassRows, Task
from visionkit.types import DataError


@dataclass
class Transfer:
    """What `start_from` carried over.

    Args:
        sources: class name -> the class of the start whose rows it got, or None where they are drawn anew.
        copied: how many weights were carried over, whole or by class.
        fresh: paths of the weights that were drawn anew, since the start has none of that name and shape.
    """

    sources: dict[str, str | None]
    copied: int = 0
    fresh: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"  {name}: {_origin(name, source)}" for name, source in self.sources.items()]
        weights = f"  {self.copied} weights carried over"
        if self.fresh:
            weights += f", {len(self.fresh)} drawn anew"
        return "\n".join([*lines, weights])


def start_from(
    start: Task,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    renamed: Mapping[str, str] | None = None,
    kind: type[Task] | None = None,
    **changes: Any,
) -> tuple[Task, Transfer]:
    """Builds a model like `start` for other classes and another size of images, and carries its weights over.

    Args:
        start: the trained model.
        class_names: of the new model; rows of classes that the start has too are kept.
        image_size: (height, width) in pixels.
        renamed: class of the start -> the class of the new model that it becomes.
        kind: the class to build, by default the start's own; a Mask R-CNN may start from a Faster R-CNN.
        changes: further arguments of the model that are not as in the start.

    Raises:
        DataError: `kind` cannot start from `start`, `renamed` names a class that is not there, or the network does not
            take images of that size.
    """
    kind = kind or type(start)
    if not issubclass(kind, type(start)):
        raise DataError(f"a {kind.__name__} cannot start from a {type(start).__name__}; name a start of its own kind")
    sources = _sources(start.class_names, class_names, renamed or {})
    config = start.get_config() | {
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "image_size": tuple(image_size),
        **changes,
    }
    config.pop("calibration", None)  # of the start's scores
    if kind is not type(start):
        config.pop("name", None)
    try:
        model = kind.from_config(config)
    except ValueError as error:
        raise DataError(f"the start does not take images of {image_size[0]}x{image_size[1]}: {error}") from error
    transfer = Transfer(dict(zip(class_names, sources, strict=True)))
    places = [None if source is None else start.class_names.index(source) for source in sources]
    _copy(start, model, places, transfer)
    return model, transfer


def _origin(name: str, source: str | None) -> str:
    if source is None:
        return "drawn anew"
    return "kept" if source == name else f"from {source}"


def _sources(known: Sequence[str], wanted: Sequence[str], renamed: Mapping[str, str]) -> list[str | None]:
    """For each wanted class the known class that it starts from."""
    for source, name in renamed.items():
        if source not in known:
            raise DataError(f"--map {source}={name}: the start has no class {source!r}; it has {_few(known)}")
        if name not in wanted:
            raise DataError(f"--map {source}={name}: the data has no class {name!r}; it has {_few(wanted)}")
    origin = {name: source for source, name in renamed.items()}
    return [origin.get(name, name if name in known and name not in renamed else None) for name in wanted]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _copy(start: Task, model: Task, places: Sequence[int | None], transfer: Transfer) -> None:
    known = {weight.path: keras.ops.convert_to_numpy(weight) for weight in start.weights}
    same_classes = list(places) == list(range(start.num_classes))
    for weight in model.weights:
        values = known.get(weight.path)
        rows = None if same_classes else model.rows_of(weight.path)
        if values is not None and rows is not None:
            if not rows.mixed:
                values = _rows_by_name(values, weight, rows, places, start.num_classes)
            elif values.shape[-1] == start.num_classes:
                values = None
        if values is not None and values.shape == tuple(weight.shape):
            weight.assign(values)
            transfer.copied += 1
        else:
            transfer.fresh.append(weight.path)


def _rows_by_name(
    source: np.ndarray, weight: keras.Variable, rows: ClassRows, places: Sequence[int | None], known: int
) -> np.ndarray:
    """The values of `weight` with the rows of classes, and of background, taken from `source` where there are any."""
    target = keras.ops.convert_to_numpy(weight)
    shape = (*source.shape[:-1], -1, known + rows.background, rows.each)
    old = source.reshape(shape)  # [..., anchors, K + background, values per class]
    new = target.copy().reshape(*target.shape[:-1], -1, len(places) + rows.background, rows.each)
    for k, place in enumerate(places):
        if place is not None:
            new[..., k, :] = old[..., place, :]
    if rows.background:
        new[..., -1, :] = old[..., -1, :]
    return new.reshape(target.shape)

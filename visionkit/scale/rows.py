"""What a row of results holds.

Every row has `uri` and `stamp` of an image as the manifest has them, its `height` and `width` in pixels, and `error`, null
unless the image could not be read; and by the task of the model:

| task | columns |
|---|---|
| detect, instance | `objects`: a list of {`label`, `class`, `score`, `box` [x1, y1, x2, y2] in pixels, `mask`}, where `mask` is COCO's run-length encoding or null |
| classify | `best`: the five best classes, {`label`, `class`, `score`} each |
| segment | `areas`: {`label`, `class`, `pixels`} for each class, the largest first; `mask`: the class ids as a PNG |
| stylize | `picture`: the URI of the painted picture |
"""  # noqa: E501

from collections.abc import Sequence
from functools import cache
from typing import Any

from visionkit import images
from visionkit.predict.formats import to_record
from visionkit.predict.palette import colour_of
from visionkit.scale.manifest import Item
from visionkit.types import SegmentationMap, plain

TASKS = ("detect", "instance", "classify", "segment", "stylize")


def row_of(item: Item, prediction: Any, class_names: Sequence[str]) -> dict[str, Any]:
    """The row of an image that was predicted.

    Args:
        item: of the manifest.
        prediction: `Detections`, a `Classification` or a `SegmentationMap`.
        class_names: of the model.
    """
    record = to_record(prediction)
    height, width = record["size"]
    row = _row(item) | {"height": height, "width": width}
    if "objects" in record:
        return row | {"objects": [{"mask": None} | _named(class_names, **found) for found in record["objects"]]}
    if "best" in record:
        return row | {"best": [_named(class_names, label=label, score=score) for label, score in record["best"]]}
    assert isinstance(prediction, SegmentationMap)
    colours = [colour_of(label) for label in range(len(class_names))]
    return row | {
        "areas": [_named(class_names, label=label, pixels=pixels) for label, pixels in record["areas"]],
        "mask": images.encode_mask(prediction.segmentation, colours),
    }


def picture_row(item: Item, size: tuple[int, int], picture: str) -> dict[str, Any]:
    """The row of an image that was painted: `picture` is the URI of the painting, `size` its (height, width)."""
    return _row(item) | {"height": size[0], "width": size[1], "picture": picture}


def error_row(item: Item, error: str) -> dict[str, Any]:
    """The row of an image without a prediction."""
    return _row(item) | {"error": plain(error)}


def record_of(row: dict[str, Any]) -> dict[str, Any]:
    """What `predict.formats` takes for a row without an error, but for the name of the file."""
    record: dict[str, Any] = {"size": [row["height"], row["width"]]}
    if "objects" in row:
        return record | {"objects": list(map(_object, row["objects"]))}
    if "best" in row:
        return record | {"best": [[found["label"], found["score"]] for found in row["best"]]}
    if "areas" in row:
        return record | {"areas": [[found["label"], found["pixels"]] for found in row["areas"]]}
    return record | {"picture": row["picture"]}


def count_of(row: dict[str, Any]) -> int:
    """How many results a row holds: its objects, its classes in a map, or 1; 0 for an error."""
    if row.get("error") is not None:
        return 0
    return len(row.get("objects", row.get("areas", "1")))


@cache
def schema_of(task: str) -> Any:
    """The columns of a task as a schema of pyarrow's."""
    import pyarrow as pa

    def several(**fields: Any) -> Any:
        return pa.list_(pa.struct([("label", pa.int32()), ("class", pa.string()), *fields.items()]))

    code = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    objects = [("objects", several(score=pa.float64(), box=pa.list_(pa.float64()), mask=code))]
    columns: dict[str, list[tuple[str, Any]]] = {
        "detect": objects,
        "instance": objects,
        "classify": [("best", several(score=pa.float64()))],
        "segment": [("areas", several(pixels=pa.int64())), ("mask", pa.binary())],
        "stylize": [("picture", pa.string())],
    }
    return pa.schema(
        [
            ("uri", pa.string()),
            ("stamp", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            *columns[task],
            ("error", pa.string()),
        ]
    )


def _row(item: Item) -> dict[str, Any]:
    return {"uri": item.uri, "stamp": item.stamp, "error": None}


def _named(class_names: Sequence[str], label: int, **found: Any) -> dict[str, Any]:
    return {"label": label, "class": class_names[label], **found}


def _object(found: dict[str, Any]) -> dict[str, Any]:
    item = {key: found[key] for key in ("label", "score", "box")}
    return item | {"mask": found["mask"]} if found["mask"] else item

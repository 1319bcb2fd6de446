"""One shard of the manifest becomes one Parquet file of results; what runs it, and where, is the engine's affair.

A row has `uri` and `stamp` of an image as the manifest has them; `height` and `width` in pixels; `objects`, a list of
{`label`, `class`, `score`, `box` [x1, y1, x2, y2] in pixels, `mask`}, where `mask` is COCO's run-length encoding or
null; and `error`, null unless the image could not be read.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from visionkit import images, limits
from visionkit.predict.formats import to_record
from visionkit.predict.inputs import Failure
from visionkit.scale import store
from visionkit.scale.manifest import Item, read_shard
from visionkit.types import DataError, Sample, plain

RESULTS = "results"
_COUNTS = b"visionkit"  # the key of the counts in a file's metadata


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a file of results holds.

    Args:
        images: how many rows.
        objects: in all of them.
        errors: images that could not be read.
    """

    images: int
    objects: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker needs to know besides its predictor.

    Args:
        out: URI of the output folder.
        manifest: URI of the folder with the manifest's shards.
        score: detections below it are left out.
    """

    out: str
    manifest: str
    score: float

    def result(self, name: str) -> str:
        """The URI of the results of a shard."""
        return store.join(self.out, RESULTS, f"{name}.parquet")


def run_shard(predictor: Any, work: Work, name: str) -> Counts:
    """Predicts a shard and writes its results, in one piece.

    Args:
        predictor: a `Predictor` of a detector, or a `Tiled` one.
        work: where the shards are, and where the results go.
        name: of the shard.

    Raises:
        Unreachable: a store does not answer; nothing was written.
        DataError: the results could not be written.
    """
    return write_rows(work, name, rows_of(predictor, read_shard(work.manifest, name), work.score))


def rows_of(predictor: Any, items: Sequence[Item], score: float) -> list[dict[str, Any]]:
    """The rows of some images, in their order. Raises: `Unreachable`."""
    names = predictor.class_names
    predictions = predictor(_Images(items), score=score, failures="yield")
    return [_row(item, prediction, names) for item, prediction in zip(items, predictions, strict=True)]


def error_row(item: Item, error: str) -> dict[str, Any]:
    """The row of an image without a prediction."""
    row: dict[str, Any] = dict.fromkeys(_schema().names)
    return row | {"uri": item.uri, "stamp": item.stamp, "error": plain(error)}


def write_rows(work: Work, name: str, rows: Sequence[dict[str, Any]]) -> Counts:
    """Writes the results of a shard."""
    import pyarrow
    from pyarrow import parquet

    counts = Counts(
        images=len(rows),
        objects=sum(len(row["objects"] or ()) for row in rows),
        errors=sum(row["error"] is not None for row in rows),
    )
    schema = _schema().with_metadata({_COUNTS: json.dumps(vars(counts)).encode()})
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema=schema), stream, compression="zstd")
    store.write(work.result(name), stream.getvalue())
    return counts


def read_counts(uri: str) -> Counts:
    """The counts in a file of results, from its end; its rows are not read."""
    from pyarrow import parquet

    with store.opened(uri) as stream:
        return Counts(**json.loads(parquet.read_metadata(stream).metadata[_COUNTS]))


def read_rows(uri: str) -> Iterator[dict[str, Any]]:
    """The rows of a file of results."""
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(store.read(uri)))
    for batch in table.to_batches(1024):
        yield from batch.to_pylist()


class _Images(Sequence[Sample]):
    """The images of a shard; each is fetched and decoded when the predictor asks for it, in its decoding threads."""

    def __init__(self, items: Sequence[Item]):
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:  # pyright: ignore[reportIncompatibleMethodOverride] -- no slices
        item = self._items[index]
        limits.check(item.size, limits.OBJECT, f"{item.uri}: above the limit of {{limit}} MB", unit=2**20)
        try:
            content = store.read(item.uri)
        except FileNotFoundError as error:
            raise DataError(str(error)) from None  # the predictor would say the number of the image in place of its URI
        try:
            image = images.read_image(content)
        except DataError as error:
            raise DataError(str(error).replace(f"{len(content)} bytes", item.uri, 1), error.kind) from None
        return Sample(id=item.uri, image_size=image.shape[:2], image=image)


def _row(item: Item, prediction: Any, class_names: Sequence[str]) -> dict[str, Any]:
    if isinstance(prediction, Failure):
        return error_row(item, prediction.error)
    record = to_record(prediction)
    objects = [{"mask": None, "class": class_names[found["label"]], **found} for found in record["objects"]]
    height, width = record["size"]
    return {
        "uri": item.uri,
        "stamp": item.stamp,
        "height": height,
        "width": width,
        "objects": objects,
        "error": None,
    }


@cache
def _schema() -> Any:
    import pyarrow as pa

    mask = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    found = pa.struct(
        [
            ("label", pa.int32()),
            ("class", pa.string()),
            ("score", pa.float64()),
            ("box", pa.list_(pa.float64())),
            ("mask", mask),
        ]
    )
    return pa.schema(
        [
            ("uri", pa.string()),
            ("stamp", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("objects", pa.list_(found)),
            ("error", pa.string()),
        ]
    )

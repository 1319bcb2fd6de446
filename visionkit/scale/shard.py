"""One shard of the manifest becomes one Parquet file of results; what runs it, and where, is the engine's affair."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from visionkit import images
from visionkit.predict.ahead import ahead
from visionkit.predict.inputs import Failure, read_item
from visionkit.scale import store
from visionkit.scale.content import Images
from visionkit.scale.manifest import Item, read_shard
from visionkit.scale.rows import count_of, error_row, picture_row, row_of, schema_of
from visionkit.types import DataError, Sample

RESULTS, PICTURES = "results", "pictures"
_COUNTS = b"visionkit"  # the key of the counts in a file's metadata


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a file of results holds.

    Args:
        images: how many rows.
        results: objects, or classes in maps, or images with a class or a picture.
        errors: images that could not be read.
    """

    images: int
    results: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker needs to know besides its predictor.

    Args:
        out: URI of the output folder.
        manifest: URI of the folder with the manifest's shards.
        task: of the model; see `rows`.
        score: detections below it are left out; None for other tasks.
    """

    out: str
    manifest: str
    task: str
    score: float | None

    def result(self, name: str) -> str:
        """The URI of the results of a shard."""
        return store.join(self.out, RESULTS, f"{name}.parquet")

    def picture(self, name: str, index: int, suffix: str) -> str:
        """The URI of the painted picture of an image, by its index in a shard."""
        return store.join(self.out, PICTURES, name, f"{index:06d}{suffix}")


def run_shard(predictor: Any, work: Work, name: str) -> Counts:
    """Predicts a shard and writes its results, in one piece.

    Args:
        predictor: see `predictions_of`.
        work: where the shards are, and where the results go.
        name: of the shard.

    Raises:
        Unreachable: a store does not answer; nothing was written.
        DataError: the results could not be written.
    """
    return write_rows(work, name, rows_of(predictor, work, name, read_shard(work.manifest, name), 0))


def rows_of(predictor: Any, work: Work, name: str, items: Sequence[Item], first: int) -> list[dict[str, Any]]:
    """The rows of some images, in their order; painted pictures are written.

    Args:
        predictor, work, name: see `run_shard`.
        items: the images.
        first: the index of the first of them in the shard, by which its picture is named.

    Raises: `Unreachable`.
    """
    rows, names = [], predictor.class_names
    predictions = predictions_of(predictor, items, work.score)
    for index, (item, prediction) in enumerate(zip(items, predictions, strict=True), first):
        if isinstance(prediction, Failure):
            rows.append(error_row(item, prediction.error))
        elif isinstance(prediction, Sample):
            suffix = ".png" if store.suffix_of(item.uri) == ".png" else ".jpg"
            rows.append(_write_picture(item, prediction, work.picture(name, index, suffix)))
        else:
            rows.append(row_of(item, prediction, names))
    return rows


def predictions_of(predictor: Any, items: Sequence[Item], score: float | None) -> Iterator[Any]:
    """What the predictor says of each image, or a `Failure`; a painted image is a `Sample`.

    Args:
        predictor: a `Predictor`, a `Tiled` one, or a painter: its `task` is stylize, and `paint` takes and gives RGB
            uint8 `[H, W, 3]`.
        items: the images.
        score: detections below it are left out.
    """
    pictures = Images(items)
    if predictor.task != "stylize":
        yield from predictor(pictures, score=score, failures="yield")
        return
    for item in ahead(range(len(items)), lambda index: read_item(index, lambda: pictures[index]), depth=4):
        try:
            yield item if isinstance(item, Failure) else replace(item, image=predictor.paint(item.image))
        except DataError as error:
            yield Failure(id=item.id, file=None, error=f"{item.id}: {error}")


def _write_picture(item: Item, painted: Sample, uri: str) -> dict[str, Any]:
    """Writes a painted picture and returns its row."""
    assert painted.image is not None
    store.write(uri, images.encode_image(painted.image, "PNG" if store.suffix_of(uri) == ".png" else "JPEG"))
    height, width = painted.image.shape[:2]
    return picture_row(item, (height, width), uri)


def write_rows(work: Work, name: str, rows: Sequence[dict[str, Any]]) -> Counts:
    """Writes the results of a shard, unless they are there: workers outlive a command that was killed for a moment."""
    import pyarrow
    from pyarrow import parquet

    if store.exists(work.result(name)):
        return read_counts(work.result(name))
    counts = Counts(
        images=len(rows),
        results=sum(map(count_of, rows)),
        errors=sum(row["error"] is not None for row in rows),
    )
    schema = schema_of(work.task).with_metadata({_COUNTS: json.dumps(vars(counts)).encode()})
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

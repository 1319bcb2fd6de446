"""The list of all images, streamed into numbered shards; a shard is what a worker does at a time.

A shard's name is its number and a digest of what it lists, such as 00000012-3fa9c1d2b7e0: wherever a result of that
name exists, these images are done, in the versions that the manifest names.
"""

import hashlib
import io
import logging
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice, pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from visionkit.image_files import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from visionkit.scale import store
from visionkit.types import DataError

CHUNK = 2**20  # bytes of a list that are read at a time
ROWS = 2**16  # of an inventory that are read at a time


class Item(NamedTuple):
    """An image of the manifest.

    Args:
        uri: where it is.
        stamp: tells its version from others: an entity tag, or its size and time of change; "" where neither is known.
        size: in bytes; -1 where it is not known.
        container: URI of the tar or Parquet file that it is in; "" for an object of its own.
        offset: of its bytes in the tar file, or its row in the Parquet file; -1 for an object of its own.
    """

    uri: str
    stamp: str
    size: int
    container: str = ""
    offset: int = -1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was listed.

    Args:
        names: of the shards, in order.
        images: how many there are in all.
        size: of all images in bytes, as far as it is known.
        digest: of the names, and so of everything that is listed.
    """

    names: list[str]
    images: int
    size: int
    digest: str


def whole_sources(sources: Sequence[str]) -> list[str]:
    """The sources with local paths made absolute, so that they mean the same to every worker.

    Raises:
        DataError: one of them lies in another, so that images would be listed twice.
    """
    whole = [source if store.is_uri(source) else os.path.abspath(source) for source in sources]  # noqa: PTH100
    ordered = sorted((store.join(source, ""), source) for source in whole)
    for (folder, one), (inner, other) in pairwise(ordered):  # what lies in a folder comes right behind it
        if inner.startswith(folder):
            raise DataError(f"{other} lies in {one}: its images would be listed twice; name one of them")
    return whole


def items_of(sources: Sequence[str]) -> Iterator[Item]:
    """The images that `sources` name, one after the other, while they are being listed.

    Args:
        sources: folders and prefixes, searched for images as `find_images` does; images; .txt lists with a URI or a
            path on each line, relative to the list; inventories in Parquet with the columns `uri`, or `bucket` and
            `key`, and optionally `etag` or `e_tag`, `size`, `last_modified` or `last_modified_date`; tar files, not
            compressed; Parquet files with a column of images, see `bytes_column`; FOLDER/*.tar and FOLDER/*.parquet.

    Raises:
        DataError: a source does not exist, or is none of these.
        PermissionError: a source may not be listed.
        Unreachable: its store does not answer.
    """
    for source in sources:
        suffix = store.suffix_of(source)
        try:
            if store.without_query(source).endswith(("/*.tar", "/*.parquet")):
                yield from items_of(_containers(source))
            elif suffix == ".txt":
                yield from _of_list(source)
            elif suffix == ".parquet":
                yield from _of_parquet(source)
            elif suffix == ".tar":
                yield from _of_tar(source)
            elif store.is_folder(source):
                yield from _of_folder(source)
            elif suffix in IMAGE_SUFFIXES and store.exists(source):
                yield Item(source, "", -1)
            else:
                raise DataError(
                    f"{source}: expected a folder of images, an image, a .txt list, a .tar or a .parquet file"
                )
        except FileNotFoundError as error:
            raise DataError(str(error)) from None


def write_manifest(items: Iterable[Item], folder: str, shard: int) -> Manifest:
    """Writes a Parquet file for every `shard` images into `folder`; only one shard is in memory at a time.

    Raises:
        DataError: there are no images.
    """
    names, images, size = [], 0, 0
    digest = hashlib.sha256()
    items = iter(items)
    while some := list(islice(items, shard)):
        name = f"{len(names):08d}-{_digest(some)}"
        store.write(store.join(folder, f"{name}.parquet"), _as_parquet(some))
        names.append(name)
        digest.update(f"{name}\n".encode())
        images += len(some)
        size += sum(max(0, item.size) for item in some)
    if not names:
        raise DataError(f"no images were found ({' '.join(IMAGE_SUFFIXES)})")
    return Manifest(names=names, images=images, size=size, digest=digest.hexdigest())


def read_shard(folder: str, name: str) -> list[Item]:
    """The images of one shard."""
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(store.read(store.join(folder, f"{name}.parquet"))))
    columns = [table.column(key).to_pylist() for key in Item._fields]
    return [Item(*row) for row in zip(*columns, strict=True)]


def names_in(folder: str) -> list[str]:
    """The names of the shards of which `folder` holds a file, in order."""
    names = (entry.name for entry in store.listed(folder) if not entry.folder)
    return [name.removesuffix(".parquet") for name in names if name.endswith(".parquet") and not name.startswith(".")]


def _of_folder(folder: str, left_out: list[str] | None = None) -> Iterator[Item]:
    """Images in a folder and its subfolders, in the order of their names, one folder in memory at a time."""
    top = left_out is None
    left_out = [] if left_out is None else left_out
    for entry in store.listed(folder):
        if entry.name.startswith("."):
            continue
        uri, suffix = store.join(folder, entry.name), PurePosixPath(entry.name).suffix.lower()
        if entry.folder:
            yield from _of_folder(uri, left_out)
        elif suffix in IMAGE_SUFFIXES:
            yield Item(uri, f"{entry.size} {entry.changed}", entry.size)
        elif suffix in UNREAD_SUFFIXES:
            left_out.append(entry.name)
    if top and left_out:
        text = "%s: %d pictures left out, of a kind that is not read (%s): save as JPEG or PNG"
        logging.getLogger("visionkit").warning(text, folder, len(left_out), left_out[0])


def _of_list(source: str) -> Iterator[Item]:
    base = store.without_query(source).rpartition("/")[0]
    for line in _lines(source):
        if not line:
            continue
        if store.is_uri(line):
            yield Item(line, "", -1)
        elif store.is_uri(base):
            yield Item(store.join(base, line), "", -1)
        else:
            yield _local(os.path.normpath(os.path.join(base, line)))  # noqa: PTH118


def _local(path: str) -> Item:
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each of millions takes longer than all else)
    except OSError:
        return Item(path, "", -1)  # it will have a row that says so
    return Item(path, f"{status.st_size} {status.st_mtime_ns}", status.st_size)


def _lines(source: str) -> Iterator[str]:
    rest = b""
    for chunk in store.chunks(source, CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="surrogateescape").strip("\r \ufeff") for line in lines)
    yield rest.decode(errors="surrogateescape").strip("\r \ufeff")


def _containers(pattern: str) -> list[str]:
    """The files of a folder with the suffix behind the * of a pattern."""
    address = store.without_query(pattern)
    folder, _, name = address.rpartition("/")
    folder += pattern[len(address) :]
    names = [entry.name for entry in store.listed(folder) if not entry.folder and not entry.name.startswith(".")]
    found = [store.join(folder, each) for each in names if each.lower().endswith(name[1:])]
    if not found:
        raise DataError(f"{pattern}: there are no such files")
    return found


def _of_tar(source: str) -> Iterator[Item]:
    """The images in a tar file, of which only the headers are looked at, in pieces that hold several where they can."""
    stamp, address = _stamp(source), store.without_query(source)
    with store.opened(source) as stream, BufferedReader(stream, CHUNK) as buffered:
        try:
            with tarfile.open(fileobj=buffered, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] -- it would remember all of them
                    path = PurePosixPath(member.name)
                    hidden = any(part.startswith(".") for part in path.parts)
                    if (
                        member.isreg()
                        and not member.issparse()
                        and not hidden
                        and path.suffix.lower() in IMAGE_SUFFIXES
                    ):
                        yield Item(f"{address}#{member.name}", stamp, member.size, source, member.offset_data)
        except tarfile.TarError as error:
            raise DataError(f"{source}: not an uncompressed tar file, or a broken one ({error})") from None


def _of_parquet(source: str) -> Iterator[Item]:
    """What an inventory lists, or the rows of a file with a column of images."""
    import pyarrow
    from pyarrow import parquet

    with store.opened(source) as stream:
        try:
            file = parquet.ParquetFile(stream)
        except pyarrow.ArrowInvalid as error:
            raise DataError(f"{source}: not a Parquet file ({error})") from None
        known = set(file.schema_arrow.names)
        if "uri" in known or {"bucket", "key"} <= known:
            wanted = known & {"uri", "bucket", "key", "etag", "e_tag", "size", "last_modified", "last_modified_date"}
            for batch in file.iter_batches(ROWS, columns=sorted(wanted)):
                yield from (item for row in batch.to_pylist() if (item := _of_row(row)))
            return
        bytes_column(source, file.schema_arrow)
        stamp, address = _stamp(source), store.without_query(source)
        for row in range(file.metadata.num_rows):
            yield Item(f"{address}#{row}", stamp, -1, source, row)


def bytes_column(source: str, schema: Any) -> str:
    """The name of the only column that holds images: of bytes, or as Hugging Face writes them, with a field `bytes`.

    Raises:
        DataError: there is none, or several.
    """
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        if types.is_struct(kind):
            index = kind.get_field_index("bytes")
            return index >= 0 and holds_bytes(kind.field(index).type)
        return types.is_binary(kind) or types.is_large_binary(kind)

    found = [field.name for field in schema if holds_bytes(field.type)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(found or schema.names))
    raise DataError(f"{source}: expected a column uri, bucket and key, or one column of bytes; found {names}")


def _stamp(source: str) -> str:
    found = store.entry(source)
    return f"{found.size} {found.changed}" if found else ""


def _of_row(row: dict[str, Any]) -> Item | None:
    """An image of an inventory; None if its name is not that of an image."""
    uri = row["uri"] if row.get("uri") else f"s3://{row['bucket']}/{row['key']}"
    if PurePosixPath(uri).suffix.lower() not in IMAGE_SUFFIXES:
        return None
    size = row.get("size")
    tag = row.get("etag") or row.get("e_tag")
    changed = row.get("last_modified") or row.get("last_modified_date") or ""
    return Item(uri, str(tag) if tag else f"{size} {changed}", -1 if size is None else int(size))


def _digest(items: Sequence[Item]) -> str:
    text = "".join(f"{item.uri}\t{item.stamp}\n" for item in items)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]


def _as_parquet(items: Sequence[Item]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({key: [item[i] for item in items] for i, key in enumerate(Item._fields)})
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()

"""The images of a shard: fetched from objects of their own, from tar files, or from a column of a Parquet file."""

import bisect
import threading
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from visionkit import images, limits
from visionkit.scale import store
from visionkit.scale.manifest import Item, bytes_column
from visionkit.types import DataError, Sample

GROUPS = 2  # row groups in memory: decoding threads are at most at the end of one and the beginning of the next


class Images(Sequence[Sample]):
    """The images of a shard; each is fetched and decoded when it is asked for, in the threads that decode.

    Args:
        items: of the manifest.
    """

    def __init__(self, items: Sequence[Item]):
        self._items, self._columns = items, _Columns()

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Sample:  # pyright: ignore[reportIncompatibleMethodOverride] -- no slices
        """The image.

        Raises:
            DataError: it is missing or broken.
            PermissionError: it may not be read.
            Unreachable: the store does not answer.
        """
        item = self._items[index]
        limits.check(item.size, limits.OBJECT, f"{item.uri}: above the limit of {{limit}} MB", unit=2**20)
        try:
            content = self._content(item)
        except FileNotFoundError as error:
            raise DataError(str(error)) from None  # the predictor would say the number of the image in place of its URI
        try:
            image = images.read_image(content)
        except DataError as error:
            raise DataError(str(error).replace(f"{len(content)} bytes", item.uri, 1), error.kind) from None
        return Sample(id=item.uri, image_size=image.shape[:2], image=image)

    def _content(self, item: Item) -> bytes:
        if not item.container:
            return store.read(item.uri)
        if store.suffix_of(item.container) == ".parquet":
            return self._columns.read(item)
        content = store.read_part(item.container, item.offset, item.size)
        if len(content) < item.size:
            raise DataError(f"{item.uri}: the tar file ends within it; it has changed, so list the images again")
        return content


class _Columns:
    """Columns of Parquet files, of which the row groups used last are in memory."""

    def __init__(self):
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()  # (file, number) -> values
        self._ends: dict[str, list[int]] = {}  # file -> the row behind each of its groups

    def read(self, item: Item) -> bytes:
        """The bytes in a row."""
        with self._lock:
            ends = self._ends.get(item.container)
            if ends is None:
                ends = self._ends[item.container] = self._ends_of(item.container)
            number = bisect.bisect_right(ends, item.offset)
            if number == len(ends):
                raise DataError(f"{item.uri}: no such row; the file has changed, so list the images again")
            group = self._group(item.container, number)
        content = group[item.offset - (ends[number - 1] if number else 0)].as_py()
        if isinstance(content, dict):
            content = content["bytes"]
        if content is None:
            raise DataError(f"{item.uri}: the row is empty")
        limits.check(len(content), limits.OBJECT, f"{item.uri}: above the limit of {{limit}} MB", unit=2**20)
        return content

    def _ends_of(self, container: str) -> list[int]:
        from pyarrow import parquet

        with store.opened(container) as stream:
            metadata = parquet.read_metadata(stream)
        return list(accumulate(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)))

    def _group(self, container: str, number: int) -> Any:
        key = container, number
        if key not in self._groups:
            self._groups[key] = _read_group(container, number)
            if len(self._groups) > GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _read_group(container: str, number: int) -> Any:
    import pyarrow
    from pyarrow import parquet

    with store.opened(container) as stream:
        try:
            file = parquet.ParquetFile(stream)
            column = bytes_column(container, file.schema_arrow)
            size = file.metadata.row_group(number).total_byte_size
            limits.check(size, limits.GROUP, f"{container}: a row group is above the limit of {{limit}} MB", unit=2**20)
            return file.read_row_group(number, columns=[column]).column(0)
        except pyarrow.ArrowException as error:
            raise DataError(f"{container}: row group {number} cannot be read ({error})") from error

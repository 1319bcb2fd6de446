"""CSV tables with a row for each box, or for each image's class; columns are known by their usual names."""

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from visionkit.data.box_formats import WRONG_FORMAT
from visionkit.data.dataset import Dataset
from visionkit.data.files import SPLIT_NAMES, number, read_text, regular, split_name
from visionkit.data.readers.entries import (
    Entry,
    Images,
    Object,
    annotation_files,
    class_name,
    dataset_of,
    split_in,
    splits_of,
)
from visionkit.data.repair import ROUNDING, Repairs
from visionkit.images import image_size
from visionkit.types import DataError

LIMIT = 2**28  # bytes of a table
FILE_COLUMNS = (
    *("filename", "file_name", "file", "filenames", "filepath", "file_path", "filepaths", "path"),
    *("image", "image_id", "image_name", "image_path", "img"),
)
CLASS_COLUMNS = ("class", "class_name", "label", "label_name", "labels", "category", "category_name")
SPLIT_COLUMNS = ("split", "set", "subset", "dataset", "data_set", "partition")
CORNERS = (
    *(("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max")),
    *(("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom")),
)
TOP_LEFT = (
    *(("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height")),
    *(("xmin", "ymin", "width", "height"), ("bbox_x", "bbox_y", "bbox_width", "bbox_height")),
)
CENTRE = (("x_center", "y_center", "width", "height"), ("cx", "cy", "width", "height"), ("cx", "cy", "w", "h"))
_SLACK = 1.001  # fractions may be rounded above 1
_SEPARATOR_LINE = re.compile(r'"?sep=.?"?', re.IGNORECASE)  # the first line of some tables of Excel
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_FEW = 3  # boxes; fewer may all be small by chance


class _Columns(NamedTuple):
    """The columns of a table by their positions.

    Args:
        file, label: of the image's name and of the class.
        box: of the four numbers of a box; () if the table has one class an image.
        kind: "corners", "top left" or "centre": what the numbers are.
        size: of the height and the width of the image, or ().
        split: of the split, or None.
        doubt: the names of the columns of which only one can be meant, or "".
    """

    file: int
    label: int
    box: tuple[int, ...]
    kind: str
    size: tuple[int, ...]
    split: int | None
    doubt: str


class _Row(NamedTuple):
    where: str
    image: Path
    label: str
    box: tuple[float, ...]  # () for an image without objects
    size: tuple[float, float] | None
    split: str


def boxes(root: Path) -> list[Path]:
    """Returns the tables in `root` with a box in each row."""
    return [file for file in _tables(root) if (known := _columns(file)) and known.box]


def classes(root: Path) -> list[Path]:
    """Returns the tables in `root` with a class in each row, the first of which is that of an image in `root`."""
    tables = [file for file in _tables(root) if (known := _columns(file)) and not known.box and not known.doubt]
    return [file for file in tables if _names_images(file, root)]


def splits_of_boxes(root: Path) -> list[str]:
    """Returns the splits: a column, the folder of images or table, or the table's name; [""] if there are none."""
    return splits_of(_box_entries(root, Repairs("CSV", collect=True)))


def splits_of_classes(root: Path) -> list[str]:
    """Returns the splits, as `splits_of_boxes` does."""
    return splits_of(_class_entries(root, Repairs("CSV", collect=True)))


def csv_boxes(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads tables with one box a row; a row without numbers and class is an image without objects.

    Boxes are corners, top left corners with width and height, or centres with width and height, as the columns are
    named, in pixels or in fractions of the image, as the numbers of the whole table tell. Class names are those of ALL
    tables, sorted.

    Args:
        root: a folder with tables and images.
        split: one of `splits_of_boxes(root)`; None for all.
        repairs: records what is wrong; by default it is logged, or raised.

    Raises:
        DataError: pixels cannot be told from fractions, or a corner from a centre; names the file and line that is
            wrong, or the available splits.
    """
    root = Path(root)
    repairs = Repairs("CSV of boxes") if repairs is None else repairs
    return dataset_of(root, _box_entries(root, repairs), split, repairs, "CSV of boxes")


def csv_classes(root: Path, split: str | None = None, repairs: Repairs | None = None) -> Dataset:
    """Reads tables with one image and its class a row. Arguments and errors as in `csv_boxes`."""
    root = Path(root)
    repairs = Repairs("CSV of classes") if repairs is None else repairs
    return dataset_of(root, _class_entries(root, repairs), split, repairs, "CSV of classes")


_tables = partial(annotation_files, suffixes=(".csv", ".tsv"), matches=lambda file: True)


def header(file: Path) -> tuple[list[str], str]:
    """Returns (the names of the columns in lower case, what separates them)."""
    with file.open("rb") as stream:
        line = stream.readline(2**16).decode("utf-8-sig", errors="replace").strip()
        if _SEPARATOR_LINE.fullmatch(line):
            line = stream.readline(2**16).decode(errors="replace").strip()
    separator = max("\t;,", key=line.count)
    return [name.strip(" \"'").lower().replace(" ", "_").replace("-", "_") for name in line.split(separator)], separator


def _columns(file: Path) -> _Columns | None:
    """The columns of a table of ours; None for any other table."""
    names, _ = header(file)
    kinds = (("corners", CORNERS), ("top left", TOP_LEFT), ("centre", CENTRE))
    found = [(kind, several) for kind, known in kinds for several in known if set(several) <= set(names)]
    kind, sides = found[0] if found else ("", ())
    files = [name for name in FILE_COLUMNS if name in names]
    labels = [name for name in CLASS_COLUMNS if name in names]
    labels = [name for name in labels if f"{name}_name" not in labels]  # an id beside its name
    if not files or not labels or len(set(names)) < len(names):
        return None
    doubtful = labels if len(labels) > 1 else [" ".join(several) for other, several in found if other == kind]
    position = names.index
    splits = [position(name) for name in SPLIT_COLUMNS if name in names]
    sizes = tuple(map(position, ("height", "width"))) if kind == "corners" and {"height", "width"} <= set(names) else ()
    box = tuple(map(position, sides))
    doubt = " or ".join(doubtful) if len(doubtful) > 1 else ""
    return _Columns(position(files[0]), position(labels[0]), box, kind, sizes, splits[0] if splits else None, doubt)


def _lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    """(file and line, the cells) of the rows after the header."""
    names, separator = header(file)
    text = read_text(file, LIMIT)
    header_line = 2 if _SEPARATOR_LINE.fullmatch(text.partition("\n")[0].strip()) else 1
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for row in rows:
            where = f"{file}:{rows.line_num}"
            if rows.line_num <= header_line or not any(map(str.strip, row)):
                continue
            if len(row) != len(names):
                raise DataError(f"{where}: expected {len(names)} columns, found {len(row)}")
            yield where, [cell.strip() for cell in row]
    except csv.Error as error:
        raise DataError(f"{file}:{rows.line_num}: broken CSV: {error}") from None


def _names_images(file: Path, root: Path) -> bool:
    """Whether the first row of a table names an image in `root`.

    Tables of something else, or whose names occur in several class folders, lie beside many data sets.
    """
    columns = _columns(file)
    try:
        first = next(_lines(file), None)  # may not be text
    except DataError:
        return False
    if columns is None or first is None:
        return False
    return len(Images(root, Repairs("CSV")).candidates(first[1][columns.file], file.parent)) == 1


def _rows(file: Path, root: Path, images: Images, repairs: Repairs) -> list[_Row]:
    columns = _columns(file)
    assert columns is not None
    if columns.doubt:
        raise DataError(f"{file}: which columns are meant, {columns.doubt}? Take the others out")
    rows = []
    for where, cells in _lines(regular(file, root, file)):
        if cells[columns.label].startswith(("[", "{")):
            text = f"{where}: the class is JSON, {cells[columns.label][:30]!r}, as in Label Studio's CSV"
            raise DataError(f"{text}, which is not read; export it from there as COCO, Pascal VOC or YOLO")
        with repairs.skipping():
            image = images.find(cells[columns.file], file.parent, where)
            sides = [cells[i] for i in columns.box]
            if comma := next((cell for cell in sides if _DECIMAL_COMMA.fullmatch(cell)), None):
                raise DataError(f"{where}: box: {comma[:40]!r} has a decimal comma; save the table with decimal points")
            empty = bool(sides) and not any(sides)
            box = () if empty else tuple(number(cell, f"{where}: box") for cell in sides)
            label = "" if empty else class_name(cells[columns.label], where)
            size = [cells[i] for i in columns.size]
            height_width = tuple(number(cell, f"{where}: size") for cell in size) if all(size) else ()
            split = cells[columns.split] if columns.split is not None else ""
            rows.append(_Row(where, image, label, box, height_width or None, split))  # pyright: ignore[reportArgumentType]
    if not all(row.size == (row.box[3] - row.box[1], row.box[2] - row.box[0]) for row in rows if row.box):
        return rows
    return [row._replace(size=None) for row in rows]  # width and height are those of the boxes


def _split_of(row: _Row, file: Path, root: Path) -> str:
    if split_name(row.split) in SPLIT_NAMES:
        return row.split
    stem = file.stem.lower().removesuffix("_labels").removesuffix("_annotations")
    return split_in(row.image, root) or split_in(file, root) or (stem if split_name(stem) in SPLIT_NAMES else "")


def _class_entries(root: Path, repairs: Repairs) -> list[Entry]:
    entries, images = [], Images(root, repairs)
    for file in classes(root):
        for row in _rows(file, root, images, repairs):
            split = _split_of(row, file, root)
            entries.append(Entry(where=row.where, image=row.image, split=split, label=row.label))
        images.report(str(file))
    return entries


def _box_entries(root: Path, repairs: Repairs) -> list[Entry]:
    entries, images = [], Images(root, repairs)
    for file in boxes(root):
        rows = _rows(file, root, images, repairs)
        columns = _columns(file)
        assert columns is not None
        fractions = _are_fractions([row for row in rows if row.box], file)
        if not fractions:
            _check_percent(rows, columns.kind, file)
        if columns.kind == "top left":
            _check_corner(rows, fractions, file)
        by_image: dict[tuple[Path, str], list[_Row]] = {}
        for row in rows:
            by_image.setdefault((row.image, _split_of(row, file, root)), []).append(row)
        for (image, split), several in by_image.items():
            objects = [
                Object(where=row.where, name=row.label, box=_corners(row.box, columns.kind), fractions=fractions)
                for row in several
                if row.box
            ]
            first = several[0]
            entries.append(Entry(where=first.where, image=image, split=split, size=first.size, objects=objects))
        images.report(str(file))
    return entries


def _corners(box: Sequence[float], kind: str) -> tuple[float, ...]:
    """x1, y1, x2, y2 of the four numbers of a row."""
    a, b, c, d = box
    if kind == "corners":
        return a, b, c, d
    return (a, b, a + c, b + d) if kind == "top left" else (a - c / 2, b - d / 2, a + c / 2, b + d / 2)


def _are_fractions(rows: Iterable[_Row], file: Path) -> bool:
    """Whether the boxes of a table are in fractions of the images.

    Raises:
        DataError: they may be either, or some rows are one and some the other.
    """
    small = [row for row in rows if max(map(abs, row.box)) <= _SLACK]
    large = [row for row in rows if max(map(abs, row.box)) > _SLACK]
    broken = [row for row in small if not all(value.is_integer() for value in row.box)]
    if broken and large:
        a, b = broken[0], large[0]
        raise DataError(f"{a.where}: looks like fractions, but {b.where} like pixels: write all boxes in one of them")
    if not broken and large:
        if max(max(row.box) for row in large) <= 2:
            raise DataError(f"{large[0].where}: pixels or fractions? All numbers of the table are 2 or less")
        return False
    if small and not broken:
        raise DataError(f"{file}: pixels or fractions? All numbers of its boxes are 0 or 1")
    return True


def _check_percent(rows: Sequence[_Row], kind: str, file: Path) -> None:
    """Raises a `DataError` if boxes in pixels may as well be in percent: all end below 100, in larger images."""
    with_box = [row for row in rows if row.box]
    ends = [max(_corners(row.box, kind)) for row in with_box]
    if len(ends) < _FEW or max(ends) > 100 * _SLACK:
        return
    sizes = []
    for image in {row.image for row in with_box}:
        with contextlib.suppress(DataError):  # is reported with the image
            sizes.append(image_size(image))
    if sizes and min(map(min, sizes)) > 100:
        text = f"pixels or percent? All {len(ends)} boxes end at 100 or below, but the images are larger"
        raise DataError(f"{file}: {text}: write fractions of the image (percent / 100, or pixels / size)", WRONG_FORMAT)


def _check_corner(rows: Sequence[_Row], fractions: bool, file: Path) -> None:
    """Raises a `DataError` if x and y must be the centre of the boxes: as corners, boxes would leave their images."""
    sizes: dict[Path, tuple[int, int]] = {}
    leave = {"top left": 0, "centre": 0}
    for row in rows:
        if not row.box:
            continue
        if row.image not in sizes:
            with contextlib.suppress(DataError):  # is reported with the image
                sizes[row.image] = image_size(row.image)
        if (size := sizes.get(row.image)) is None:
            continue
        for kind in leave:
            x1, y1, x2, y2 = _corners(row.box, kind)
            h, w = (1, 1) if fractions else size
            slack = ROUNDING / max(size) if fractions else ROUNDING
            leave[kind] += min(x1, y1) < -slack or x2 > w + slack or y2 > h + slack
    if leave["top left"] and not leave["centre"]:
        text = f"{leave['top left']} boxes leave their images unless x and y are their centres"
        raise DataError(f"{file}: {text}: name the columns x_center, y_center, or mend the boxes", WRONG_FORMAT)

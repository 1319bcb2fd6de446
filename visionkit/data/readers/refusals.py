"""What a folder holds in which no data set is recognised, what it looks like, and what to do about it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from visionkit.data.files import HIDDEN, SPLIT_NAMES, split_name, subfolders
from visionkit.data.readers.tables import header
from visionkit.image_files import IMAGE_SUFFIXES, UNREAD_SUFFIXES

_MOST_FILES = 50_000  # that are counted
_HEAD = 65_536  # bytes of a file that are looked at
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")


class _Foreign(NamedTuple):
    """A format that is known but not read."""

    name: str
    sign: str  # by which it is known, as shown to the user
    advice: str
    matches: Callable[[str, bytes], bool]  # (lower-case name of a file, its first bytes)


def _datum(name: str, extras: str = "cli") -> str:
    command = f"datum convert -if {name} -i DATA -f coco_instances -o NEW -- --save-media"
    return f"convert it with datumaro (pip install 'datumaro[{extras}]' in a new environment): {command}"


def _csv(name: str, head: bytes, *columns: bytes) -> bool:
    header = head.split(b"\n", 1)[0].lower()
    return name.endswith((".csv", ".tsv")) and any(column in header for column in columns)


def _is_kitti(name: str, head: bytes) -> bool:
    words = head.split(b"\n", 1)[0].split()
    return name.endswith(".txt") and len(words) in (15, 16) and words[0].isalpha() and _are_numbers(words[1:])


def _is_dota(name: str, head: bytes) -> bool:
    lines = [line.split() for line in head.split(b"\n")[:3]]
    return name.endswith(".txt") and any(
        len(words) == 10 and _are_numbers(words[:8]) and not _are_numbers(words[8:9]) for words in lines
    )


def _are_numbers(words: list[bytes]) -> bool:
    try:
        return all(abs(float(word)) < 1e9 for word in words)
    except ValueError:
        return False


def _has(suffix: str, *keys: bytes) -> Callable[[str, bytes], bool]:
    return lambda name, head: name.endswith(suffix) and all(key in head for key in keys)


_EXPORT = "open it in its own program or in Roboflow, CVAT or Label Studio and export it as COCO, Pascal VOC or YOLO"
_LABEL_THEM = (
    "label them, for example in CVAT, Label Studio or LabelMe; or, to learn one class an image, sort them into a "
    "folder for each class"
)
_FROM_THERE = "export it from there as COCO, Pascal VOC or YOLO"
_FOREIGN = (  # the first that matches is named
    _Foreign(
        "Label Studio's JSON-MIN, or tasks without annotations",
        "`from_name`",
        "export it from there as JSON",
        _has(".json", b'"from_name"', b'"to_name"'),
    ),
    _Foreign(
        "VIA 3",
        "`data_format_version`",
        "annotate with VIA 2, or " + _EXPORT,
        _has(".json", b'"data_format_version"', b'"attribute"'),
    ),
    _Foreign("Supervisely", "`classTitle`", _FROM_THERE, _has(".json", b'"classTitle"', b'"geometryType"')),
    _Foreign(
        "FiftyOneImageDetectionDataset",
        "`bounding_box`",
        "export it from FiftyOne as COCODetectionDataset",
        _has(".json", b'"classes"', b'"labels"', b'"bounding_box"'),
    ),
    _Foreign("CreateML", "`coordinates`", _EXPORT, _has(".json", b'"coordinates"', b'"label"')),
    _Foreign(
        "FiftyOne without detections, polylines or classifications",
        "`_cls`",
        "export a field with one of these",
        _has(".json", b'"_cls"'),
    ),
    _Foreign(
        "WIDER FACE",
        "its name",
        _datum("wider_face"),
        lambda name, _: name.startswith("wider_face") and name.endswith(".txt"),
    ),
    _Foreign("KITTI", "15 columns", _datum("kitti_detection"), _is_kitti),
    _Foreign("DOTA", "8 coordinates and a name", "oriented boxes are not read: " + _EXPORT, _is_dota),
    _Foreign("Open Images", "`ImageID`", _datum("open_images"), lambda name, head: _csv(name, head, b"imageid")),
    _Foreign(
        "Hugging Face metadata without `objects` or `label`",
        "its suffix",
        "add one of these keys to each line",
        lambda name, _: name.endswith("metadata.jsonl"),
    ),
    _Foreign(
        "TFRecord",
        "its suffix",
        _datum("tf_detection_api", "cli,tf"),
        lambda name, _: name.endswith((".tfrecord", ".tfrecords", ".record")) or ".tfrecord-" in name,
    ),
    _Foreign(
        "a table of Hugging Face",
        "its suffix",
        "load it with the library `datasets` and save the images into a folder per class, or as COCO",
        lambda name, _: name.endswith((".parquet", ".arrow")),
    ),
)


def why_not(root: Path, looked_for: str) -> str:
    """Returns one line on why there is no data set in `root`.

    Args:
        root: what the user gave; anything that exists.
        looked_for: the layouts that are read.
    """
    if root.is_file():
        return _about_file(root)
    files = list(_files(root))
    if not files:
        return f"{root}: an empty folder; expected labelled images: {looked_for}"
    counts = Counter(file.suffix.lower() or "without suffix" for file in files)
    text = f"{root}: no data set recognised; found {_counts(counts)}"
    if foreign := foreign_format(files):
        return f"{text}: {foreign}"
    pictures = sum(counts[suffix] for suffix in IMAGE_SUFFIXES)
    unread = sum(counts[suffix] for suffix in UNREAD_SUFFIXES)
    if not pictures and unread:
        return f"{text}: pictures of these kinds are not read; save them as JPEG or PNG"
    if not pictures and set(counts) & set(_ARCHIVES):
        return f"{text}: unpack the archive first"
    if not pictures:
        return f"{text}: no images ({' '.join(IMAGE_SUFFIXES)}); if the labels came alone, put the images beside them"
    bare = pictures == len(files)
    splits = [f"{folder.name}/" for folder in subfolders(root) if split_name(folder.name) in SPLIT_NAMES]
    if splits:
        text += f" in {', '.join(splits)}, which are splits and no classes, but no labels"
    elif bare:
        text += ": images without labels"
    if bare:
        return f"{text}; {_LABEL_THEM}"
    return f"{text}; looked for {looked_for}"


def foreign_format(files: list[Path]) -> str | None:
    """Returns which foreign format files have and what to do: "16 .json with `shapes` look like LabelMe, ..."."""
    counts = Counter(file.suffix.lower() for file in files)
    tried: Counter[str] = Counter()
    for file in files:
        suffix = file.suffix.lower()
        tried[suffix] += 1
        if suffix in IMAGE_SUFFIXES or tried[suffix] > 5:
            continue
        head = b""
        if suffix in (".json", ".xml", ".csv", ".tsv", ".txt"):
            with file.open("rb") as stream:
                head = stream.read(_HEAD)
        for foreign in _FOREIGN:
            if foreign.matches(file.name.lower(), head):
                plural = "looks" if counts[suffix] == 1 else "look"
                what = f"{counts[suffix]} {suffix} with {foreign.sign} {plural} like {foreign.name}"
                return f"{what}, which visionkit does not read; {foreign.advice}"
    return next((_about_table(file) for file in files if file.suffix.lower() in (".csv", ".tsv")), None)


def _about_table(file: Path) -> str:
    """What is wrong with a table beside images, which no reader takes."""
    names, _ = header(file)
    wanted = "filename, class and, for boxes, xmin, ymin, xmax, ymax"
    if any(name.replace(".", "", 1).isdigit() for name in names):
        return f"{file.name}: its first line is no header but a row; put one above it with the columns {wanted}"
    columns = ", ".join(name[:30] or "(no name)" for name in names[:12])
    advice = f"put its images beside it, and name its columns {wanted}"
    return f"{file.name} with the columns {columns} looks like a table that visionkit does not read; {advice}"


def _files(root: Path) -> Iterator[Path]:
    count = 0
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        for name in sorted(names):
            if not name.startswith("."):
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(where, name)


def _counts(counts: Counter[str]) -> str:
    common = [f"{count} {suffix}" for suffix, count in counts.most_common(6)]
    more = len(counts) - len(common)
    if more:
        common.append(f"{more} more kinds of files")
    return common[0] if len(common) == 1 else f"{', '.join(common[:-1])} and {common[-1]}"


def _about_file(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix in (*IMAGE_SUFFIXES, *UNREAD_SUFFIXES):
        return f"{file}: a single image is not a data set; give the folder of the labelled images"
    if suffix in _ARCHIVES:
        return f"{file}: an archive; unpack it and give the folder"
    return f"{file}: a file; give the folder that holds the data set (of YOLO, also its data.yaml)"

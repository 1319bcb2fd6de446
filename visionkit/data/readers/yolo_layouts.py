"""Where a YOLO data set has its images, its labels and the names of its classes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from visionkit import limits
from visionkit.data.files import (
    HIDDEN,
    annotated_among,
    check_names,
    files_of,
    list_images,
    paired_folders,
    read_lines,
    read_names,
    read_text,
    regular,
)
from visionkit.data.repair import Repairs
from visionkit.image_files import IMAGE_SUFFIXES
from visionkit.types import DataError

YAML_SUFFIXES = (".yaml", ".yml")
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels/classes.txt")
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt")


_UNLABELLED = "label them, or take them out of the data set"


class Part(NamedTuple):
    """The images of a split and their labels.

    Args:
        images, labels: folders with files of equal names; the same folder if the labels lie among the images.
        listed: the images in a list of them; None for all of `images`.
    """

    images: Path
    labels: Path
    listed: tuple[Path, ...] | None = None


def parts_of(root: Path) -> dict[str, list[Part]]:
    """Split -> its parts; "" if the data is not split, {} if this is not YOLO.

    Args:
        root: a folder; or a data.yaml, whose train, val and test are then used.
    """
    if root.is_file():
        return _of_yaml(root, anywhere=True)
    if parts := _of_only_yaml(root):
        return parts
    pairs = paired_folders(root, ("images",), ("labels",))
    if set(pairs) == {""} and (listed := _of_lists(root)):
        return listed
    if any(label_files(labels) for _, labels in pairs.values()):
        return {split: [Part(images, labels)] for split, (images, labels) in pairs.items()}
    if listed := _of_darknet(root):
        return listed
    if among := annotated_among(root, ".txt", is_label_file):
        return {split: [Part(folder, folder)] for split, folder in among.items()}
    return _of_lists(root)


def check_labelled(parts: dict[str, list[Part]], root: Path, repairs: Repairs) -> None:
    """Refuses a part with images but no labels at all, which would otherwise pass as background or as nothing.

    Args:
        parts: of the data set.
        root: of the data set, or its data.yaml.
        repairs: notes it if it collects.

    Raises:
        DataError: says how many images the part has.
    """
    for name, several in parts.items():
        for part in several:
            images = images_of(part)
            has_labels = (part.listed is None and part.images != part.labels) or _has_labels(part)
            if images and not has_labels:
                what = f"{part.images} has" if part.listed is None else f"{root}: the list of {name} has"
                with repairs.skipping():
                    count = f"{len(images)} image{'s' if len(images) > 1 else ''}"
                    raise DataError(f"{what} {count} but no labels/: {_UNLABELLED}", "missing annotation")


def label_files(folder: Path) -> list[Path]:
    """Returns the label files in `folder`, without lists of classes or of images."""
    files = (f for f in folder.rglob("*") if f.suffix.lower() == ".txt")
    shown = (f for f in files if not any(part.startswith(HIDDEN) for part in f.relative_to(folder).parts[:-1]))
    return sorted(f for f in shown if f.name not in _NO_LABELS and not f.name.startswith("."))


def is_label_file(file: Path) -> bool:
    """Whether the first line is a class and a box or a polygon; not for a file without lines."""
    with file.open("rb") as stream:
        words = stream.readline(10_000).split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        return False
    return len(values) > 4 and len(values) % 2 == 1 and values[0] >= 0 and values[0].is_integer()


def label_of(image: Path, root: Path) -> Path | None:
    """Returns the labels of a listed image: in `labels` instead of the last `images` of its path, or beside it."""
    folders = list(image.relative_to(root).parts[:-1])
    places = [image.with_suffix(".txt")]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        places.insert(0, root.joinpath(*folders[:last], "labels", *folders[last + 1 :], image.stem + ".txt"))
    return next((regular(place, root, image) for place in places if place.is_file()), None)


def names_of(root: Path, parts: dict[str, list[Part]]) -> list[str] | None:
    """Returns the class names in a .yaml or .txt file, or None if there is no such file.

    Raises:
        DataError: the files of two splits name different classes, or two lists have them in different orders.
    """
    for file in [root] if root.is_file() else files_of(root, *YAML_SUFFIXES):
        names = _yaml_names(file)
        if names is not None:
            _check_order(names, file)
            return names
    if root.is_file():
        return None
    listed = [file for _, values in _darknet_files(root) if (file := shipped(root, values.get("names", "")))]
    found = [file for file in (*listed, *(root / name for name in _NAME_FILES)) if file.is_file()]
    if found:
        return read_names(found[0])
    folders = dict.fromkeys(part.labels for several in parts.values() for part in several)
    lists = [f for folder in folders for name in _NAME_FILES if (f := folder / name).is_file()]
    names = [read_names(file) for file in lists]
    if different := [file for file, own in zip(lists, names, strict=True) if own != names[0]]:
        raise DataError(f"{different[0]}: its classes are not those of {lists[0]}")
    return names[0] if names else None


def _check_order(names: list[str], file: Path) -> None:
    """Raises a `DataError` if a list of classes beside the .yaml `file` has its names in another order."""
    for other in (file.parent / name for name in _NAME_FILES):
        listed = [name for _, name in read_lines(other)] if other.is_file() else names
        if listed != names and sorted(listed) == sorted(names):
            raise DataError(f"{file}: its classes are those of {other} in another order: which is right? Remove one")


def shipped(root: Path, name: str) -> Path | None:
    """Returns what `name`, a path on the machine that wrote it, is in `root`: its longest end that exists there."""
    words = [word for word in name.replace("\\", "/").split("/") if word not in ("", ".", "..")]
    paths = (root.joinpath(*words[i:]) for i in range(len(words)))
    return next((path for path in paths if os.path.exists(path)), None)  # noqa: PTH110 (Path.exists raises)


def load_yaml(file: Path) -> dict[str, Any]:
    """Returns the mapping in a .yaml file, {} if it holds anything else."""
    text = read_text(file, limits.YAML)
    try:
        content = yaml.safe_load(text)
    except Exception as error:  # PyYAML meets bad tags and values with KeyError, IndexError, AttributeError, ...
        raise DataError(f"{file}: broken YAML: {' '.join(str(error).split())[:200]}") from None
    return content if isinstance(content, dict) else {}


def _of_only_yaml(root: Path) -> dict[str, list[Part]]:
    """The splits of the only .yaml file in `root` that names folders or lists of images in it."""
    named = [parts for file in files_of(root, *YAML_SUFFIXES) if (parts := _of_yaml(file, anywhere=False))]
    labelled = [parts for parts in named if any(_has_labels(part) for several in parts.values() for part in several)]
    return labelled[0] if len(labelled) == 1 else {}


def _of_lists(root: Path) -> dict[str, list[Part]]:
    """The splits of train.txt, val.txt and test.txt in `root`, if there are lists of images for training."""
    files = {name: root / f"{name}.txt" for name in ("train", "val", "valid", "test")}
    lists = {name: [Part(root, root, _listed(file, root))] for name, file in files.items() if _is_list(file, root)}
    return lists if "train" in lists and any(map(_has_labels, lists["train"])) else {}


def _is_list(file: Path, root: Path) -> bool:
    """Whether the first line of a file names an image in `root`."""
    lines = read_lines(file)[:1] if file.is_file() else []
    image = shipped(root, lines[0][1]) if lines else None
    return image is not None and image.is_file() and image.suffix.lower() in IMAGE_SUFFIXES


def _has_labels(part: Part) -> bool:
    if part.listed is None:
        return any(map(is_label_file, label_files(part.labels)))
    return any(label_of(image, part.images) for image in part.listed)


def _of_yaml(file: Path, anywhere: bool) -> dict[str, list[Part]]:
    """The splits that a data.yaml names. `anywhere`: its `path` may lead out of its folder."""
    content = load_yaml(file)
    base = file.parent
    if isinstance(path := content.get("path"), str) and path.strip("./"):
        folder = base / path if anywhere and (base / path).is_dir() else shipped(base, path)
        base = folder if folder is not None and folder.is_dir() else base
    parts: dict[str, list[Part]] = {}
    for key in ("train", "val", "valid", "validation", "test"):
        values = content.get(key)
        if not values:
            continue
        found = _entries(content, key, base)
        if not found and key == "test":  # exports name it even where there is none
            continue
        if not found:
            if not anywhere:
                return {}
            raise DataError(f"{file}: {key}: {str(values)[:80]!r} is no folder or list of images in {base}")
        parts[key] = found
    return parts


def _entries(content: dict[str, Any], key: str, base: Path) -> list[Part]:
    """The parts that one key of a data.yaml names: a folder, a list of images, or several of these."""
    values = content[key] if isinstance(content[key], list) else [content[key]]
    places = [shipped(base, _below(base, value)) for value in values if isinstance(value, str)]
    parts = []
    for place in places:
        if place is not None and place.is_dir():
            parts.append(_of_folder(place, base))
        elif place is not None and place.suffix.lower() == ".txt":
            parts.append(Part(base, base, _listed(place, base)))
    return parts if len(parts) == len(values) else []


def _below(base: Path, value: str) -> str:
    """An absolute path in `base` relative to it; others as they are."""
    path = Path(value)
    return path.relative_to(base.absolute()).as_posix() if path.is_relative_to(base.absolute()) else value


def _of_folder(images: Path, base: Path) -> Part:
    folders = list(images.relative_to(base).parts)
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        labels = base.joinpath(*folders[:last], "labels", *folders[last + 1 :])
        if labels.is_dir():
            return Part(images, labels)
    return Part(images, images / "labels", None) if (images / "labels").is_dir() else Part(images, images)


def _darknet_files(root: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The .data files of darknet and CVAT, lines `key = value`."""
    for file in files_of(root, ".data"):
        pairs = [line.partition("=") for _, line in read_lines(file)]
        yield file, {key.strip(): value.strip() for key, _, value in pairs}


def _of_darknet(root: Path) -> dict[str, list[Part]]:
    parts: dict[str, list[Part]] = {}
    for file, values in _darknet_files(root):
        for key in ("train", "valid", "val", "test"):
            place = shipped(root, values.get(key, ""))
            if place is not None and place.is_file():
                parts[key] = [Part(root, root, _listed(place, root))]
            elif key == "train" and key in values:
                raise DataError(f"{file}: train: there is no {values[key][:80]!r} in {root}")
    return parts


def _listed(file: Path, root: Path) -> tuple[Path, ...]:
    images: dict[Path, int] = {}
    for n, line in read_lines(file):
        image = shipped(root, line) or shipped(file.parent, line)
        if image is None or not image.is_file():
            raise DataError(f"{file}:{n}: there is no image {line[:80]!r} in {root}", "missing image")
        if image in images:
            raise DataError(f"{file}:{n}: {line[:80]!r} was already listed in line {images[image]}", "listed twice")
        images[image] = n
    return tuple(images)


def _yaml_names(file: Path) -> list[str] | None:
    """The class names in a .yaml file, or None if it has none."""
    content = load_yaml(file)
    if "kpt_shape" in content:
        raise DataError(f"{file}: kpt_shape: labels with keypoints cannot be told from polygons, and are not read")
    names = content.get("names")
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[i] for i in range(len(names))]
    if isinstance(names, list) and names and all(map(_is_name, names)):
        return check_names([str(name) for name in names], file)
    if names is not None:
        raise DataError(f"{file}: names: expected a list, or a mapping from 0, 1, ... to names")
    return None


def _is_name(value: Any) -> bool:
    """Whether `value` can be a class name; an integer of thousands of digits could not even be printed."""
    return isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**18)


def images_of(part: Part) -> list[Path]:
    """Returns the images of a part."""
    return list_images(part.images) if part.listed is None else list(part.listed)

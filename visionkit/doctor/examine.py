"""The dataset doctor: what is wrong with a data set, before hours of training find out."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.files import load_image
from visionkit.data.recognise import describe, open_dataset, splits, tasks_of
from visionkit.data.repair import Finding, Repairs
from visionkit.doctor import annotation_checks, duplicates
from visionkit.images import exif_orientation
from visionkit.types import DataError, Sample

ERROR, WARNING, NOTE = GRADES = ("error", "warning", "note")
KINDS = {  # kind -> (grade, what it means or what to do), the gravest first
    "broken image": (ERROR, "cannot be read whole: replace it or take it out"),
    "broken mask": (ERROR, "cannot be read: replace it or take its image out"),
    "broken annotation": (ERROR, "not what its format prescribes: left out when training, or training stops"),
    "missing image": (ERROR, "annotated, but there is no such file"),
    "missing annotation": (ERROR, "listed, or beside others, but not annotated"),
    "file outside the folder": (ERROR, "a path or link that leads out of the data set is refused"),
    "listed twice": (ERROR, "the same image twice in a list or under one name"),
    "EXIF orientation": (ERROR, "annotated on the picture before it was turned upright: annotate it again"),
    "image size": (ERROR, "annotated at another size than the file has: its boxes cannot be right"),
    "zero area": (ERROR, "a box without width or height: dropped by the readers"),
    "corners in the wrong order": (ERROR, "x2 < x1 or y2 < y1: dropped by the readers"),
    "outside the image": (ERROR, "a box wholly outside its image: dropped by the readers"),
    "unknown class": (ERROR, "a class id or mask value that has no name"),
    "lossy mask": (ERROR, "JPEG and WebP change the values: save masks as PNG"),
    "colours in a mask": (ERROR, "class numbers are expected: save it as a grey or palette PNG"),
    "same image in two splits": (ERROR, "what is trained on must not be scored on: take it out of one"),
    "same image, two labels": (ERROR, "one of the two classes is wrong"),
    "box format": (WARNING, "boxes that make sense only when read in another way"),
    "clipped": (WARNING, "a box partly outside its image: cut by the readers"),
    "duplicate box": (WARNING, f"two boxes of an IoU of {annotation_checks.SAME_BOX} or more"),
    "two classes": (WARNING, "one box with two classes: is one of them wrong? --fix leaves both"),
    "near duplicate in two splits": (WARNING, "a copy, another size or the next frame: scores will be too good"),
    "class without samples": (WARNING, "named, but never used"),
    "class not in train": (WARNING, "cannot be learned"),
    "deeper folder": (WARNING, "left out: where the images lie is a class, so move them up, or away"),
    "missing mask": (WARNING, "masks are read where every annotation has one: draw it, or take the annotation out"),
    "unread image": (WARNING, "of a kind that is not read: save it as JPEG or PNG"),
    "ignored mask": (WARNING, "over nine tenths of it are ignored: teaches hardly anything"),
    "rare mask value": (WARNING, "a few pixels in one mask alone: a slip, or the trace of smoothing?"),
    "numbered masks": (WARNING, "if their values number objects, say --task detect or --task instance"),
    "class-id gaps": (NOTE, "numbers that are not used between those that are"),
    "EXIF tag": (NOTE, "turned upright when read; check that it was annotated that way"),
    "repeated image": (NOTE, "the same picture twice within a split"),
    "class balance": (NOTE, "consider class weights, or more of the rare one"),
    "small objects": (NOTE, "train at a larger size, or expect to miss them"),
    "background": (NOTE, "teaches what is not an object; a good thing in moderation"),
    "ignored pixels": (NOTE, "neither trained on nor scored"),
}


@dataclass
class Report:
    """What the doctor found.

    Args:
        title: the data set and its format, for people.
        task: "detect", "instance", "classify" or "segment".
        parts: split -> its data, without what cannot be read; "all" where the data is not split.
        class_names: of the class ids.
        counts: split -> int `[K]` objects, images or pixels of each class, as `what` says.
        what: is counted: "objects", "images" or "pixels".
        leaked: (split, sample id) of images of which a later split holds the same.
        findings: the gravest first.
        size: (height, width) of the training image, or its long side.
        seconds: it took.
    """

    title: str
    task: str
    parts: dict[str, Dataset]
    class_names: list[str]
    counts: dict[str, np.ndarray]
    what: str
    leaked: set[tuple[str, str]]
    findings: list[Finding]
    size: int | tuple[int, int]
    seconds: float

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind, in the order of `KINDS`."""
        return {kind: found for kind in KINDS if (found := [f for f in self.findings if f.kind == kind])}

    def grades(self) -> dict[str, int]:
        """How many findings there are of each grade."""
        count = Counter(KINDS[finding.kind][0] for finding in self.findings)
        return {grade: count[grade] for grade in GRADES}

    def images(self) -> dict[str, int]:
        """How many images of each split can be read."""
        return {split: len(part) for split, part in self.parts.items()}

    def to_json(self) -> str:
        """Everything, for machines."""
        classes = {split: dict(zip(self.class_names, c.tolist(), strict=True)) for split, c in self.counts.items()}
        found = [
            {"grade": KINDS[f.kind][0]} | asdict(f) | {"files": [str(file) for file in f.files]} for f in self.findings
        ]
        head = {"data": self.title, "task": self.task, "images": self.images(), "classes": classes}
        head |= {"size": self.size, "grades": self.grades(), "findings": found, "seconds": self.seconds}
        return json.dumps(head, indent=2) + "\n"

    def __str__(self):
        total = np.sum(list(self.counts.values()), axis=0)
        pairs = sorted(zip(total.tolist(), self.class_names, strict=True), key=lambda pair: -pair[0])
        classes = ", ".join(f"{name} {count:,}" for count, name in pairs[:8]) + ", ..." * (len(pairs) > 8)
        images = ", ".join(f"{split} {count:,}" for split, count in self.images().items())
        lines = [self.title, f"images: {images}; {self.what}: {classes}"]
        for kind, found in self.by_kind().items():
            lines.append(f"{KINDS[kind][0]:8} {kind} ({len(found)}): {KINDS[kind][1]}")
            lines += [f"         {finding.message}" for finding in found[:3]]
            lines += [f"         and {len(found) - 3} more"] * (len(found) > 3)
        grades = ", ".join(f"{n} {grade}{'s' * (n != 1)}" for grade, n in self.grades().items())
        return "\n".join([*lines, f"{grades}; {self.seconds:.1f} s"])


@dataclass(frozen=True)
class _Look:
    """What one look at the pixels of a sample kept."""

    print: tuple  # see duplicates.fingerprint
    orientation: int
    pixels: np.ndarray | None  # int [256], of a class map


def examine(
    root: Path, split: str | None = None, task: str | None = None, size: int | tuple[int, int] = 384, **meaning
) -> Report:
    """Reads and decodes the whole data set once and reports all that is wrong or worth knowing.

    Args:
        root: a folder in any layout that `open_dataset` recognises.
        split: as `open_dataset`; by default every split, trainval left out where there is train.
        task: as `open_dataset`.
        size: of the image to train on: its long side, or (height, width), in pixels.
        meaning: `classes` and `void` as `open_dataset`.

    Raises:
        DataError: no data set is recognised, there is no such split, or nothing of it can be read.
    """
    start, root, title = time.monotonic(), Path(root), describe(root, task)
    tasks, form = tasks_of(root, task), title.split(" in ")[0]
    task, repairs = task or tasks[0], Repairs(form, collect=True)
    reading = "instance" if task == "detect" and "instance" in tasks else task  # with the masks that there may be
    parts = _read(root, split, reading, repairs, meaning)
    samples = [(part, name, record) for name, part in parts.items() for record in part.records]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        looks = list(pool.map(lambda item: _look(*item[::2], repairs), samples))
    seen = [(name, record, look) for (_, name, record), look in zip(samples, looks, strict=True) if look]
    broken = {id(record) for (*_, record), look in zip(samples, looks, strict=True) if not look}
    for name, part in parts.items():
        parts[name] = part.subset([i for i, record in enumerate(part.records) if id(record) not in broken])
    names = next(iter(parts.values())).class_names
    findings, records = list(repairs.findings), [record for _, record, _ in seen]
    if task == "segment":
        counts, what = _pixel_counts(parts, seen, names), "pixels"
        pixels = np.array([look.pixels for *_, look in seen], np.int64).reshape(-1, 256)
        findings += annotation_checks.mask_findings(records, pixels, names)
    else:
        counts = {name: annotation_checks.class_counts(part.records, len(names)) for name, part in parts.items()}
        what = "images" if task == "classify" else "objects"
    findings += annotation_checks.class_findings(counts, names, what)
    if what == "objects":
        for record in records:
            found = annotation_checks.other_format(record, repairs.raw.get(record.file, np.empty((0, 4))), form)
            findings += [found] if found else []
            findings += annotation_checks.duplicate_boxes(record, names)
        findings += annotation_checks.small_objects(records, _scale(size))
        findings += annotation_checks.background(records)
    findings += _orientations(seen)
    findings += _duplicates(seen)
    last = {look.print[0]: name for name, _, look in seen}
    leaked = {(name, record.id) for name, record, look in seen if last[look.print[0]] != name}
    order = {kind: i for i, kind in enumerate(KINDS)}
    findings.sort(key=lambda f: (order[f.kind], f.id))
    return Report(title, task, parts, names, counts, what, leaked, findings, size, round(time.monotonic() - start, 1))


def _read(root: Path, split: str | None, task: str, repairs: Repairs, meaning: dict) -> dict[str, Dataset]:
    """Split -> what of it can be read."""
    names = split.split("+") if split else splits(root, task)
    names = [name for name in names if split or name != "trainval" or "train" not in names]
    parts, last = {}, None
    for name in names or [None]:
        try:
            parts[name or "all"] = open_dataset(root, name, task, repairs=repairs, **meaning)
        except DataError as error:
            repairs.note(error.kind or "broken annotation", str(error))
            last = error
    if not parts:
        raise last
    first = next(iter(parts.values()))
    for name, part in list(parts.items()):
        if part.class_names != first.class_names:
            text = (
                f"split {name}: its classes {part.class_names[:9]} are not {first.class_names[:9]}, those of the first"
            )
            repairs.note("unknown class", text)
            del parts[name]
    return parts


def _look(part: Dataset, record: Sample, repairs: Repairs) -> _Look | None:
    """Decodes a sample; None, and a finding, where that fails."""
    kind = "broken image" if record.boxes is not None or record.label is not None else "broken mask"
    with repairs.skipping(record.id, record.file, kind):
        sample, pixels = (record if record.image is not None else load_image(record)), None
        if record.boxes is None and record.label is None:
            sample = part.load(record)
            pixels = np.bincount(sample.segmentation.ravel(), minlength=256)
        orientation = exif_orientation(record.file) if record.file and record.file.suffix.lower() != ".png" else 1
        return _Look(duplicates.fingerprint(sample.image), orientation, pixels)
    return None


def _pixel_counts(parts, seen, names) -> dict[str, np.ndarray]:
    """Split -> int `[K]` pixels of each class."""
    counts = {name: np.zeros(len(names), np.int64) for name in parts}
    for name, _, look in seen:
        counts[name] += look.pixels[: len(names)]
    return counts


def _scale(size) -> Callable[[tuple[int, int]], float]:
    """Image size (height, width) -> what its pixels are multiplied by when it is trained on."""
    if isinstance(size, int):
        return lambda image_size: size / max(image_size)
    return lambda image_size: min(size[0] / image_size[0], size[1] / image_size[1])


def _orientations(seen):
    for _, record, look in seen:
        if look.orientation != 1:
            text = f"{record.id}: {record.file.name} carries the EXIF orientation {look.orientation}"
            yield Finding(kind="EXIF tag", message=text, id=record.id, files=(record.file,))


def _duplicates(seen):
    digests, hashes, small = zip(*(look.print for *_, look in seen), strict=True) if seen else ((), (), ())
    pairs = duplicates.same(digests)
    for i, j in pairs:
        (split, a, _), (other, b, _) = seen[i], seen[j]
        kind = "same image in two splits" if split != other else "repeated image"
        kind = "same image, two labels" if a.label != b.label else kind
        yield _pair(kind, seen[i], seen[j])
    groups = np.unique([name for name, *_ in seen], return_inverse=True)[1]
    if len(set(groups.tolist())) > 1:
        for i, j in duplicates.near(digests, hashes, np.array(small), groups):
            yield _pair("near duplicate in two splits", seen[i], seen[j])


def _pair(kind, first, second):
    (split, a, _), (other, b, _) = first, second
    files = tuple(record.file for record in (a, b) if record.file)
    return Finding(kind=kind, message=f"{a.id} ({split}) and {b.id} ({other})", id=a.id, files=files)

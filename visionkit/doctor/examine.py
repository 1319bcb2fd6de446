"""The dataset doctor: examines a whole data set and reports everything that is wrong with it."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visionkit.data.dataset import Dataset
from visionkit.data.files import list_images, load_image
from visionkit.data.recognise import describe, how_read, open_dataset, splits, tasks_of
from visionkit.data.repair import Finding, Repairs
from visionkit.doctor import annotation_checks, duplicates
from visionkit.doctor.diagnosis import KINDS, Diagnosis
from visionkit.image_files import absolute
from visionkit.images import exif_orientation
from visionkit.types import DataError, Sample


@dataclass(frozen=True)
class _Decoded:
    """What is kept of a sample after its pixels were decoded."""

    split: str
    record: Sample
    fingerprint: duplicates.Fingerprint
    orientation: int  # of the EXIF tag, 1 to 8
    pixels: np.ndarray | None  # int [256], how often each value occurs in the class map; None without one


def examine(
    root: Path | str,
    split: str | None = None,
    task: str | None = None,
    size: int | tuple[int, int] = 384,
    *,
    classes: Path | None = None,
    void: int | None = None,
    known: Mapping[Path, duplicates.Fingerprint] | None = None,
) -> Diagnosis:
    """Reads and decodes the whole data set once and reports everything that is wrong or worth knowing.

    Args:
        root: a folder in any layout that `open_dataset` recognises.
        split: as for `open_dataset`; by default every split, but not trainval if there is train.
        task: as for `open_dataset`.
        size: of the training image in pixels: its long side, or (height, width).
        classes, void: as for `open_dataset`.
        known: fingerprints of image files, by their absolute paths, that were just decoded and need not be again; see
            `duplicates.remembering`.

    Returns:
        A `Diagnosis`; its `findings` say what is wrong, the most serious first.

    Raises:
        DataError: no data set is recognised, there is no such split, or nothing in it can be read.
    """
    start = time.monotonic()
    root, title = Path(root), describe(root, task)
    tasks, format_name = tasks_of(root, task), title.split(" in ")[0]
    task = task or tasks[0]
    repairs = Repairs(format_name, collect=True)
    task_to_read = "instance" if task == "detect" and "instance" in tasks else task  # with masks, if there are any
    parts = _read(root, split, task_to_read, repairs, classes, void)
    decoded = _decode(parts, repairs, known or {})
    readable = {id(one.record) for one in decoded}
    for name, part in parts.items():
        parts[name] = part.subset([i for i, record in enumerate(part.records) if id(record) in readable])
    first = next(iter(parts.values()))
    class_names = first.class_names
    title += how_read(first)
    counts, what = _class_counts(task, parts, decoded, class_names)
    findings = [
        *(_with_left_out_images(root, format_name, parts, repairs.findings) if split is None else repairs.findings),
        *annotation_checks.similar_classes(class_names),
        *annotation_checks.class_findings(counts, class_names, what),
        *_mask_findings(task, decoded, class_names),
        *(_box_findings(decoded, class_names, format_name, repairs, size) if what == "objects" else ()),
        *(annotation_checks.keypoint_findings(parts) if task == "keypoints" else ()),
        *_orientations(decoded),
        *_duplicates(decoded),
    ]
    order = {kind: i for i, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: (order[finding.kind], finding.id))
    last_split = {one.fingerprint.digest: one.split for one in decoded}
    return Diagnosis(
        title=title,
        task=task,
        parts=parts,
        class_names=class_names,
        counts=counts,
        what=what,
        leaked={(one.split, one.record.id) for one in decoded if last_split[one.fingerprint.digest] != one.split},
        findings=findings,
        size=size,
        seconds=round(time.monotonic() - start, 1),
    )


def _with_left_out_images(
    root: Path, format_name: str, parts: dict[str, Dataset], findings: list[Finding]
) -> list[Finding]:
    """The readers' findings, and one for each folder with images that no split holds and nothing was said about."""
    if format_name in ("images and class maps", "images and instance masks", "MNIST"):
        return findings  # masks are images too; their reader reports images without one
    findings = [finding for finding in findings if finding.kind != "unannotated image"]
    base = root if root.is_dir() else root.parent
    if not any(
        absolute(r.file).is_relative_to(absolute(base)) for part in parts.values() for r in part.records if r.file
    ):
        return findings  # a data.yaml that lies elsewhere
    read = {absolute(record.file) for part in parts.values() for record in part.records if record.file}
    said = read | {absolute(file) for finding in findings for file in finding.files}
    ids = {Path(finding.id).name for finding in findings if finding.id and not finding.files}
    deeper = tuple(
        f"{finding.message.partition(':')[0]}{os.sep}" for finding in findings if finding.kind == "deeper folder"
    )
    left: dict[Path, list[str]] = defaultdict(list)
    for file in list_images(base):
        known = absolute(file) in said or file.stem in ids or file.name in ids
        is_mask = any(part.lower().startswith(_MASKS) for part in file.relative_to(base).parts[:-1])
        if not known and not is_mask and not str(file).startswith(deeper):
            left[file.parent].append(file.name)
    for folder, names in left.items():
        what = f"{len(names)} image{'s' if len(names) > 1 else ''} in {folder}, which no split or annotation names"
        more = ", ..." if len(names) > 5 else ""
        findings.append(Finding(kind="unannotated image", message=f"{what} ({', '.join(names[:5])}{more})"))
    return findings


_MASKS = ("segmentation", "masks", "annotations", "labels")  # beginnings of the names of folders of masks


def _read(
    root: Path, split: str | None, task: str, repairs: Repairs, classes: Path | None, void: int | None
) -> dict[str, Dataset]:
    """Split -> the data that can be read."""
    names: list[str | None] = [*(split.split("+") if split else splits(root, task))]
    if not split and "train" in names:
        names = [name for name in names if name != "trainval"]
    parts: dict[str, Dataset] = {}
    error = None
    for name in names or [None]:
        try:
            parts[name or "all"] = open_dataset(root, name, task, classes=classes, void=void, repairs=repairs)
        except DataError as caught:
            repairs.note(caught.kind or "broken annotation", str(caught))
            error = caught
    if error is not None and not parts:
        raise error
    first = next(iter(parts.values())).class_names
    for name, part in list(parts.items()):
        if part.class_names != first:
            text = f"split {name}: its classes {part.class_names[:9]} are not those of the first split, {first[:9]}"
            repairs.note("unknown class", text)
            del parts[name]
    return parts


def _decode(
    parts: dict[str, Dataset], repairs: Repairs, known: Mapping[Path, duplicates.Fingerprint]
) -> list[_Decoded]:
    """Decodes every sample in threads, but for `known` files; those that cannot be decoded become findings."""
    samples = [(split, part, record) for split, part in parts.items() for record in part.records]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(lambda sample: _decode_one(sample[0], sample[1], sample[2], repairs, known), samples)
        return [one for one in results if one is not None]


def _decode_one(
    split: str, part: Dataset, record: Sample, repairs: Repairs, known: Mapping[Path, duplicates.Fingerprint]
) -> _Decoded | None:
    has_map = record.boxes is None and record.label is None
    with repairs.skipping(record.id, record.file, "broken mask" if has_map else "broken image"):
        pixels, mark = None, known.get(absolute(record.file)) if record.file and not has_map else None
        if mark is None:
            sample = record if record.image is not None else load_image(record)
            if has_map:
                sample = part.load(record)
                assert sample.segmentation is not None
                pixels = np.bincount(sample.segmentation.ravel(), minlength=256)
            assert sample.image is not None
            mark = duplicates.fingerprint(sample.image)
        may_be_turned = record.file is not None and record.file.suffix.lower() != ".png"
        orientation = exif_orientation(record.file) if record.file and may_be_turned else 1
        return _Decoded(split, record, mark, orientation, pixels)
    return None


def _class_counts(
    task: str, parts: dict[str, Dataset], decoded: list[_Decoded], class_names: list[str]
) -> tuple[dict[str, np.ndarray], str]:
    """(split -> int `[K]`, what is counted)."""
    if task != "segment":
        counts = {
            split: annotation_checks.class_counts(part.records, len(class_names)) for split, part in parts.items()
        }
        return counts, "images" if task == "classify" else "objects"
    counts = {split: np.zeros(len(class_names), np.int64) for split in parts}
    for one in decoded:
        counts[one.split] += _pixels(one)[: len(class_names)]
    return counts, "pixels"


def _pixels(one: _Decoded) -> np.ndarray:
    assert one.pixels is not None, "only samples of the task segment have class maps"
    return one.pixels


def _mask_findings(task: str, decoded: list[_Decoded], class_names: list[str]) -> Iterator[Finding]:
    if task == "segment":
        pixels = np.array([_pixels(one) for one in decoded], np.int64).reshape(-1, 256)
        yield from annotation_checks.mask_findings([one.record for one in decoded], pixels, class_names)


def _box_findings(
    decoded: list[_Decoded], class_names: list[str], format_name: str, repairs: Repairs, size: int | tuple[int, int]
) -> Iterator[Finding]:
    records = [one.record for one in decoded]
    for record in records:
        if record.file in repairs.raw:
            yield from annotation_checks.other_format(record, repairs.raw[record.file], format_name)
        yield from annotation_checks.duplicate_boxes(record, class_names)
    yield from annotation_checks.small_objects(records, size)
    yield from annotation_checks.background(records)


def _orientations(decoded: list[_Decoded]) -> Iterator[Finding]:
    for one in decoded:
        record = one.record
        if one.orientation != 1 and record.file is not None:
            text = f"{record.id}: {record.file.name} has the EXIF orientation {one.orientation}"
            yield Finding(kind="EXIF tag", message=text, id=record.id, files=(record.file,))


def _duplicates(decoded: list[_Decoded]) -> Iterator[Finding]:
    digests = [one.fingerprint.digest for one in decoded]
    for i, j in duplicates.same(digests):
        kind = "same image in two splits" if decoded[i].split != decoded[j].split else "repeated image"
        if decoded[i].record.label != decoded[j].record.label:
            kind = "same image, two labels"
        yield _pair(kind, decoded[i], decoded[j])
    groups = np.unique([one.split for one in decoded], return_inverse=True)[1]
    if len(set(groups.tolist())) > 1:
        hashes = [one.fingerprint.hash for one in decoded]
        small = np.array([one.fingerprint.small for one in decoded])
        for i, j in duplicates.near(digests, hashes, small, groups):
            yield _pair("near duplicate in two splits", decoded[i], decoded[j])


def _pair(kind: str, first: _Decoded, second: _Decoded) -> Finding:
    a, b = first.record, second.record
    files = tuple(record.file for record in (a, b) if record.file)
    return Finding(kind=kind, message=f"{a.id} ({first.split}) and {b.id} ({second.split})", id=a.id, files=files)

"""Results of a whole folder as files: tables, and one annotated picture per image."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visionkit import images, resizing
from visionkit.files import write_bytes
from visionkit.image_files import absolute, find_images, relative_names
from visionkit.predict.draw import draw_classification, draw_detections, draw_segmentation
from visionkit.predict.formats import (
    AREAS,
    BEST,
    CLASSES,
    FORMATS,
    LABELS,
    TABLES,
    bare_names,
    check_numbers,
    to_record,
    write_areas,
    write_classes,
)
from visionkit.predict.journal import Journal, claimed, stamp_of
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Failure, Predictor, ahead
from visionkit.types import DataError, Sample, would_be_lost

WRITABLE = (".jpg", ".jpeg", ".png")  # pictures of other kinds get .jpg behind their name
JOURNAL = "results.jsonl"
JPEG_SIDE = 65_500  # pixels, the most that its writer takes
KEPT = 2**26  # bytes of decoded images that wait for their pictures, in all; further ones are decoded again


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a folder.

    Args:
        done: images that are in the results.
        found: rows of results: objects of a detector, images of a classifier, classes in the images of a segmenter.
        failed: the images that could not be read.
        earlier: how many of `done` an earlier run had done already.
        corrected: labels and masks in the output folder that somebody changed since an earlier run wrote them, or put
            there, and that were left as they are.
    """

    done: int
    found: int
    failed: list[Failure]
    earlier: int = 0
    corrected: list[str] = field(default_factory=list)


def detect_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    score: float = 0.3,
    progress: bool = True,
    pictures: bool = True,
    formats: Sequence[str] = ("json", "csv"),
    made_by: str | None = None,
) -> Report:
    """Detects objects in all images that `paths` name and writes the results to `out`.

    `out` has a picture for each image, results.jsonl with a line for each image as soon as it is done, and at the end
    the files of `formats`, made of those lines. After a kill the same call goes on where the other was: every picture
    and every line is whole or not there; so does a call for more images than before. VOC and YOLO labels that somebody
    changed since are never written again, whatever model comes next.

    Args:
        predictor: what finds the objects; a `Tiled` one too.
        paths: image files, folders, globs or lists; see `find_images`. Earlier results in `out` are passed over.
        out: a folder, made when missing. Pictures keep their source's name; where sources lie in several folders,
            `out` repeats those folders, so that equal names do not meet.
        score: detections below are neither written nor drawn.
        progress: show a bar on stderr.
        pictures: write the annotated pictures.
        formats: names in `formats.FORMATS`.
        made_by: what tells this model from others. Images are passed over only if an earlier call with the same one,
            the same score and the same tiles did them; None does all of them again.

    Returns:
        The report; broken images are in `failed` and the others are done all the same.

    Raises:
        DataError: no images, a picture would overwrite its source or a file that is not of an earlier call, YOLO labels
            there number other classes, or the model is no detector.
    """
    _expect(predictor, "detect", "instance")
    names = predictor.class_names
    if unknown := [name for name in formats if name not in FORMATS]:
        raise DataError(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}")
    if "yolo" in formats:
        check_numbers(Path(out) / "yolo" / "data.yaml", names)

    def draw(image, found):
        return draw_detections(image, found, names, min_score=score)

    tables = [TABLES[name] for name in TABLES.keys() & formats]

    def write(records, journal):
        for _, table in tables:
            table(Path(out), records, names)
        labels = (label for name in LABELS.keys() & formats for label in LABELS[name](records, names))
        return [name for name, text in labels if not journal.write(name, text.encode(errors="replace"))]

    draw, files = draw if pictures else None, [file for file, _ in tables]
    return _each_image(predictor, paths, Path(out), write, files, draw, score, progress, made_by)


def classify_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    progress: bool = True,
    pictures: bool = True,
    made_by: str | None = None,
) -> Report:
    """Classifies all images that `paths` name; as `detect_folder`, with classes.csv for the detections."""
    _expect(predictor, "classify")
    names = predictor.class_names

    def draw(image, found):
        return draw_classification(image, found, names)

    def write(records, journal):
        write_classes(Path(out), records, names)
        return []

    draw = draw if pictures else None
    return _each_image(predictor, paths, Path(out), write, [BEST], draw, None, progress, made_by)


def segment_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    progress: bool = True,
    pictures: bool = True,
    made_by: str | None = None,
) -> Report:
    """Segments all images that `paths` name; as `detect_folder`, with areas.csv and masks/ for the detections.

    The index PNGs in masks/ hold class ids, with a palette of the pictures' colours; with classes.txt they are what
    `semantic_masks` reads. Those that somebody changed are left as they are. A picture shows the classes as colours
    over the image, with a legend.
    """
    _expect(predictor, "segment")
    names = predictor.class_names
    if CLASSES in claimed(Path(out) / JOURNAL):
        check_numbers(Path(out) / CLASSES, names)
    colours = [colour_of(k) for k in range(len(names))]

    def draw(image, found):
        return draw_segmentation(image, found.segmentation, names)

    def mask(found):
        return images.encode_mask(found.segmentation, colours)

    def write(records, journal):
        write_areas(Path(out), records, names)
        return []

    draw = draw if pictures else None
    return _each_image(predictor, paths, Path(out), write, [AREAS, CLASSES], draw, None, progress, made_by, mask)


def _expect(predictor, *tasks):
    if predictor.task not in tasks:
        verb = "detect" if predictor.task == "instance" else predictor.task
        raise DataError(f"the model is for the task {predictor.task}: use visionkit {verb}")


def _each_image(predictor, paths, out, write, tables, draw, score, progress, made_by, mask=None) -> Report:
    """Runs the predictor over what is not done yet.

    Args:
        write: gets the records of all images and the journal, when they are done; returns what it left as it was.
        tables: the names of the files that are written anew each time.
        draw: (image, prediction) -> the picture; or None.
        mask: prediction -> a map as PNG, and the classes' names are written; or None.
    """
    ours = claimed(out / JOURNAL)
    paths = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    files = _sources(find_images(paths), out, ours)
    names = relative_names(files, paths[0] if len(paths) == 1 and paths[0].is_dir() else None)
    masked = [f"masks/{name}.png" for name in bare_names(names)] if mask else []
    pictured = _picture_names(names, masked) if draw else []
    written = [list(group) for group in zip(*(kept for kept in (pictured, masked) if kept), strict=True)]
    written = written or [[] for _ in names]
    sources = {file.resolve() for file in files}
    if over := [out / name for name in pictured if (out / name).resolve() in sources]:
        raise DataError(f"{over[0]}: the picture would overwrite its source; choose another output folder")
    claims = {*pictured, *tables}
    for name in [*sorted(claims), *(masked if CLASSES not in ours else [])]:  # data, masks that people drew, or photos
        if name not in ours and (out / name).exists():
            raise would_be_lost(out / name)
    out.mkdir(parents=True, exist_ok=True)

    def keep(item):  # in threads, while the model runs
        number, result = item
        if isinstance(result, Failure):
            return number, result
        if draw:
            try:
                original = originals.take(number)
            except (DataError, OSError) as error:  # gone since it was predicted
                return number, Failure(id=result.id, file=files[number], error=str(error))
            images.write_image(out / pictured[number], _drawable(draw(original, result)))
        if mask and not journal.write(masked[number], mask(result)):
            corrected.append(masked[number])
        return number, to_record(result)  # its masks are as large as the photo, each

    settings = None if made_by is None else {"made_by": made_by, "task": predictor.task, "score": score}
    if settings is not None:
        settings |= {name: getattr(predictor, name, None) for name in ("class_names", "tile", "flip", "window")}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with (
        Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
        Journal(out / JOURNAL, settings) as journal,
    ):
        journal.claim(claims - ours.keys())
        todo, corrected, stamps = [], [], [stamp_of(file) for file in files]
        for number, (name, stamp, made) in enumerate(zip(names, stamps, written, strict=True)):
            if not journal.done(name, stamp, made) or not all((out / one).is_file() for one in made):
                todo.append(number)
        if mask:  # before the masks: it says what their numbers are
            said = "".join(f"{name}\n" for name in predictor.class_names)
            write_bytes(out / CLASSES, said.encode(errors="surrogateescape"))
        task, failed = bar.add_task(predictor.task, total=len(files), completed=len(files) - len(todo)), {}
        originals = _Originals(files, todo, KEPT if draw else 0)
        results = zip(todo, predictor(originals, score=score), strict=True)
        for number, result in ahead(results, keep, depth=2 if predictor.task == "instance" else 4):
            if isinstance(result, Failure):
                failed[number] = result
            else:  # after its picture: what the journal has is done
                journal.add(names[number], stamps[number], result, written[number])
            bar.advance(task)
        records = journal.records(names, failed)
        corrected += write(records, journal)
        found = sum(len(record.get("objects", record.get("areas", "1"))) for record in records)
    done = len(files) - len(failed)
    earlier = len(files) - len(todo)
    return Report(done=done, found=found, failed=list(failed.values()), earlier=earlier, corrected=corrected)


def _sources(files: list[Path], out: Path, ours: Collection[str]) -> list[Path]:
    """The files that do not lie in `out`, or all where all do."""
    out = absolute(out)
    inside = {f: absolute(f).relative_to(out).as_posix() for f in files if absolute(f).is_relative_to(out)}
    if len(inside) == len(files):
        return files
    if others := [file for file, name in inside.items() if name not in ours]:
        what, more = ("images there are", ", ...") if len(others) > 1 else ("image there is", "")
        line = f"{out}: results go there, and {len(others)} {what} left out: {others[0].name}{more}"
        logging.getLogger("visionkit").warning("%s", line)
    return [file for file in files if file not in inside]


class _Originals(Sequence):
    """The images that a predictor is to go through, as Samples, kept for their pictures while there is room.

    Args:
        files: all images.
        todo: the indices in `files` of those to go through, in order.
        limit: bytes of all that are kept, from when they are decoded until they are taken.
    """

    def __init__(self, files: Sequence[Path], todo: Sequence[int], limit: int):
        self._files, self._todo, self._limit, self._kept = files, todo, limit, {}

    def __len__(self):
        return len(self._todo)

    def __getitem__(self, place: int) -> Path | Sample:  # in the predictor's decoding threads
        number = self._todo[place]
        file = self._files[number]
        try:
            image = images.read_image(file)
        except (DataError, OSError):
            return file  # the predictor meets the same and says what it is
        if sum(kept.nbytes for kept in list(self._kept.values())) + image.nbytes <= self._limit:
            self._kept[number] = image
        return Sample(id=str(file), file=file, image_size=image.shape[:2], image=image)

    def take(self, number: int) -> np.ndarray:
        """The pixels of `files[number]`, which are no longer kept."""
        kept = self._kept.pop(number, None)
        return images.read_image(self._files[number]) if kept is None else kept


def _drawable(picture: np.ndarray) -> np.ndarray:
    """The picture, or as much smaller as a JPEG wants it."""
    h, w = picture.shape[:2]
    scale = min(1.0, JPEG_SIDE / max(h, w))
    return picture if scale == 1 else resizing.resize(picture, (max(1, int(h * scale)), max(1, int(w * scale))))


def _picture_names(names: Sequence[str], masked: Sequence[str]) -> list[str]:
    masks = set(masked)  # of data/a.jpg, where data/masks/a.png is a photo too
    taken, pictured = {*names, *masks}, []
    for name in names:
        picture, number = name, 1
        while Path(picture).suffix.lower() not in WRITABLE or picture in (taken if picture != name else masks):
            picture, number = f"{name}{'' if number == 1 else f'-{number}'}.jpg", number + 1
        taken.add(picture)
        pictured.append(picture)
    return pictured

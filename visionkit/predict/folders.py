"""Results of a whole folder as files: tables, and one annotated picture per image."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from visionkit import images
from visionkit.predict.draw import draw_classification, draw_detections, draw_segmentation
from visionkit.predict.folder_job import TaskOutputs, run_folder
from visionkit.predict.folder_layout import JOURNAL
from visionkit.predict.formats import (
    AREAS,
    BEST,
    CLASSES,
    FORMATS,
    LABELS,
    TABLES,
    check_numbers,
    write_areas,
    write_classes,
)
from visionkit.predict.journal import Journal, Records, claimed
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Predictor
from visionkit.predict.summary import PredictionSummary
from visionkit.predict.tiling import Tiled
from visionkit.types import BOX_TASKS, Classification, DataError, Detections, SegmentationMap


def detect_folder(
    predictor: Predictor | Tiled,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    score: float = 0.3,
    progress: bool = True,
    pictures: bool = True,
    formats: Sequence[str] = ("json", "csv"),
    made_by: str | None = None,
    replace: bool = False,
) -> PredictionSummary:
    """Detects objects in all images that `paths` name and writes the results to `out`.

    `out` gets a picture of each image, and results.jsonl, to which a line is added as soon as an image is done. When
    all are done, the files of `formats` are made from those lines. If the process is killed, the same call continues
    where it stopped, since every picture and every line is either complete or missing; a call for more images continues
    likewise. VOC and YOLO labels that somebody has changed are never overwritten, whichever model comes next.

    Args:
        predictor: finds the objects; may be a `Tiled` one.
        paths: image files, folders, globs or lists; see `find_images`. Results of earlier runs in `out` are skipped.
        out: a folder, created if missing. Pictures keep the names of their sources; if the sources lie in several
            folders, `out` repeats those folders so that equal names do not clash.
        score: detections below it are neither written nor drawn.
        progress: show a progress bar on stderr.
        pictures: write the annotated pictures.
        formats: names from `formats.FORMATS`.
        made_by: identifies the model. Images are skipped only if an earlier call with the same `made_by`, the same
            score and the same tiles has done them; None does all of them again, whatever `out` holds.
        replace: do all of them again also where `out` holds results of another model, score or tiles.

    Returns:
        The summary; images that cannot be read are in `failed` and do not stop the others.

    Raises:
        DataError: there are no images, a picture would overwrite its source or a file that is not from an earlier call,
            `out` holds results of another model, score or tiles, existing YOLO labels number other classes, or the
            model is not a detector.
    """
    _expect_task(predictor, *BOX_TASKS)
    out, class_names = Path(out), predictor.class_names
    if unknown := [name for name in formats if name not in FORMATS]:
        raise DataError(f"no format {unknown[0]!r}; there are {', '.join(FORMATS)}")
    if "yolo" in formats:
        check_numbers(out / "yolo" / "data.yaml", class_names)
    tables = [TABLES[name] for name in TABLES if name in formats]
    labels = [LABELS[name] for name in LABELS if name in formats]

    def draw(image: np.ndarray, detections: Detections) -> np.ndarray:
        return draw_detections(image, detections, class_names, min_score=score)

    def write_files(records: Records, journal: Journal) -> list[str]:
        for _, write_table in tables:
            write_table(out, records, class_names)
        return [name for make in labels for name in _write_labels(make(records, class_names), journal)]

    names = [name for name, _ in tables]
    outputs = TaskOutputs(tables=names, write_files=write_files, draw=draw if pictures else None)
    return run_folder(predictor, paths, out, outputs, score=score, made_by=made_by, replace=replace, progress=progress)


def classify_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    progress: bool = True,
    pictures: bool = True,
    made_by: str | None = None,
    replace: bool = False,
) -> PredictionSummary:
    """Classifies all images that `paths` name; like `detect_folder`, but writes classes.csv instead of detections."""
    _expect_task(predictor, "classify")
    out, class_names = Path(out), predictor.class_names

    def draw(image: np.ndarray, classification: Classification) -> np.ndarray:
        return draw_classification(image, classification, class_names)

    def write_files(records: Records, journal: Journal) -> list[str]:
        write_classes(out, records, class_names)
        return []

    outputs = TaskOutputs(tables=[BEST], write_files=write_files, draw=draw if pictures else None)
    return run_folder(predictor, paths, out, outputs, score=None, made_by=made_by, replace=replace, progress=progress)


def segment_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    progress: bool = True,
    pictures: bool = True,
    made_by: str | None = None,
    replace: bool = False,
) -> PredictionSummary:
    """Segments all images that `paths` name; like `detect_folder`, but writes areas.csv and masks/ instead.

    The index PNGs in masks/ hold class ids, with the colours of the pictures as their palette; together with
    classes.txt they can be read by `semantic_masks`. Masks that somebody has changed are left alone. A picture shows
    the classes as colours over the image, with a legend.
    """
    _expect_task(predictor, "segment")
    out, class_names = Path(out), predictor.class_names
    if CLASSES in claimed(out / JOURNAL):
        check_numbers(out / CLASSES, class_names)
    colours = [colour_of(k) for k in range(len(class_names))]

    def draw(image: np.ndarray, result: SegmentationMap) -> np.ndarray:
        return draw_segmentation(image, result.segmentation, class_names)

    def encode_mask(result: SegmentationMap) -> bytes:
        return images.encode_mask(result.segmentation, colours)

    def write_files(records: Records, journal: Journal) -> list[str]:
        write_areas(out, records, class_names)
        return []

    outputs = TaskOutputs(
        tables=[AREAS, CLASSES],
        write_files=write_files,
        draw=draw if pictures else None,
        encode_mask=encode_mask,
    )
    return run_folder(predictor, paths, out, outputs, score=None, made_by=made_by, replace=replace, progress=progress)


def _write_labels(labels: Iterable[tuple[str, str]], journal: Journal) -> list[str]:
    """Writes files that people may correct, (name, text) each; returns the names of those that it left alone."""
    return [name for name, text in labels if not journal.write(name, text.encode(errors="replace"))]


def _expect_task(predictor: Predictor | Tiled, *tasks: str) -> None:
    if predictor.task not in tasks:
        verb = "detect" if predictor.task in BOX_TASKS else predictor.task
        raise DataError(f"the model is for the task {predictor.task}: use visionkit {verb}")

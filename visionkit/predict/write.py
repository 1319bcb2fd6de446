"""Detections of a whole folder as files: detections.json, detections.csv and one annotated picture per image."""

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visionkit import images
from visionkit.predict.draw import draw_detections
from visionkit.predict.predictor import Failure, Predictor, ahead
from visionkit.types import DataError, Detections

WRITABLE = (".jpg", ".jpeg", ".png")  # pictures of other kinds get .jpg behind their name


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a folder: images done, detections written, and the images that could not be read."""

    done: int
    detections: int
    failed: list[Failure]


class DetectionFiles:
    """Writes detections.json and detections.csv line by line; they appear, whole, when the `with` block ends well.

    The JSON is a list in COCO's result format: `image_id` (a running number from 0), `file_name`, `category` (its
    name), `category_id` (ours, from 0), `bbox` `[x, y, width, height]` in pixels, `score`, and where there are masks
    `segmentation` (run-length code). The CSV has the columns file, class, score, x1, y1, x2, y2.

    Args:
        out: an existing folder.
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, out: Path, class_names: Sequence[str]):
        self.class_names = class_names
        self._finals = [Path(out) / "detections.json", Path(out) / "detections.csv"]
        self._parts = [file.with_name(f".{file.name}.{os.getpid()}.part") for file in self._finals]

    def __enter__(self):
        self._json, self._csv = (part.open("w", encoding="utf-8", newline="") for part in self._parts)
        self._rows, self._separator = csv.writer(self._csv), "[\n"
        self._rows.writerow(["file", "class", "score", "x1", "y1", "x2", "y2"])
        return self

    def add(self, image_id: int, file_name: str, detections: Detections) -> None:
        """Writes the detections of one image; it may have none."""
        for i, (label, score) in enumerate(zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)):
            x1, y1, x2, y2 = (round(float(v), 2) for v in detections.boxes[i])
            name, score = self.class_names[label], round(score, 5)
            self._rows.writerow([file_name, name, score, x1, y1, x2, y2])
            bbox = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            record = {"image_id": image_id, "file_name": file_name, "category": name, "category_id": label}
            record |= {"bbox": bbox, "score": score}
            if detections.masks is not None:
                code = rle.encode(np.asfortranarray(detections.masks[i]))
                record["segmentation"] = {"size": code["size"], "counts": code["counts"].decode("ascii")}
            self._json.write(self._separator + json.dumps(record, ensure_ascii=False))
            self._separator = ",\n"

    def __exit__(self, kind, error, trace):
        self._json.write("\n]\n" if self._separator == ",\n" else "[]\n")
        self._json.close()
        self._csv.close()
        for part, final in zip(self._parts, self._finals, strict=True):
            if kind is None:
                part.replace(final)
            part.unlink(missing_ok=True)


def detect_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    score: float = 0.3,
    progress: bool = True,
    pictures: bool = True,
) -> Report:
    """Detects objects in all images that `paths` name and writes the results to `out`.

    Args:
        predictor: what finds the objects.
        paths: image files, folders, globs or lists; see `images.find_images`. Earlier results in `out` are passed over.
        out: a folder, made when missing. Pictures keep their source's name; where sources lie in several folders,
            `out` repeats those folders, so that equal names do not meet.
        score: detections below are neither written nor drawn.
        progress: show a bar on stderr.
        pictures: write the annotated pictures.

    Returns:
        The report; broken images are in `failed` and the others are done all the same.

    Raises:
        DataError: no images, or a picture would overwrite its source.
    """
    out = Path(out)
    files = images.find_images(paths)
    files = [file for file in files if not file.absolute().is_relative_to(out.absolute())] or files
    names = relative_names(files)
    pictured = _picture_names(names)
    sources = {file.resolve() for file in files}
    for name in pictured if pictures else []:
        if (out / name).resolve() in sources:
            raise DataError(f"{out / name}: the picture would overwrite its source; choose another output folder")
    out.mkdir(parents=True, exist_ok=True)

    def draw(item):  # in threads, while the model runs; the image is read again rather than kept
        number, result = item
        if pictures and isinstance(result, Detections):
            picture = draw_detections(images.read_image(result.file), result, predictor.class_names, min_score=score)
            images.write_image(out / pictured[number], picture)
        return item

    failed, found = [], 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with (
        Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
        DetectionFiles(out, predictor.class_names) as written,
    ):
        task = bar.add_task("detect", total=len(files))
        for number, result in ahead(enumerate(predictor(files, score=score)), draw, depth=4):
            if isinstance(result, Failure):
                failed.append(result)
            else:
                written.add(number, names[number], result)
                found += len(result.scores)
            bar.advance(task)
    return Report(done=len(files) - len(failed), detections=found, failed=failed)


def relative_names(files: Sequence[Path]) -> list[str]:
    """Names that differ: the bare ones where all files lie in one folder, else relative to their common folder."""
    whole = [file.absolute() for file in files]
    common = os.path.commonpath([file.parent for file in whole])
    return [file.relative_to(common).as_posix() for file in whole]


def _picture_names(names: Sequence[str]) -> list[str]:
    taken, pictured = set(names), []
    for name in names:
        picture, number = name, 1
        while Path(picture).suffix.lower() not in WRITABLE or (picture != name and picture in taken):
            picture, number = f"{name}{'' if number == 1 else f'-{number}'}.jpg", number + 1
        taken.add(picture)
        pictured.append(picture)
    return pictured

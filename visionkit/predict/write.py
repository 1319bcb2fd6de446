"""Results of a whole folder as files: tables, and one annotated picture per image."""

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
from visionkit.predict.draw import draw_classification, draw_detections, draw_segmentation
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Failure, Predictor, ahead
from visionkit.types import Classification, DataError, Detections, SegmentationMap

WRITABLE = (".jpg", ".jpeg", ".png")  # pictures of other kinds get .jpg behind their name


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a folder: images done, rows written for them, and the images that could not be read."""

    done: int
    found: int
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

    def add(self, image_id: int, file_name: str, detections: Detections) -> int:
        """Writes the detections of one image, which may have none, and returns how many."""
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
        return len(detections.scores)

    def __exit__(self, kind, error, trace):
        self._json.write("\n]\n" if self._separator == ",\n" else "[]\n")
        self._json.close()
        self._csv.close()
        for part, final in zip(self._parts, self._finals, strict=True):
            if kind is None:
                part.replace(final)
            part.unlink(missing_ok=True)


class ClassificationFile:
    """Writes classes.csv, a row an image: file, then class and score of the `top` best; it appears whole or not at all.

    Args:
        out: an existing folder.
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, out: Path, class_names: Sequence[str], top: int = 5):
        self.class_names, self.top = class_names, min(top, len(class_names))
        self._final = Path(out) / "classes.csv"
        self._part = self._final.with_name(f".{self._final.name}.{os.getpid()}.part")

    def __enter__(self):
        self._file = self._part.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        columns = [[f"class{i}", f"score{i}"] for i in range(1, self.top + 1)]
        self._rows.writerow(["file", *(name for pair in columns for name in pair)])
        return self

    def add(self, image_id: int, file_name: str, found: Classification) -> int:
        """Writes the row of one image and returns 1."""
        best = found.scores.argsort(kind="stable")[::-1][: self.top]
        pairs = [[self.class_names[k], round(float(found.scores[k]), 5)] for k in best]
        self._rows.writerow([file_name, *(value for pair in pairs for value in pair)])
        return 1

    def __exit__(self, kind, error, trace):
        self._file.close()
        if kind is None:
            self._part.replace(self._final)
        self._part.unlink(missing_ok=True)


class AreaFile:
    """Writes areas.csv, a row for each class in an image, and each map as an index PNG in masks/; also classes.txt.

    The CSV has the columns file, class, pixels, share (of the image, 0..1); it appears whole or not at all. The PNGs
    hold class ids, with a palette of the pictures' colours; with classes.txt they are what `semantic_masks` reads.

    Args:
        out: an existing folder.
        class_names: names of the class ids 0..K-1.
    """

    def __init__(self, out: Path, class_names: Sequence[str]):
        self.class_names, self._out, self._taken = class_names, Path(out), set()
        self._colours = [colour_of(k) for k in range(len(class_names))]
        self._final = self._out / "areas.csv"
        self._part = self._final.with_name(f".{self._final.name}.{os.getpid()}.part")

    def __enter__(self):
        self._file = self._part.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["file", "class", "pixels", "share"])
        (self._out / "classes.txt").write_text("".join(f"{name}\n" for name in self.class_names), encoding="utf-8")
        return self

    def add(self, image_id: int, file_name: str, found: SegmentationMap) -> int:
        """Writes the map of one image and its rows, largest class first, and returns how many."""
        name = str(Path(file_name).with_suffix(".png"))
        name = f"{file_name}.png" if name in self._taken else name  # a.jpg beside a.png
        self._taken.add(name)
        images.write_mask(self._out / "masks" / name, found.segmentation, self._colours)
        pixels = np.bincount(found.segmentation.ravel(), minlength=len(self.class_names))
        order = [k for k in np.argsort(-pixels, kind="stable").tolist() if pixels[k]]
        share = pixels / max(pixels.sum(), 1)
        self._rows.writerows([file_name, self.class_names[k], pixels[k], round(float(share[k]), 6)] for k in order)
        return len(order)

    def __exit__(self, kind, error, trace):
        self._file.close()
        if kind is None:
            self._part.replace(self._final)
        self._part.unlink(missing_ok=True)


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
        DataError: no images, a picture would overwrite its source, or the model is no detector.
    """
    _expect(predictor, "detect", "instance")
    names = predictor.class_names

    def draw(image, found):
        return draw_detections(image, found, names, min_score=score)

    return _each_image(predictor, paths, Path(out), DetectionFiles, draw if pictures else None, score, progress)


def classify_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    progress: bool = True,
    pictures: bool = True,
) -> Report:
    """Classifies all images that `paths` name; as `detect_folder`, with classes.csv for the detections."""
    _expect(predictor, "classify")
    names = predictor.class_names

    def draw(image, found):
        return draw_classification(image, found, names)

    return _each_image(predictor, paths, Path(out), ClassificationFile, draw if pictures else None, None, progress)


def segment_folder(
    predictor: Predictor,
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    progress: bool = True,
    pictures: bool = True,
) -> Report:
    """Segments all images that `paths` name; as `detect_folder`, with areas.csv and masks/ for the detections.

    A picture shows the classes as colours over the image, with a legend.
    """
    _expect(predictor, "segment")
    names = predictor.class_names

    def draw(image, found):
        return draw_segmentation(image, found.segmentation, names)

    return _each_image(predictor, paths, Path(out), AreaFile, draw if pictures else None, None, progress)


def _expect(predictor, *tasks):
    if predictor.task not in tasks:
        verb = "detect" if predictor.task == "instance" else predictor.task
        raise DataError(f"the model is for the task {predictor.task}: use visionkit {verb}")


def _each_image(predictor, paths, out, writer, draw, score, progress) -> Report:
    files = images.find_images(paths)
    files = [file for file in files if not file.absolute().is_relative_to(out.absolute())] or files
    names = relative_names(files)
    pictured = _picture_names(names)
    sources = {file.resolve() for file in files}
    for name in pictured if draw else []:
        if (out / name).resolve() in sources:
            raise DataError(f"{out / name}: the picture would overwrite its source; choose another output folder")
    out.mkdir(parents=True, exist_ok=True)

    def picture(item):  # in threads, while the model runs; the image is read again rather than kept
        number, result = item
        if draw and not isinstance(result, Failure):
            images.write_image(out / pictured[number], draw(images.read_image(result.file), result))
        return item

    failed, found = [], 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with (
        Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
        writer(out, predictor.class_names) as written,
    ):
        task = bar.add_task(predictor.task, total=len(files))
        for number, result in ahead(enumerate(predictor(files, score=score)), picture, depth=4):
            if isinstance(result, Failure):
                failed.append(result)
            else:
                found += written.add(number, names[number], result)
            bar.advance(task)
    return Report(done=len(files) - len(failed), found=found, failed=failed)


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

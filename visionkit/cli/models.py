"""The verbs that put a model to work: detect, classify, segment, serve, bench. Heavy imports stand inside them."""

import sys
from pathlib import Path
from typing import Annotated

import cyclopts

from visionkit.types import DataError

FORMATS = ("json", "csv")  # of what detect finds in photos, by default
PARTLY_DONE = 3  # the exit code when some images could not be read and the rest is done
_Images = Annotated[list[str], cyclopts.Parameter(negative=())]
_Several = cyclopts.Parameter(consume_multiple=True, negative=())


def detect(
    model: Path,
    images: _Images,
    /,
    *,
    out: Path,
    score: float = 0.3,
    format: Annotated[list[str], _Several] = FORMATS,
    pictures: bool = True,
    tile: int | None = None,
    frames: int | None = None,
    batch_size: int = 8,
):
    """Detect objects in images, or in a video or a camera's frames: pictures, and tables of what was found.

    results.jsonl gets a line for each image as it is done; run the same command again after an interruption, or with
    more images, and what is done is not done again. A video gives NAME.mp4, drawn on, and NAME.jsonl with a line for
    each frame. An image that cannot be read is named at the end and makes the exit code 3; the others are done.

    Args:
        model: a run folder, a .keras file, an export in its runtime, or published weights: visionkit weights list.
        images: files, folders, globs or .txt lists of files; or one video file, camera or camera:1.
        out: the folder for the results.
        score: detections below this are left out, 0 to 1.
        format: json, csv, coco (annotations of the images), voc or yolo (labels to correct and learn from); several.
        pictures: write a picture for each image, or the video, with what was found.
        tile: for small objects: look at tiles of so many pixels as well as at the whole image.
        frames: (video) stop after so many.
        batch_size: images a step.
    """
    _check_score(score)
    from visionkit.open_model import made_by, open_predictor

    video = len(images) == 1 and _is_video(images[0])
    if frames is not None and not video:
        raise DataError("--frames is for a video or a camera; leave it out")
    if video and tuple(format) != FORMATS:
        raise DataError("--format is for photos: a video gives NAME.jsonl; leave it out")
    predictor = open_predictor(model, batch_size)
    if tile is not None:
        from visionkit.predict.tiling import Tiled

        predictor = Tiled(predictor, tile)
    if video:
        from visionkit.predict.video import detect_video

        return _report(detect_video(predictor, images[0], out, score, frames, pictures=pictures), out, "frames")
    from visionkit.predict.folders import detect_folder

    chosen = {"formats": format, "made_by": made_by(model)}
    return _report(detect_folder(predictor, images, out, score, pictures=pictures, **chosen), out)


def classify(model: Path, images: _Images, /, *, out: Path, pictures: bool = True, batch_size: int = 8):
    """Classify images; writes classes.csv with the five best classes, and a labelled picture for each image.

    What an interrupted run has done is not done again. An image that cannot be read is named at the end and makes the
    exit code 3; the others are done all the same.

    Args:
        model: a run folder, a .keras file, an export in its runtime, or published weights: visionkit weights list.
        images: files, folders, globs or .txt lists of files.
        out: the folder for the results.
        pictures: write the pictures.
        batch_size: images a step.
    """
    from visionkit.open_model import made_by, open_predictor
    from visionkit.predict.folders import classify_folder

    predictor = open_predictor(model, batch_size)
    return _report(classify_folder(predictor, images, out, pictures=pictures, made_by=made_by(model)), out)


def serve(
    model: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    score: float = 0.3,
    threads: int = 8,
    batch_size: int = 1,
    megabytes: float = 20.0,
    megapixels: float = 25.0,
):
    """Answer images over HTTP with JSON: curl --data-binary @photo.jpg http://127.0.0.1:8080/predict

    What is no image, broken or too large gets an error that says why, and the next request is none the worse. There is
    no password: let nobody but those who may ask reach the port.

    Args:
        model: what detect, classify and segment take; an exported model starts fastest.
        host: the address to listen at; 0.0.0.0 is all of this machine's.
        port: 0 picks a free one, and says which.
        score: detections below this are left out, 0 to 1; a request may say ?score=0.5, with masks only a higher one.
        threads: requests that are read at a time.
        batch_size: images that wait are given to the model together, up to so many.
        megabytes: the largest file that is taken.
        megapixels: the largest image that is decoded.
    """
    _check_score(score)
    if threads < 1:
        raise DataError(f"--threads: expected 1 or more, found {threads}")
    from visionkit.open_model import open_predictor
    from visionkit.serve import Application
    from visionkit.serve import serve as answer

    answer(Application(open_predictor(model, batch_size), score, megabytes, megapixels), host, port, threads)


def segment(
    model: Path,
    images: _Images,
    /,
    *,
    out: Path,
    flip: bool = False,
    window: bool = False,
):
    """Say the class of every pixel; writes a picture for each image, index PNGs in masks/, areas.csv and classes.txt.

    An image that cannot be read is named at the end and makes the exit code 3; the others are done all the same.

    Args:
        model: a run folder, a .keras file, an export in its runtime, or published weights: visionkit weights list.
        images: files, folders or globs.
        out: the folder for the results.
        flip: average what the model says of the image and of its mirror image: twice the time, a little better.
        window: slide a window of the network's size over images at full resolution instead of shrinking them.
    """
    from visionkit.open_model import made_by, open_predictor
    from visionkit.predict.folders import segment_folder

    predictor = open_predictor(model).look(flip, window)
    return _report(segment_folder(predictor, images, out, made_by=made_by(model)), out)


def bench(
    *models: Annotated[str, cyclopts.Parameter(allow_leading_hyphen=False)],
    images: str | None = None,
    batch: Annotated[list[int], _Several] = (1, 8),
    threads: Annotated[list[int], _Several] = (),
    count: Annotated[list[int], _Several] = (),
    rounds: int = 10,
    json: Path | None = None,
    picture: Path | None = None,
):
    """Measure models in turn: alone, and from a folder of images to written results.

    Args:
        models: what detect and classify take; several are measured in turn, an export in its runtime.
        images: a folder, glob, list or file to go through; by default models are measured alone.
        batch: images a step; several.
        threads: (Linux) cores for each model; several. By default each runtime chooses.
        count: go through so many images, repeating those there are; several show whether memory grows.
        rounds: calls that count.
        json: also write the rows and what they were measured with into this file.
        picture: also draw them into this .png.
    """
    from visionkit.bench.measure import HEADER, write
    from visionkit.bench.measure import bench as measure

    if not models:
        raise DataError("name a model: a run folder, a .keras file, an export, or a name of visionkit weights list")
    print(HEADER, flush=True)
    rows = measure(models, images, batch, threads, count, rounds, say=lambda text: print(text, flush=True))
    write(rows, json, picture)


def _check_score(score: float) -> None:
    if not 0 <= score <= 1:
        raise DataError(f"--score: expected 0 to 1, found {score:g}")


def _is_video(source: str) -> bool:
    from visionkit.predict.video import is_video

    return is_video(source)


def _report(report, out, what: str = "images") -> int:
    for failure in report.failed:
        print(f"not read: {failure.error}", file=sys.stderr)
    if left := sorted(report.corrected):
        files, some = ("files", ", ...") if len(left) > 1 else ("file", "")
        print(f"{len(left)} {files} changed by hand and left so ({left[0]}{some}); delete what is to be written anew")
    earlier = f" ({report.earlier} of them earlier)" if report.earlier else ""
    rows = f"{len(report.failed)} not read, {report.rows} rows of results: {out}"
    print(f"{report.done} {what} done{earlier}, {rows}")
    return PARTLY_DONE if report.failed else 0

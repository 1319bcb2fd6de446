"""The verbs that use a model: detect, classify, segment and serve. Heavy imports are inside the functions."""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts

from visionkit.cli.scale import (
    Job,
    Scale,
    check_offered,
    everywhere,
    is_at_scale,
    open_classifier,
    open_detector,
    open_segmenter,
    run_at_scale,
)
from visionkit.fast.choice import Runtime
from visionkit.types import BOX_TASKS, DataError, plain

if TYPE_CHECKING:
    from visionkit.guarantee.promise import Promise

FORMATS = ("json", "csv")  # in which detect writes what it finds in photos, by default
PARTLY_DONE = 3  # the exit code when some images could not be read and the others are done
_Images = Annotated[list[str], cyclopts.Parameter(negative=())]
_Several = cyclopts.Parameter(consume_multiple=True, negative=())
_Scale = Annotated[Scale | None, cyclopts.Parameter(name="*")]


def detect(
    model: Path,
    images: _Images,
    /,
    *,
    out: str,
    score: float | None = None,
    format: Annotated[Sequence[str], _Several] = FORMATS,
    pictures: bool | None = None,
    replace: bool = False,
    guarantee: bool = False,
    tile: int | None = None,
    frames: int | None = None,
    track: bool = False,
    batch_size: int = 8,
    runtime: Runtime = "auto",
    trust: bool = False,
    scale: _Scale = None,
) -> int:
    """Detect objects in images, in a video or in a camera's frames; writes pictures, and tables of what was found.

    results.jsonl gets a line for each image as it is done. The same command, after an interruption or with more images,
    does only what is not done yet. A video gives NAME.webm, drawn on, and NAME.jsonl with a line for each frame. Images
    that cannot be read are named at the end, and the exit code is then 3; the others are done.

    Images in object storage, and the work on several processes and machines, are described in docs/scale.md.

    Args:
        model: a run folder, a .keras file, an export in its runtime, hf://OWNER/NAME on the Hugging Face Hub, or the
            name of published weights: visionkit weights list.
        images: files, folders, globs or .txt lists of files; or one video file, camera or camera:1; or s3://BUCKET/...
        out: the folder for the results; or s3://BUCKET/...
        score: detections below this are left out, 0 to 1; by default 0.3.
        format: json, csv, coco (annotations of the images), voc or yolo (labels to correct and learn from); several.
            At scale: json, csv, coco, jsonl (a line for each image), or parquet for nothing but results/*.parquet.
        pictures: draw what was found into a picture for each image, or into the video; by default, but not at scale.
            Of keypoints they show those above a logit of 2; the JSON files have all.
        replace: do all images again where --out holds results of another model, or with other options; labels that
            were changed by hand stay.
        guarantee: (photos) use the thresholds, and the margin, that visionkit guarantee has stored in the run; warns
            if the photos are unlike those that it was made with.
        tile: for small objects: look at tiles of so many pixels, besides the whole image.
        frames: (video) stop after so many.
        track: (video) number the objects: one keeps its id from frame to frame, for a second also where it is not seen.
        batch_size: images a step.
        runtime: what runs the model; auto is the fastest for which its form is kept, or pays (docs/predict.md).
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    score_or_default = 0.3 if score is None else score
    _check_score(score_or_default)
    scale = scale or Scale()
    if is_at_scale(scale, images, out):
        refused = {"pictures": pictures, "replace": replace, "guarantee": guarantee}
        check_offered(refused | {"frames": frames is not None, "track": track})
        job = Job(
            tasks=BOX_TASKS,
            formats=format,
            options={"score": score_or_default, "tile": tile},
            open=partial(open_detector, everywhere(model), batch_size, trust, tile),
            runtime=runtime,
        )
        return PARTLY_DONE if run_at_scale(model, images, out, scale, job) else 0
    promise = _promise(model, score, tile) if guarantee else None
    score = score_or_default
    video = _check_video(images, frames, track, promise, format)
    from visionkit.open_model import content_digest, open_predictor

    if promise and runtime == "auto":
        runtime = "keras"  # by which the thresholds were chosen: in bfloat16, scores are others
    predictor: Any = open_predictor(model, batch_size, trust, runtime, tuple if video else partial(images_in, images))
    if tile is not None:
        from visionkit.predict.tiling import Tiled

        predictor = Tiled(predictor, tile)
    drawn, folder = pictures is not False, Path(out)
    if video:
        from visionkit.predict.video import detect_video

        found = detect_video(predictor, images[0], folder, score, frames, pictures=drawn, track=track)
        return _report(found, folder, "frames")
    from visionkit.predict.folders import detect_folder

    identity = content_digest(model)
    if promise:
        predictor = _promised(predictor, promise, images)
        score = min(promise.thresholds)
        identity += f" {promise.fingerprint}"
    options = {"formats": format, "pictures": drawn, "made_by": identity, "replace": replace}
    return _report(detect_folder(predictor, images, folder, score, **options), folder)


def _check_video(
    images: list[str], frames: int | None, track: bool, promise: "Promise | None", format: Sequence[str]
) -> bool:
    """Whether the only source is a video or a camera; a DataError if an option does not fit to what it is."""
    video = len(images) == 1 and _is_video(images[0])
    if frames is not None and not video:
        raise DataError("--frames is for a video or a camera; leave it out")
    if track:
        if not video:
            raise DataError("--track is for a video or a camera; leave it out")
        from visionkit.predict.tracking import check_tracking

        check_tracking()  # before the model is opened, which takes long
    if video and promise:
        raise DataError("--guarantee is for photos: the frames of a video resemble each other; leave it out")
    if video and tuple(format) != FORMATS:
        raise DataError("--format is for photos: a video gives NAME.jsonl; leave it out")
    return video


def _promise(model: Path, score: float | None, tile: int | None) -> "Promise":
    """The guarantee that is stored in a run; a DataError if there is none, or if an option contradicts it."""
    if score is not None:
        raise DataError("--score and --guarantee: the guarantee has its own threshold; leave one of them out")
    if tile is not None:
        raise DataError("--tile and --guarantee: the guarantee was made without tiles; leave one of them out")
    from visionkit.guarantee.promise import in_words, read_promise

    promise = read_promise(model)
    print(plain(in_words(promise)[0]))
    return promise


def _promised(predictor: Any, promise: "Promise", images: list[str]) -> Any:
    """The predictor that keeps a promise; warns on stderr if the images are unlike the calibration images."""
    from visionkit.guarantee.keep import Promised, warning
    from visionkit.image_files import find_images

    if sentence := warning(promise, find_images(images)):
        print(plain(f"warning: {sentence}"), file=sys.stderr)
    return Promised(predictor, promise)


def classify(
    model: Path,
    images: _Images,
    /,
    *,
    out: str,
    format: Annotated[Sequence[str] | None, _Several] = None,
    pictures: bool | None = None,
    replace: bool = False,
    batch_size: int = 8,
    runtime: Runtime = "auto",
    trust: bool = False,
    scale: _Scale = None,
) -> int:
    """Classify images; writes classes.csv with the five best classes, and a labelled picture for each image.

    The same command, after an interruption or with more images, does only what is not done yet. Images that cannot be
    read are named at the end, and the exit code is then 3; the others are done.

    Images in object storage, and the work on several processes and machines, are described in docs/scale.md.

    Args:
        model: a run folder, a .keras file, an export in its runtime, hf://OWNER/NAME on the Hugging Face Hub, or the
            name of published weights: visionkit weights list.
        images: files, folders, globs or .txt lists of files; or s3://BUCKET/...
        out: the folder for the results; or s3://BUCKET/...
        format: (at scale) csv, jsonl (a line for each image), or parquet for nothing but results/*.parquet; several.
        pictures: write the pictures; by default, but not at scale.
        replace: do all images again where --out holds results of another model.
        batch_size: images a step.
        runtime: what runs the model; auto is the fastest for which its form is kept, or pays (docs/predict.md).
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    scale = scale or Scale()
    if is_at_scale(scale, images, out):
        check_offered({"pictures": pictures, "replace": replace})
        opener = partial(open_classifier, everywhere(model), batch_size, trust)
        job = Job(tasks=("classify",), formats=format or ("csv",), open=opener, runtime=runtime)
        return PARTLY_DONE if run_at_scale(model, images, out, scale, job) else 0
    _check_no_format(format)
    from visionkit.open_model import content_digest, open_predictor
    from visionkit.predict.folders import classify_folder

    predictor = open_predictor(model, batch_size, trust, runtime, partial(images_in, images))
    options = {"pictures": pictures is not False, "made_by": content_digest(model), "replace": replace}
    return _report(classify_folder(predictor, images, Path(out), **options), Path(out))


def _check_no_format(format: Sequence[str] | None) -> None:
    if format is not None:
        raise DataError("--format is for --engine local or ray; leave it out, or name one")


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
    connections: int | None = None,
    header_seconds: float = 10.0,
    body_seconds: float = 30.0,
    allow_host: Annotated[Sequence[str], _Several] = (),
    runtime: Runtime = "auto",
    trust: bool = False,
) -> None:
    """Serve a model over HTTP, images in and JSON out: curl --data-binary @photo.jpg http://127.0.0.1:8080/predict

    http://127.0.0.1:8080/ is a page to try it with a browser; /health and /metrics (Prometheus) are for machines. A
    request without an image, or with one that is broken or too large, gets an error that says why, and does not affect
    the next. There is no password: let only those who may use it reach the port.

    Args:
        model: what detect, classify and segment take; an exported model starts fastest.
        host: the address to listen on; 0.0.0.0 is all addresses of this machine.
        port: 0 picks a free one and prints it.
        score: detections below this are left out, 0 to 1. A request may ask for ?score=0.5; with masks only for more.
        threads: requests that are read at a time.
        batch_size: waiting images are given to the model together, up to so many.
        megabytes: the largest file that is accepted.
        megapixels: the largest image that is decoded.
        connections: open at a time; beyond that, a newcomer takes the place of the one that has been idle longest. By
            default 256, or as many as this process has files for.
        header_seconds: for a request's headers to arrive, counted from the last answer over the connection.
        body_seconds: for a request's body to arrive, and for an answer to be taken.
        allow_host: names in requests' Host and Origin that are accepted besides this machine's own and --host; several.
            "*" is every Host.
        runtime: what runs the model; auto is the fastest for which its form is kept, or pays (docs/predict.md).
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    _check_score(score)
    from visionkit.open_model import open_predictor
    from visionkit.serve.access import host_names
    from visionkit.serve.address import check_address
    from visionkit.serve.application import Application
    from visionkit.serve.limits import Limits, check_sizes, default_connections
    from visionkit.serve.server import serve as answer

    check_sizes(batch_size, megabytes, megapixels)
    host_names([host], "--host")
    host_names(allow_host)
    limits = Limits(
        default_connections() if connections is None else connections, header_seconds, body_seconds, threads
    )
    check_address(host, port)
    predictor = open_predictor(model, batch_size, trust, runtime)
    answer(Application(predictor, score, megabytes, megapixels, [host, *allow_host]), host, port, limits)


def segment(
    model: Path,
    images: _Images,
    /,
    *,
    out: str,
    format: Annotated[Sequence[str] | None, _Several] = None,
    flip: bool = False,
    window: bool = False,
    replace: bool = False,
    runtime: Runtime = "auto",
    trust: bool = False,
    scale: _Scale = None,
) -> int:
    """Find the class of every pixel; writes a picture for each image, index PNGs in masks/, areas.csv and classes.txt.

    Images that cannot be read are named at the end, and the exit code is then 3; the others are done.

    Images in object storage, and the work on several processes and machines, are described in docs/scale.md.

    Args:
        model: a run folder, a .keras file, an export in its runtime, hf://OWNER/NAME on the Hugging Face Hub, or the
            name of published weights: visionkit weights list.
        images: files, folders or globs; or s3://BUCKET/...
        out: the folder for the results; or s3://BUCKET/...
        format: (at scale) csv, jsonl (a line for each image), or parquet for nothing but results/*.parquet; several.
        flip: average the model's answers for the image and for its mirror image: twice the time, a little better.
        window: slide a window of the network's size over images at full resolution instead of shrinking them.
        replace: do all images again where --out holds results of another model, or with other options; masks
            that were changed by hand stay.
        runtime: what runs the model; auto is the fastest for which its form is kept, or pays (docs/predict.md).
        trust: open an exported SavedModel even if it does more than compute: it could read and write files.
    """
    scale = scale or Scale()
    if is_at_scale(scale, images, out):
        check_offered({"replace": replace})
        job = Job(
            tasks=("segment",),
            formats=format or ("csv",),
            options={"flip": flip, "window": window},
            open=partial(open_segmenter, everywhere(model), trust, flip, window),
            runtime=runtime,
        )
        return PARTLY_DONE if run_at_scale(model, images, out, scale, job) else 0
    _check_no_format(format)
    from visionkit.open_model import content_digest, open_predictor
    from visionkit.predict.folders import segment_folder

    predictor = open_predictor(model, 8, trust, runtime, partial(images_in, images)).look(flip, window)
    options = {"made_by": content_digest(model), "replace": replace}
    return _report(segment_folder(predictor, images, Path(out), **options), Path(out))


def images_in(paths: Any) -> Sequence[Path]:
    """The image files that `paths` name, quietly: whoever reads them will say what is wrong with them."""
    from visionkit.image_files import find_images

    logging.disable(logging.WARNING)
    try:
        return find_images(paths)
    except (DataError, OSError):
        return ()
    finally:
        logging.disable(logging.NOTSET)


def _check_score(score: float) -> None:
    if not 0 <= score <= 1:
        raise DataError(f"--score: expected 0 to 1, found {score:g}")


def _is_video(source: str) -> bool:
    from visionkit.predict.video import is_video

    return is_video(source)


def _report(report, out: Path, what: str = "images") -> int:
    """Prints what `predict` did, and returns the exit code."""
    for failure in report.failed:
        print(plain(f"not read: {failure.error}"), file=sys.stderr)  # names of files may hold anything
    if kept := sorted(report.corrected):
        files, more = ("files", ", ...") if len(kept) > 1 else ("file", "")
        names = plain(f"({kept[0]}{more})")
        print(f"{len(kept)} {files} changed by hand and kept {names}; delete what is to be written anew")
    earlier = f" ({report.earlier} of them earlier)" if report.earlier else ""
    rows = f"{len(report.failed)} not read, {report.rows} rows of results: {out}"
    print(f"{report.done} {what} done{earlier}, {rows}")
    return PARTLY_DONE if report.failed else 0

"""A model behind HTTP: POST an image, get JSON. It is a WSGI application, for waitress or any other WSGI server.

| request | answer |
|---|---|
| `POST /predict`, the file's bytes as body | 200: `size` [height, width] and the prediction, see `answer` |
| `POST /predict?score=0.5` | the same, from a detector, without objects of lower scores |
| `GET /health` | 200: `status` "ok", `task`, `class_names` and the limits |
| bytes that are not an image, a broken image, one with too many pixels, a bad score | 400 |
| another path, another method, a body that is too large | 404, 405, 413 |

What is wrong with a request is one line in `error`; later requests are not affected.

Images are decoded as everywhere in visionkit, not by the graph. That happens in the server's threads, so that the
model's thread does nothing but run the model, and an image that cannot be decoded gets a reason.
"""

import json
import queue
import signal
import sys
import threading
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from visionkit import images
from visionkit.predict.formats import to_record
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Prediction, Predictor
from visionkit.types import DataError, SegmentationMap

MEGABYTES, MEGAPIXELS = 20.0, 25.0  # limits of a file and of its image, checked before the image is decoded
THREADS = 8  # requests that are read and decoded at a time; further ones wait
STATUS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    500: "Internal Server Error",
}


class Application:
    """The WSGI application; `close()` ends its thread.

    Args:
        predictor: runs the model on all images that are waiting, at most its `batch_size` at a time.
        score: detections below this are left out, unless the request asks for another score; with masks, which take
            long to draw and encode, it can only ask for a higher one.
        megabytes, megapixels: limits of a file and of the image in it.
    """

    def __init__(
        self, predictor: Predictor, score: float = 0.3, megabytes: float = MEGABYTES, megapixels: float = MEGAPIXELS
    ):
        self.predictor, self.score = predictor, score
        self.max_bytes, self.max_pixels = round(megabytes * 2**20), round(megapixels * 1e6)
        # Image, score and where the result goes; None ends the thread. Never longer than the server has threads.
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, float, Future] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answers one request, as WSGI (PEP 3333) asks of an application."""
        headers = [("Content-Type", "application/json; charset=utf-8")]
        try:
            status, content = self._respond(environ)
        except DataError as error:
            status, content = 400, {"error": str(error)}
        except Exception:  # the server goes on; the reason is for its log, not for the client
            traceback.print_exc()
            status, content = 500, {"error": "the server failed on this request; its log has the reason"}
        if status == 405:
            headers.append(("Allow", content.pop("allow")))
        body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
        start_response(f"{status} {STATUS[status]}", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def close(self) -> None:
        """Ends the model's thread, after the images that are waiting."""
        self._waiting.put(None)
        self._thread.join()

    def predict(self, data: bytes, score: float | None = None) -> dict[str, Any]:
        """The answer to an encoded image file.

        Args:
            data: the bytes of the file.
            score: replaces the application's own.

        Raises:
            DataError: the bytes are not an image, or a broken one, or one with more than `max_pixels`.
        """
        image = images.read_image(data, self.max_pixels)
        score = self.score if score is None else score
        if self.predictor.task == "instance":  # every object costs a mask of the photo's size, drawn and encoded
            score = max(score, self.score)
        future: Future[Prediction] = Future()
        self._waiting.put((image, score, future))
        return answer(future.result(), self.predictor.class_names, score)

    def _respond(self, environ: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer; a content with `allow` names the allowed method of a 405."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        allowed = {"/predict": "POST", "/health": "GET"}.get(path)
        if allowed is None:
            return 404, {"error": f"no such path: {path}; there are POST /predict and GET /health"}
        if method != allowed:
            return 405, {"error": f"{path} takes {allowed}, not {method}", "allow": allowed}
        if path == "/health":
            return 200, {
                "status": "ok",
                "task": self.predictor.task,
                "class_names": self.predictor.class_names,
                "max_bytes": self.max_bytes,
                "max_pixels": self.max_pixels,
            }
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self.max_bytes:
            return 413, {"error": f"{length} bytes are above the limit of {self.max_bytes}"}
        score = _score(parse_qs(environ.get("QUERY_STRING", "")))
        return 200, self.predict(environ["wsgi.input"].read(length), score)

    def _work(self) -> None:
        """Runs the model on what is waiting, until `close`."""
        while (job := self._waiting.get()) is not None:
            jobs = [job]
            while len(jobs) < self.predictor.batch_size and not self._waiting.empty():
                if (job := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                jobs.append(job)
            try:
                # No lower than any of them asks for: every detection costs a mask of the image's size.
                lowest = min(score for _, score, _ in jobs)
                results = list(self.predictor([image for image, _, _ in jobs], score=lowest))
            except Exception as error:
                for _, _, future in jobs:
                    future.set_exception(error)
            else:
                for (_, _, future), result in zip(jobs, results, strict=True):
                    future.set_result(result)


def answer(prediction: Prediction, class_names: list[str], score: float) -> dict[str, Any]:
    """A prediction as a JSON object.

    Args:
        prediction: of one image.
        class_names: names of the class ids 0..K-1.
        score: objects below it are left out.

    Returns:
        `size` [height, width] of the upright image, and
        from a detector `objects`, by descending score: `label`, `class`, `score`, `box` [x1, y1, x2, y2] in pixels, and
        `mask`, COCO's run-length encoding, if there are masks;
        from a classifier `classes`, the best five, by descending score: `label`, `class`, `score`;
        from a segmenter `areas`, largest first: `label`, `class`, `pixels`; and `map`, the class ids as a palette PNG
        of the image's size in base64.
    """
    record = to_record(prediction)
    if isinstance(prediction, SegmentationMap):
        areas = [{"label": k, "class": class_names[k], "pixels": pixels} for k, pixels in record["areas"]]
        png = images.encode_mask(prediction.segmentation, [colour_of(k) for k in range(len(class_names))])
        return {"size": record["size"], "areas": areas, "map": b64encode(png).decode("ascii")}
    if "best" in record:
        classes = [{"label": k, "class": class_names[k], "score": value} for k, value in record["best"]]
        return {"size": record["size"], "classes": classes}
    objects = [item | {"class": class_names[item["label"]]} for item in record["objects"] if item["score"] >= score]
    return {"size": record["size"], "objects": objects}


def _score(query: dict[str, list[str]]) -> float | None:
    """The score that a query string asks for; None if it does not."""
    if "score" not in query:
        return None
    text = query["score"][0]
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 1:
        raise DataError(f"score: expected a number 0..1, found {text!r}")
    return score


def create_server(application: Application, host: str, port: int, threads: int = THREADS) -> Any:
    """A waitress server: `run()` serves, `close()` ends it, `effective_port` is the port that was picked for 0.

    Args:
        application: answers the requests.
        host, port: the address to listen on.
        threads: requests that are handled at a time.

    Raises:
        DataError: waitress is not installed.
    """
    try:
        import waitress
    except ModuleNotFoundError:
        raise DataError("waitress is not installed; it comes with visionkit's extra serve (README.md)") from None
    return waitress.create_server(  # pyright: ignore[reportAttributeAccessIssue]  (waitress has no types)
        application,
        host=host,
        port=port,
        threads=threads,
        # Waitress refuses a body above its limit before reading it, with a 413 in its own words.
        max_request_body_size=application.max_bytes + 1,
    )


def serve(application: Application, host: str, port: int, threads: int = THREADS) -> None:
    """Answers requests until it is interrupted; arguments as in `create_server`.

    A black image is predicted first, so that the first answer is as quick as the others.
    """
    h, w = application.predictor.image_size
    list(application.predictor(np.zeros((h, w, 3), np.uint8)))
    server = create_server(application, host, port, threads)
    # A host with several addresses, such as localhost with IPv4 and IPv6, has a port for each.
    port = getattr(server, "effective_port", None) or server.effective_listen[0][1]
    print(f"http://{host}:{port}/predict takes images; Ctrl-C ends it", file=sys.stderr, flush=True)
    main = threading.current_thread() is threading.main_thread()  # the only one that may set signal handlers
    before = None
    if main:  # SIGTERM is how containers are ended
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run()
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        server.close()
        application.close()

"""The WSGI application: POST an image, get JSON. For waitress or any other WSGI server.

| request | answer |
|---|---|
| `POST /predict`, the file's bytes as body, or as the one file of a form (multipart/form-data) | 200: `size` [height,
width] and the prediction, see `answer` |
| `POST /predict?score=0.5`, or `score` in the form | the same, from a detector, without objects of lower scores |
| `GET /` | 200: the page for the browser |
| `GET /health` | 200: `status` "ok", `task`, `class_names` and the limits |
| `GET /metrics` | 200: what was counted, in Prometheus' text format |
| bytes that are not an image, a broken image, one with too many pixels, a bad score, a bad form | 400 |
| a Host or an Origin that is not the server's | 403 |
| another path, another method, a body that is too large | 404, 405, 413 |

What is wrong with a request is one line in `error`; later requests are not affected.

Images are decoded as everywhere in visionkit, not by the graph. That happens in the server's threads, so that the
model's thread does nothing but run the model, and an image that cannot be decoded gets a reason.
"""

import json
import queue
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from visionkit import images, limits
from visionkit.predict.formats import to_record
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Prediction, Predictor
from visionkit.serve.access import host_names, refusal
from visionkit.serve.log import log_refused
from visionkit.serve.metrics import Metrics
from visionkit.serve.page import HEADERS, page
from visionkit.serve.upload import read_upload
from visionkit.types import DataError, SegmentationMap

MEGABYTES, MEGAPIXELS = 20.0, 25.0  # limits of a file and of its image, checked before the image is decoded
JSON = "application/json; charset=utf-8"
METHODS = {"/": "GET, HEAD", "/predict": "POST", "/health": "GET, HEAD", "/metrics": "GET, HEAD"}
STATUS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
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
        hosts: names under which the server may be reached, besides this machine's own; see `access.refusal`.

    Raises:
        DataError: prometheus_client is not installed, or one of `hosts` is no name of a host.
    """

    def __init__(
        self,
        predictor: Predictor,
        score: float = 0.3,
        megabytes: float = MEGABYTES,
        megapixels: float = MEGAPIXELS,
        hosts: Collection[str] = (),
    ):
        self.predictor, self.score, self.hosts = predictor, score, host_names(hosts)
        self.max_bytes, self.max_pixels = round(megabytes * 2**20), round(megapixels * 1e6)
        # Image, score and where the result goes; None ends the thread. Never longer than the server has threads.
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, float, Future] | None] = queue.SimpleQueue()
        self.metrics = Metrics(self._waiting.qsize)
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answers one request, as WSGI (PEP 3333) asks of an application."""
        start, path, reason = time.perf_counter(), environ.get("PATH_INFO", ""), ""
        try:
            status, content, headers = self._respond(environ, path)
        except DataError as error:
            status, content, headers = 400, {"error": limits.without_option(str(error))}, {}
        except Exception as error:  # the server goes on; the reason is for its log, not for the client
            traceback.print_exc()
            status, content, headers = 500, {"error": "the server failed on this request; its log has the reason"}, {}
            reason = f"{type(error).__name__}: {error}"
        if isinstance(content, dict):
            reason = reason or content.get("error", "")
            content, headers = (
                json.dumps(content, ensure_ascii=False).encode() + b"\n",
                {"Content-Type": JSON} | headers,
            )
        headers |= {"Content-Length": str(len(content)), "X-Content-Type-Options": "nosniff"}
        start_response(f"{status} {STATUS[status]}", list(headers.items()))
        self.metrics.count(path if path in METHODS else "-", status, time.perf_counter() - start)
        reason += "; --allow-host allows it" if status == 403 else ""  # the log is the operator's
        log_refused(environ.get("REMOTE_ADDR", "-"), f"{environ['REQUEST_METHOD']} {path}", status, reason)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]

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

    def _respond(self, environ: dict[str, Any], path: str) -> tuple[int, dict[str, Any] | bytes, dict[str, str]]:
        """Status, content and additional headers of the answer; a dict is sent as JSON."""
        if reason := refusal(environ, self.hosts):
            return 403, {"error": reason}, {}
        method, allowed = environ["REQUEST_METHOD"], METHODS.get(path)
        if allowed is None:
            return 404, {"error": f"no such path: {path}; there are /, /health, /metrics and POST /predict"}, {}
        if method not in allowed.split(", "):
            return 405, {"error": f"{path} takes {allowed}, not {method}"}, {"Allow": allowed}
        if path == "/":
            return 200, page(), HEADERS
        if path == "/metrics":
            return 200, self.metrics.page(), {"Content-Type": self.metrics.content_type}
        if path == "/health":
            return 200, self.health(), {}
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self.max_bytes:
            return 413, {"error": f"{length} bytes are above this server's limit of {self.max_bytes}"}, {}
        return 200, self._predict_upload(environ, length), {}

    def health(self) -> dict[str, Any]:
        """The answer to GET /health."""
        return {
            "status": "ok",
            "task": self.predictor.task,
            "class_names": self.predictor.class_names,
            "class_colours": [f"#{bytes(colour_of(k)).hex()}" for k in range(len(self.predictor.class_names))],
            "score": self.score,
            "max_bytes": self.max_bytes,
            "max_pixels": self.max_pixels,
        }

    def _predict_upload(self, environ: dict[str, Any], length: int) -> dict[str, Any]:
        """The answer to POST /predict."""
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        score = _score(query.get("score", [None])[0])  # before the upload is read
        data, fields = read_upload(environ, length)
        if unknown := fields.keys() - {"score"}:
            raise DataError(f"the form has a field {min(unknown)!r}; expected a file and, if wanted, score")
        return self.predict(data, _score(fields.get("score")) if score is None else score)

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


def _score(text: str | None) -> float | None:
    """The score that a request asks for; None if it does not."""
    if text is None:
        return None
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 1:
        raise DataError(f"score: expected a number 0..1, found {text!r}")
    return score

"""A model behind HTTP: POST an image, get JSON. A WSGI application that waitress serves, or any other server.

| request | answer |
|---|---|
| `POST /predict`, the file's bytes as body | 200: `size` [height, width], and what was found, see `answer` |
| `POST /predict?score=0.5` | the same, of a detector, without what is scored lower |
| `GET /health` | 200: `status` "ok", `task`, `class_names` and the limits |
| bytes that are no image, a broken one, one of too many pixels, a bad score | 400 |
| another path, another method, a body that is too large | 404, 405, 413 |

Whatever is wrong is said in `error`, one line, and the next request is none the worse.

The files are decoded as everywhere in visionkit, not by the graph: in the server's threads, so that the model's one
thread does nothing else, and with a reason where one cannot be.
"""

import json
import queue
import signal
import sys
import threading
import traceback
from base64 import b64encode
from concurrent.futures import Future
from urllib.parse import parse_qs

import numpy as np

from visionkit import images
from visionkit.predict.formats import to_record
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Prediction, Predictor
from visionkit.types import DataError

MEGABYTES, MEGAPIXELS = 20.0, 25.0  # of a file and of its image; a larger one is refused before it is decoded
THREADS = 8  # requests that are read and decoded at a time; further ones wait
STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large"}
STATUS |= {500: "Internal Server Error"}


class Application:
    """The WSGI application; `close()` ends its thread.

    Args:
        predictor: its `batch_size` images at most are given to the model at once: those that wait when it gets free.
        score: detections below this are left out where the request does not say another; with masks, which take long
            to draw and code, it can only say a higher one.
        megabytes, megapixels: the limits of a file and of the image in it.
    """

    def __init__(
        self, predictor: Predictor, score: float = 0.3, megabytes: float = MEGABYTES, megapixels: float = MEGAPIXELS
    ):
        self.predictor, self.score = predictor, score
        self.max_bytes, self.max_pixels = round(megabytes * 2**20), round(megapixels * 1e6)
        self._waiting = queue.SimpleQueue()  # never longer than the server has threads
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def __call__(self, environ, start_response):
        headers = [("Content-Type", "application/json; charset=utf-8")]
        try:
            status, content = self._respond(environ)
        except DataError as error:
            status, content = 400, {"error": str(error)}
        except Exception:  # a server goes on; the reason is for its log, not for whoever asks
            traceback.print_exc()
            status, content = 500, {"error": "the server failed on this request; its log has the reason"}
        if status == 405:
            headers.append(("Allow", content.pop("allow")))
        body = json.dumps(content, ensure_ascii=False).encode() + b"\n"
        start_response(f"{status} {STATUS[status]}", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def close(self) -> None:
        """Ends the model's thread, after the images that wait."""
        self._waiting.put(None)
        self._thread.join()

    def predict(self, data: bytes, score: float | None = None) -> dict:
        """The answer to an encoded image file.

        Raises:
            DataError: the bytes are no image, a broken one, or one above `max_pixels`.
        """
        image, future = images.read_image(data, self.max_pixels), Future()
        score = self.score if score is None else score
        if self.predictor.task == "instance":  # a mask as large as the photo is drawn and coded for every object
            score = max(score, self.score)
        self._waiting.put((image, score, future))
        return answer(future.result(), self.predictor.class_names, score)

    def _respond(self, environ) -> tuple[int, dict]:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        allowed = {"/predict": "POST", "/health": "GET"}.get(path)
        if allowed is None:
            return 404, {"error": f"no such path: {path}; there are POST /predict and GET /health"}
        if method != allowed:
            return 405, {"error": f"{path} takes {allowed}, not {method}", "allow": allowed}
        if path == "/health":
            limits = {"max_bytes": self.max_bytes, "max_pixels": self.max_pixels}
            return 200, {
                "status": "ok",
                "task": self.predictor.task,
                "class_names": self.predictor.class_names,
            } | limits
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self.max_bytes:
            return 413, {"error": f"{length} bytes are above the limit of {self.max_bytes}"}
        score = _score(parse_qs(environ.get("QUERY_STRING", "")))
        return 200, self.predict(environ["wsgi.input"].read(length), score)

    def _work(self):
        while (job := self._waiting.get()) is not None:
            jobs = [job]
            while len(jobs) < self.predictor.batch_size and not self._waiting.empty():
                if (job := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                jobs.append(job)
            try:
                # No lower than anybody asks for: a mask as large as the image is drawn for every detection.
                least = min(score for _, score, _ in jobs)
                results = list(self.predictor([image for image, _, _ in jobs], score=least))
            except Exception as error:
                for _, _, future in jobs:
                    future.set_exception(error)
            else:
                for (_, _, future), result in zip(jobs, results, strict=True):
                    future.set_result(result)


def answer(found: Prediction, class_names: list[str], score: float) -> dict:
    """A prediction as JSON.

    Returns:
        `size` [height, width] of the upright image, and with falling scores
        of a detector `objects`: `label`, `class`, `score`, `box` [x1, y1, x2, y2] in pixels, and where there are masks
        `mask`, COCO's run-length code;
        of a classifier `classes`, the best five: `label`, `class`, `score`;
        of a segmenter `areas`, the largest first: `label`, `class`, `pixels`; and `map`, the class ids as a palette PNG
        of that size in base64.
    """
    record = to_record(found)
    if "areas" in record:
        areas = [{"label": k, "class": class_names[k], "pixels": pixels} for k, pixels in record["areas"]]
        png = images.encode_mask(found.segmentation, [colour_of(k) for k in range(len(class_names))])
        return {"size": record["size"], "areas": areas, "map": b64encode(png).decode("ascii")}
    if "best" in record:
        classes = [{"label": k, "class": class_names[k], "score": value} for k, value in record["best"]]
        return {"size": record["size"], "classes": classes}
    objects = [item | {"class": class_names[item["label"]]} for item in record["objects"] if item["score"] >= score]
    return {"size": record["size"], "objects": objects}


def _score(query) -> float | None:
    text = query.get("score", [None])[0]
    try:
        score = None if text is None else float(text)
    except ValueError:
        score = np.nan
    if score is not None and not 0 <= score <= 1:
        raise DataError(f"score: expected a number 0..1, found {text!r}")
    return score


def create_server(application: Application, host: str, port: int, threads: int = THREADS):
    """A waitress server: `run()` serves, `close()` ends it, `effective_port` says which port 0 became.

    Raises:
        DataError: waitress is not installed.
    """
    try:
        import waitress
    except ModuleNotFoundError:
        raise DataError("waitress is not installed; it comes with visionkit's extra serve (README.md)") from None
    # Waitress refuses a body above its limit before it has read it, with 413 in words of its own.
    limit = application.max_bytes + 1
    return waitress.create_server(application, host=host, port=port, threads=threads, max_request_body_size=limit)


def serve(application: Application, host: str, port: int, threads: int = THREADS) -> None:
    """Answers until it is interrupted. The first answer is as quick as the others: a drawn image goes through first."""
    h, w = application.predictor.image_size
    list(application.predictor(np.zeros((h, w, 3), np.uint8)))
    server = create_server(application, host, port, threads)
    # Where a host has several addresses, such as localhost of IPv4 and IPv6, there is a port of each.
    port = getattr(server, "effective_port", None) or server.effective_listen[0][1]
    print(f"http://{host}:{port}/predict takes images; Ctrl-C ends it", file=sys.stderr, flush=True)
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)) if main else None  # what ends a container
    try:
        server.run()
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
        server.close()
        application.close()

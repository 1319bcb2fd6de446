"""The HTTP server: good images, garbage, bombs, many clients; and the form in which TensorFlow Serving is asked."""

import base64
import http.server
import io
import os
import re
import signal
import socket
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import waitress
from PIL import Image
from support import servers
from support.paths import ROOT
from support.predictors import FakePredictor
from support.servers import encoded, running

from visionkit.images import read_mask
from visionkit.predict.palette import colour_of
from visionkit.predict.predictor import Predictor
from visionkit.serve import server as module
from visionkit.serve.application import Application
from visionkit.serve.server import serve

sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))
import load_server

WIDTHS = range(40, 80, 8)


@pytest.fixture(scope="module")
def application():
    """One object in the left half of every image; two images at most at a time."""
    application = Application(FakePredictor(), megabytes=1, megapixels=2)
    yield application
    application.close()


@pytest.fixture(scope="module")
def ask(application):
    with running(application) as port:
        ask = partial(servers.ask, port)
        ask.port = port
        yield ask


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_an_image_gets_its_objects(ask, kind):
    status, found, _ = ask("POST", "/predict", encoded(60, kind))
    assert status == 200
    assert found == {"size": [30, 60], "objects": [{"label": 1, "class": "dög", "score": 0.75, "box": [0, 0, 30, 30]}]}
    assert [item["score"] for item in ask("POST", "/predict?score=0.1", encoded(60))[1]["objects"]] == [0.75, 0.25]
    assert ask("POST", "/predict?score=1", encoded(60))[1] == {"size": [30, 60], "objects": []}


def test_what_is_wrong_is_said_and_the_next_request_works(ask):
    cases = {
        (b"not an image", ""): (400, "12 bytes: is not an image that can be read"),
        (b"", ""): (400, "is empty"),
        (encoded(60, "JPEG")[:200], ""): (400, "broken image"),
        (encoded(60), "?score=high"): (400, "score: expected a number 0..1, found 'high'"),
        (encoded(60), "?score=nan"): (400, "score: expected a number 0..1, found 'nan'"),
    }
    for (body, query), (status, reason) in cases.items():
        found = ask("POST", f"/predict{query}", body)
        assert found[0] == status and reason in found[1]["error"] and "\n" not in found[1]["error"]
        assert ask("POST", "/predict", encoded(60))[0] == 200
    assert ask("GET", "/predict")[0] == 405 and ask("GET", "/predict")[2]["Allow"] == "POST"
    status, found, _ = ask("POST", "/v2/nothing", b"x")
    assert status == 404 and "/v2/nothing" in found["error"]


def test_bombs_are_refused_before_they_are_decoded(ask, application, monkeypatch):
    decoded = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda self: (decoded.append(self.size), load(self))[1])
    for side in (10_000, 1500):  # 100 megapixels, which Pillow would stop at too, and just above the server's own limit
        stream = io.BytesIO()
        Image.new("1", (side, side)).save(stream, "PNG")
        decoded.clear()
        assert len(stream.getvalue()) < 20_000
        status, found, _ = ask("POST", "/predict", stream.getvalue())
        assert status == 400 and "above this server's limit of 2000000 pixels" in found["error"]
        assert not decoded
    assert ask("POST", "/predict", b"x" * (2**20 + 1))[0] == 413
    assert ask("POST", "/predict", encoded(60))[0] == 200


def test_health_names_the_limits(ask):
    status, found, _ = ask("GET", "/health")
    assert status == 200
    assert found == {
        "status": "ok",
        "task": "detect",
        "class_names": ["cat", "dög"],
        "class_colours": [f"#{bytes(colour_of(k)).hex()}" for k in range(2)],
        "score": 0.3,
        "max_bytes": 2**20,
        "max_pixels": 2_000_000,
    }


def test_a_failure_inside_is_500_and_the_next_request_works(ask, application, monkeypatch, capsys):
    def fail(batch):
        raise RuntimeError("out of memory: 0x7f")

    with monkeypatch.context() as patched:
        patched.setattr(application.predictor._serving, "predict_on_batch", fail)
        status, found, _ = ask("POST", "/predict", encoded(60))
    assert status == 500 and "0x7f" not in found["error"]
    assert "out of memory: 0x7f" in capsys.readouterr().err
    assert ask("POST", "/predict", encoded(60))[0] == 200


def test_many_clients_and_garbage_between(ask, application):
    good = [(encoded(width), application.predict(encoded(width), load_server.SCORE)) for width in WIDTHS]
    slow = load_server.Slow(ask.port, 12)
    with slow.open():
        memory = iter(range(10_000)).__next__  # of a server that needs another MB for every request
        report = load_server.load(ask.port, good, requests=200, clients=8, share=0.1, memory=memory)
    assert report["first_wrong"] == [] and slow.opened == 12
    assert (report["memory_mb"], report["grew_mb"]) == (19, 180)
    assert (report["right"], report["refused"], report["wrong"]) == (180, 20, 0)
    assert 0 < report["p50_ms"] <= report["p90_ms"] <= report["p99_ms"] <= report["p100_ms"]


def test_the_load_notices_a_wrong_answer(ask, application):
    good = [(encoded(width), application.predict(encoded(width), load_server.SCORE)) for width in WIDTHS]
    good[2][1]["objects"][0]["box"][2] += 1
    report = load_server.load(ask.port, good, requests=20, clients=2, share=0.1)
    assert 3 <= report["wrong"] <= 4 and report["right"] == 18 - report["wrong"]


def test_the_load_notices_an_answer_that_is_no_json(monkeypatch):
    class Odd(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b"nonsense"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        report = load_server.load(server.server_port, [(encoded(40), {})], requests=6, clients=2, share=0.0)
        server.shutdown()
    assert (report["right"], report["wrong"]) == (0, 6)


def test_what_waits_goes_to_the_model_together(application, monkeypatch):
    batches, gate = [], threading.Event()
    run = application.predictor._serving.predict_on_batch

    def slow(batch):
        gate.wait(60)
        batches.append(int(batch.reshape(len(batch), -1).any(axis=1).sum()))  # padding is black
        return run(batch)

    monkeypatch.setattr(application.predictor._serving, "predict_on_batch", slow)
    answers = {}
    askers = [threading.Thread(target=lambda w=w: answers.update({w: application.predict(encoded(w))})) for w in WIDTHS]
    for asker in askers:
        asker.start()
    while application._waiting.qsize() < len(askers) - 2:  # all but those at the model
        threading.Event().wait(0.01)
    gate.set()
    for asker in askers:
        asker.join(60)
    assert sum(batches) == 5 and max(batches) == 2 and len(batches) <= 4
    assert {w: found["size"][1] for w, found in answers.items()} == {w: w for w in WIDTHS}


def test_what_nobody_asks_for_is_not_made(application, monkeypatch):
    made, finish = [], Predictor._finish

    def spy(*args):
        for found in finish(*args):
            made.append(found)
            yield found

    monkeypatch.setattr(Predictor, "_finish", spy)
    application.predict(encoded(40))
    assert [found.scores.tolist() for found in made] == [[0.75]]  # there is another of 0.25


def test_a_classifier_answers_with_classes():
    class Classify:
        image_size, resize, class_names, task = (8, 8), "stretch", ("cat", "dog", "emu"), "classify"

        def serving(self):
            return self

        def predict_on_batch(self, batch):
            return {"scores": np.tile(np.float32([[0.2, 0.7, 0.1]]), (len(batch), 1))}

    application = Application(Predictor(Classify(), batch_size=1))
    found = application.predict(encoded(40))
    application.close()
    assert [(item["class"], item["label"], item["score"]) for item in found["classes"]] == [
        ("dog", 1, 0.7),
        ("cat", 0, 0.2),
        ("emu", 2, 0.1),
    ]


def test_a_segmenter_answers_with_a_map():
    class Segment:
        image_size, resize, class_names, task = (8, 8), "stretch", ("sky", "sea"), "segment"

        def serving(self):
            return self

        def predict_on_batch(self, batch):
            sea = np.tile((np.arange(8) >= 6).astype(np.float32)[:, None], (len(batch), 1, 8))  # the lower quarter
            return {"probabilities": np.stack([1 - sea, sea], axis=-1)}

    application = Application(Predictor(Segment(), batch_size=1))
    found = application.predict(encoded(40))
    application.close()
    said = read_mask(base64.b64decode(found["map"]))
    assert found["size"] == [30, 40] and said.shape == (30, 40)
    assert (said[:22] == 0).all() and (said[24:] == 1).all()
    sky = int((said == 0).sum())
    assert found["areas"] == [
        {"label": 0, "class": "sky", "pixels": sky},
        {"label": 1, "class": "sea", "pixels": 30 * 40 - sky},
    ]


def test_a_host_may_have_several_addresses(monkeypatch, capsys):
    real = socket.getaddrinfo

    def both(host, *rest, **options):
        names = ("127.0.0.1", "127.0.0.2") if host == "localhost" else (host,)
        return [row for name in names for row in real(name, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    monkeypatch.setattr(waitress.server.MultiSocketServer, "run", lambda self: None)
    serve(Application(FakePredictor()), "localhost", 0)
    assert re.match(r"http://localhost:[1-9]\d+/predict takes images", capsys.readouterr().err)


def test_a_request_cannot_ask_for_masks_that_the_server_leaves_out(application, monkeypatch):
    monkeypatch.setattr(application.predictor, "task", "instance")
    found = application.predict(encoded(40), 0.1)["objects"]  # there is another of 0.25
    assert [item["score"] for item in found] == [0.75]
    assert application.predict(encoded(40), 0.8)["objects"] == []


def test_what_ends_a_container_ends_the_server(monkeypatch):
    ended = []

    class Server:
        effective_port = 1

        def run(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

        def close(self):
            ended.append("server")

    application, before = Application(FakePredictor()), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(application, "close", lambda close=application.close: (ended.append("application"), close()))
    monkeypatch.setattr(module, "create_server", lambda *_: Server())
    with pytest.raises(SystemExit, match="0"):
        serve(application, "127.0.0.1", 0)
    assert ended == ["server", "application"] and signal.getsignal(signal.SIGTERM) is before


def test_the_load_test_knows_the_answers_of_segmenters():
    answer = {"size": [2, 3], "areas": [{"label": 0, "class": "sky", "pixels": 6}], "map": "x"}
    assert load_server.same(answer, dict(answer)) and not load_server.same(answer | {"map": "y"}, answer)

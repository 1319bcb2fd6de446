"""Tests a visionkit server with many clients, some of which send garbage: are all answers right, and how fast?

    python tools/benchmarks/load_server.py MODEL IMAGES [--requests 1000] [--clients 8] [--garbage 0.05] [--slow 0]

Starts `visionkit serve MODEL` in a separate process, computes the right answer for each image here, and sends images
and garbage in a random order given by a seed, beside --slow connections that are idle or send a byte a second. The exit
code is 1 if any answer was wrong, the server died, or its memory grew by more than 50 MB after the first tenth.
"""

import argparse
import contextlib
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SCORE = 0.3
BOX, CONFIDENCE = 0.1, 1e-3  # pixels and score by which two runs of one model may differ
GROWTH = 50  # MB by which the server's memory may grow after the first tenth of the requests
BEGINNINGS = (  # of requests that are never finished, and what is sent each second
    (b"", b""),
    (b"POST /predict HTTP/1.1\r\nHost: localhost\r\n", b"A: b\r\n"),
    (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", b"x"),
)


def garbage(good: bytes) -> dict[str, tuple[bytes, int]]:
    """{what it is: (bytes, the right status)}"""
    bomb = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(bomb, "PNG")  # 100 megapixels in about 12 kB
    return {
        "text": (b"not an image", 400),
        "nothing": (b"", 400),
        "half an image": (good[: len(good) // 2], 400),
        "a damaged header": (good[:2] + b"\0" * 20 + good[22:], 400),
        "a bomb of 100 megapixels": (bomb.getvalue(), 400),
        "a body too large": (b"x" * (21 * 2**20), 413),
    }


def same(found: dict, expected: dict) -> bool:
    """Whether two answers are the same, except for the last digits."""
    if found.keys() != expected.keys() or found["size"] != expected["size"]:
        return False
    if "areas" in expected:
        return found == expected
    key = "objects" if "objects" in expected else "classes"
    if [item["class"] for item in found[key]] != [item["class"] for item in expected[key]]:
        return False
    for a, b in zip(found[key], expected[key], strict=True):
        if (
            abs(a["score"] - b["score"]) > CONFIDENCE
            or np.abs(np.subtract(a.get("box", 0), b.get("box", 0))).max() > BOX
        ):
            return False
    return True


@dataclass(frozen=True)
class Job:
    """A request, and what is right in answer to it.

    Args:
        data: the body.
        answer: the right answer to an image; None for garbage.
        status: the right HTTP status.
        name: what it is.
    """

    data: bytes
    answer: dict | None = None
    status: int = 200
    name: str = "an image"

    def right(self, status: int, body: bytes) -> bool:
        """Whether the server's answer is right."""
        if status != self.status:
            return False
        if status == 413:  # the answer to a body above the limit may be lost with the connection
            return True
        try:
            found = json.loads(body)
            return "error" in found if self.answer is None else same(found, self.answer)
        except (ValueError, KeyError, TypeError):
            return False


def jobs(good: list[tuple[bytes, dict]], requests: int, share: float, seed: int) -> list[Job]:
    """`requests` jobs: the good ones in turn, and a `share` of garbage at places drawn from the seed."""
    all_jobs = [Job(*good[i % len(good)]) for i in range(requests)]
    bad = [Job(data, status=status, name=name) for name, (data, status) in garbage(good[0][0]).items()]
    places = np.random.default_rng(seed).choice(requests, round(share * requests), replace=False)
    for turn, i in enumerate(places):
        all_jobs[i] = bad[turn % len(bad)]
    return all_jobs


class Load:
    """Clients that share a queue of jobs, and what came of them.

    Args:
        port: of the server on this machine.
        queue: the jobs.
        memory: returns the server's memory in MB; it is asked after every job.
    """

    def __init__(self, port: int, queue: list[Job], memory: Callable[[], float] = lambda: 0.0):
        self.port, self._queue, self._lock = port, iter(queue), threading.Lock()
        self._memory, self.memory = memory, []
        self.times: list[float] = []  # seconds of each request with an image
        self.wrong: list[str] = []  # about each wrong answer
        self.right = self.refused = 0  # images answered right; garbage refused as it should be

    def client(self) -> None:
        """Does jobs, over one connection as long as the server keeps it, until none is left."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while True:
            with self._lock:
                job = next(self._queue, None)
            if job is None:
                connection.close()
                return
            start = time.perf_counter()
            status, body = ask(connection, job)
            self._note(job, status, body, time.perf_counter() - start)

    def _note(self, job: Job, status: int, body: bytes, seconds: float) -> None:
        right = job.right(status, body)
        with self._lock:
            if job.answer is not None:
                self.times.append(seconds)
                self.right += right
            else:
                self.refused += right
            self.memory.append(self._memory())
            if not right:
                self.wrong.append(f"{job.name}: {status} {body[:200].decode(errors='replace')}")


def ask(connection: http.client.HTTPConnection, job: Job) -> tuple[int, bytes]:
    """The server's status and answer; 0 and the error where the connection broke."""
    try:
        connection.request("POST", f"/predict?score={SCORE}", job.data)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        # A body above the limit is refused while it is being sent, and the connection ends with it.
        return 413 if job.status == 413 else 0, str(error).encode()


class Slow(threading.Thread):
    """Connections that never finish a request; those that the server closes are opened again.

    Args:
        port: of the server on this machine.
        count: of connections.
    """

    def __init__(self, port: int, count: int):
        super().__init__(daemon=True)
        self._port, self._count, self._end = port, count, threading.Event()
        self.opened = 0

    def run(self) -> None:
        """Sends a little over each connection every second."""
        connections: list[socket.socket | None] = [None] * self._count
        while not self._end.wait(1):
            for i in range(self._count):
                connections[i] = self._dribble(connections[i], *BEGINNINGS[i % len(BEGINNINGS)])
        for connection in connections:
            if connection is not None:
                connection.close()

    def _dribble(self, connection: socket.socket | None, beginning: bytes, little: bytes) -> socket.socket | None:
        """The connection, opened if there is none; None if it was closed by the server."""
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", self._port), timeout=20)
                connection.sendall(beginning)
                connection.setblocking(False)
                self.opened += 1
            connection.sendall(little)
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(4096):
                    raise ConnectionResetError
        except OSError:
            if connection is not None:
                connection.close()
            return None
        return connection

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """They are open while the block runs, and for a second before."""
        self.start()
        time.sleep(2)
        yield
        self._end.set()
        self.join()


def memory_of(process: int) -> float:
    """Resident memory of a process in MB; 0 where there is no /proc."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 2**20
    except OSError:
        return 0.0


def load(
    port: int,
    good: list[tuple[bytes, dict]],
    requests: int,
    clients: int,
    share: float,
    seed: int = 0,
    memory: Callable[[], float] = lambda: 0.0,
) -> dict:
    """Sends `requests` from `clients` threads.

    Args:
        port: of the server on this machine.
        good: images, encoded, each with the right answer.
        requests: how many in all.
        clients: how many threads.
        share: of garbage, 0..1.
        seed: of the places where the garbage comes.
        memory: returns the server's memory in MB.

    Returns:
        Counts, the first wrong answers, seconds, requests a second, percentiles of the good ones' milliseconds, and the
        server's memory: the most during the first tenth, and by how much more it was later.
    """
    run, start = Load(port, jobs(good, requests, share, seed), memory), time.perf_counter()
    threads = [threading.Thread(target=run.client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    tenth = max(run.memory[: max(1, requests // 10)])
    return {
        "requests": requests,
        "clients": clients,
        "right": run.right,
        "refused": run.refused,
        "wrong": len(run.wrong),
        "first_wrong": run.wrong[:5],
        "seconds": round(seconds, 2),
        "requests_per_second": round(requests / seconds, 2),
        "memory_mb": round(tenth, 1),
        "grew_mb": round(max(run.memory) - tenth, 1),
    } | {f"p{p}_ms": round(1e3 * float(np.percentile(run.times, p)), 1) for p in (50, 90, 99, 100)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--garbage", type=float, default=0.05)
    parser.add_argument("--different", type=int, default=20, help="images (default 20)")
    parser.add_argument("--slow", type=int, default=0, help="connections that never finish a request (default 0)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from visionkit.image_files import find_images
    from visionkit.open_model import open_predictor
    from visionkit.serve.application import answer

    files = find_images(options.images)[: options.different]
    predictor = open_predictor(options.model, batch_size=1)
    found = [answer(result, predictor.class_names, SCORE) for result in predictor(files, score=0.0)]
    good = [(file.read_bytes(), json.loads(json.dumps(right))) for file, right in zip(files, found, strict=True)]
    del predictor
    command = [sys.executable, str(Path(__file__).resolve().parents[1] / "serve.py"), str(options.model), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        line = server.stderr.readline()
        try:
            port = int(line.split("/predict")[0].rsplit(":", 1)[1])
        except (IndexError, ValueError):
            sys.exit(f"the server did not start: {line}{server.stderr.read()}")
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(server.stderr))  # a full pipe would stop the server
        reader.start()
        slow = Slow(port, options.slow)
        with slow.open():
            report = load(
                port,
                good,
                options.requests,
                options.clients,
                options.garbage,
                memory=lambda: memory_of(server.pid),
            )
        report |= {"slow": options.slow, "slow_opened": slow.opened}
        report["alive"] = server.poll() is None
        server.terminate()
        reader.join()
        report["log"] = "".join(log)[-2000:]
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["alive"] and not report["wrong"] and report["grew_mb"] <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())

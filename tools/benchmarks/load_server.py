"""Tests a visionkit server with many clients, some of which send garbage: are all answers right, and how fast?

    python tools/benchmarks/load_server.py MODEL IMAGES [--requests 1000] [--clients 8] [--garbage 0.05] [--json FILE]

Starts `visionkit serve MODEL` in a separate process, computes the right answer for each image here, and sends images
and garbage in a random order given by a seed. The exit code is 1 if any answer was wrong or the server died.
"""

import argparse
import http.client
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

SCORE = 0.3
BOX, CONFIDENCE = 0.1, 1e-3  # pixels and score by which two runs of one model may differ


def garbage(good: bytes) -> dict[str, tuple[bytes, int]]:
    """{what it is: (bytes, the status that they deserve)}"""
    bomb = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(bomb, "PNG")  # 100 megapixels in about 12 kB
    cases = {"text": b"not an image", "nothing": b"", "half an image": good[: len(good) // 2]}
    cases |= {"a damaged header": good[:2] + b"\0" * 20 + good[22:], "a bomb of 100 megapixels": bomb.getvalue()}
    return {name: (data, 400) for name, data in cases.items()} | {"a body too large": (b"x" * (21 * 2**20), 413)}


def same(found: dict, expected: dict) -> bool:
    """Whether two answers say the same, but for the last digits."""
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


def load(port: int, good: list[tuple[bytes, dict]], requests: int, clients: int, share: float, seed: int = 0) -> dict:
    """Sends `requests` from `clients` threads, each with a connection that it keeps while the server does.

    Args:
        port: of the server on this machine.
        good: (encoded image, the right answer).
        share: of garbage, 0..1.

    Returns:
        Counts, the first wrong answers, seconds, requests a second, and percentiles of the good ones' milliseconds.
    """
    rng, bad = np.random.default_rng(seed), list(garbage(good[0][0]).items())
    jobs = [(*good[i % len(good)], None) for i in range(requests)]
    for turn, i in enumerate(rng.choice(requests, round(share * requests), replace=False)):
        name, (data, status) = bad[turn % len(bad)]
        jobs[i] = data, status, name
    queue, lock, times, wrong, refused = iter(jobs), threading.Lock(), [], [], 0

    def client():
        nonlocal refused
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                job = next(queue, None)
            if job is None:
                return connection.close()
            data, expected, name = job
            start = time.perf_counter()
            try:
                connection.request("POST", f"/predict?score={SCORE}", data)
                response = connection.getresponse()
                status, body = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A body above the limit is refused while it is being sent; the answer may be lost with the connection.
                status, body = (413 if expected == 413 else 0), str(error).encode()
            seconds = time.perf_counter() - start
            try:
                found = None if status == 413 else json.loads(body)
                ok = status == expected and (status == 413 or "error" in found) if name else status == 200
                ok = ok and (bool(name) or same(found, expected))
            except (ValueError, KeyError, TypeError):
                ok = False
            with lock:
                refused += bool(name) and ok
                if not name:
                    times.append(seconds)
                if not ok:
                    wrong.append(f"{name or 'an image'}: {status} {body[:200].decode(errors='replace')}")

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    percentiles = {f"p{p}_ms": round(1e3 * float(np.percentile(times, p)), 1) for p in (50, 90, 99, 100)}
    counts = {
        "requests": requests,
        "clients": clients,
        "right": len(times) - sum(w.startswith("an image") for w in wrong),
    }
    rate = {"seconds": round(seconds, 2), "requests_per_second": round(requests / seconds, 2)}
    return counts | {"refused": refused, "wrong": len(wrong), "first_wrong": wrong[:5]} | rate | percentiles


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--garbage", type=float, default=0.05)
    parser.add_argument("--different", type=int, default=20, help="images (default 20)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from visionkit.image_files import find_images
    from visionkit.open_model import open_predictor
    from visionkit.serve import answer

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
        threading.Thread(target=server.stderr.read, daemon=True).start()  # a full pipe would stop the server
        report = load(port, good, options.requests, options.clients, options.garbage)
        report["alive"] = server.poll() is None
        server.terminate()
        report["log"] = server.stderr.read()[-2000:]
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["alive"] and not report["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())

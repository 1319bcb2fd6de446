"""Measures visionkit on a machine with one GPU in at most 8 minutes; without a GPU it measures the CPU.

    python tools/benchmarks/gpu.py --out gpu.json [--torch-python OTHER/bin/python] [--minutes 8] [--tiny]

For each backend that is installed (JAX, TensorFlow): whether the GPU gives the CPU's outputs and losses; images a
second of inference and training in float32 and in bfloat16, with memory; and the first epochs of a recipe, with the
share of them that waited for data. Beside it torchvision, eager and compiled, if --torch-python names an interpreter
with torch.
Every part is a process of its own with a limit of time. The file is written after each, so what was measured is kept
whatever happens later; a part that failed or was cut short has an `error`.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gpu_cases import CASES, TINY

from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.files import write_json

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
EXACT = {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # or a GPU rounds to 10 bits
BFLOAT16 = "mixed_bfloat16"


class Part(NamedTuple):
    """One process.

    Args:
        name: of the part in the results.
        command: what follows the interpreter.
        job: for its stdin.
        environment: variables to set.
        limit: seconds that it may take.
        python: the interpreter.
    """

    name: str
    command: list[str]
    job: dict[str, Any]
    environment: dict[str, str]
    limit: float
    python: str = sys.executable


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--torch-python", type=Path, help="an interpreter with torch and torchvision")
    parser.add_argument("--minutes", type=float, default=8, help="begin nothing and go on with nothing after so many")
    parser.add_argument("--backend", nargs="*", choices=("jax", "tensorflow"), help="by default those installed")
    parser.add_argument("--only", default="", help="parts with this in their name, such as 'parity' or 'speed, jax'")
    parser.add_argument("--tiny", action="store_true", help="tiny models and images, to try the script on a CPU")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    results: dict[str, Any] = {"tiny": options.tiny, "parts": {}}
    truth: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in parts(options, Path(folder)):
            if options.only not in part.name:
                continue
            left = min(part.limit, end - time.monotonic())
            row = run(part, left) if left > 5 else {"error": "no time was left"}
            if part.name.startswith("parity"):
                truth = truth or row.get("rows", [])
                compare(row.get("rows", []), truth)
            results["parts"][part.name] = row
            write_json(options.out, results)
            print(f"{part.name}: {row.get('error', 'done')}", flush=True)
            for measured in row.get("rows", ()):
                print("   ", json.dumps(measured), flush=True)
    return 1 if any("error" in row for row in results["parts"].values()) else 0


def parts(options: argparse.Namespace, folder: Path) -> Iterator[Part]:
    """The parts, the most telling ones first."""
    backends = options.backend or [name for name in ("jax", "tensorflow") if importlib.util.find_spec(name)]
    common = {"cases": list(TINY if options.tiny else CASES), "tiny": options.tiny}
    ours, theirs = [str(HERE / "gpu_keras.py")], [str(HERE / "gpu_torch.py")]
    measured = common | {"what": "speed", "seconds": 0.2 if options.tiny else 2.0}
    for device, environment in (("cpu", ON_CPU), ("gpu", EXACT)):
        for backend in backends[:1] if device == "cpu" else backends:
            place = folder / f"{device}-{backend}"
            place.mkdir()
            job = common | {"what": "answers", "models": str(folder), "folder": str(place)}
            yield Part(f"parity, {backend} on {device}", ours, job, environment | {"KERAS_BACKEND": backend}, 120)
    for precision in ("float32", BFLOAT16):
        for backend in backends:
            for xla in (False, True) if backend == "tensorflow" and not options.tiny else (False,):
                job = measured | {"precision": precision, "xla": xla}
                name = f"speed, {backend}{' with XLA' if xla else ''}, {precision}"
                yield Part(name, ours, job, {"KERAS_BACKEND": backend}, 90)
        for compiled in (False, True) if options.torch_python else ():
            job = measured | {"precision": precision, "compiled": compiled}
            name = f"speed, torchvision {'compiled' if compiled else 'eager'}, {precision}"
            yield Part(name, theirs, job, {}, 90, str(options.torch_python))
    for backend in backends:
        yield recipe(backend, folder / f"recipe-{backend}", options.tiny)


def recipe(backend: str, folder: Path, tiny: bool) -> Part:
    """Two epochs of `visionkit finetune` on drawn shapes, in the process that reports them."""
    command = [str(Path(__file__)), "--recipe"]
    job = {"folder": str(folder), "images": 24 if tiny else 800, "size": 64 if tiny else 320}
    return Part(f"recipe, {backend}", command, job, {"KERAS_BACKEND": backend, "VISIONKIT_RUNTIME": "keras"}, 120)


def run_recipe() -> int:
    """The process of the part `recipe`: prints seconds an epoch, and the share of the time that waited for data."""
    from visionkit.cli import main as visionkit

    job = json.load(sys.stdin)
    data, out = Path(job["folder"], "data"), Path(job["folder"], "run")
    for split, count in (("train", job["images"]), ("test", 16)):
        write_coco(shapes(count, (240, 320), seed=0, split=split), data, split)
    words = ["finetune", data, "--epochs", 2, "--image-size", job["size"], "--out", out]
    if code := visionkit([str(word) for word in words]):
        return code
    results = json.loads((out / "results.json").read_text())
    row = {"seconds_per_epoch": round(results["seconds"] / 2, 1), "images": job["images"]}
    print("\n" + json.dumps(row | {"waited": round(results["waited"] / results["seconds"], 3)}))
    return 0


def run(part: Part, limit: float) -> dict[str, Any]:
    """Runs a part for at most `limit` seconds.

    Returns:
        `seconds`, the `rows` that it printed, and where it did not end well an `error`.
    """
    path = os.pathsep.join(str(one) for one in (ROOT, os.environ.get("PYTHONPATH")) if one)
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"} | part.environment
    start, error = time.monotonic(), None
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [part.python, *part.command], stdin=subprocess.PIPE, stdout=said, stderr=log, env=environment, text=True
        )
        try:
            process.communicate(json.dumps(part.job), timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            error = f"stopped after {limit:.0f} s"
        log.seek(0)
        if process.returncode and error is None:
            lines = [line.strip() for line in log if line.strip()]
            error = lines[-1][:300] if lines else f"exit code {process.returncode}"
        said.seek(0)
        rows = [json.loads(line) for line in said if line.startswith("{") and line.endswith("}\n")]
    row: dict[str, Any] = {"seconds": round(time.monotonic() - start, 1), "rows": rows}
    return row if error is None else row | {"error": error}


def compare(rows: list[dict[str, Any]], truth: list[dict[str, Any]]) -> None:
    """Adds to each row how far its outputs and losses are from the CPU's, relative to the largest of these."""
    expected = {row["case"]: row for row in truth if "case" in row}
    for row in rows:
        if "outputs" not in row or row["case"] not in expected:
            continue
        there, losses = expected[row["case"]], np.array(expected[row["case"]]["losses"])
        with np.load(there["outputs"]) as wanted, np.load(row["outputs"]) as found:
            shares = [np.abs(found[key] - wanted[key]).max() / np.abs(wanted[key]).max() for key in wanted.files]
        row["outputs_differ"] = float(f"{max(shares):.2g}")
        row["losses_differ"] = float(f"{(np.abs(row['losses'] - losses) / np.abs(losses)).max():.2g}")


if __name__ == "__main__":
    sys.exit(run_recipe() if sys.argv[1:] == ["--recipe"] else main())

"""What Ray costs: detections in one process and by workers of Ray, compared to the byte, with the CPU time of both.

python tools/benchmarks/bench_scale.py MODEL IMAGES OUT [--workers 2] [--copies 1] [--runtime keras]

The CPU time is that of all processes, Ray's own included, as it was when each was last looked at, a quarter of a second
before its end at most. OUT/bench.json holds the result; that of BCCD is filed in docs/results/scale, for docs/scale.md.
Where the model's fast form is not kept yet, the first of the two makes it: run a copy before.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import psutil

from visionkit.environment import environment
from visionkit.files import write_json
from visionkit.image_files import find_images

STEP = 0.25  # seconds


def cpu_seconds(words: list[str]) -> tuple[float, float]:
    """Runs a command to its end; returns its CPU time and the time on the clock."""
    began, seconds = time.monotonic(), {}
    command = psutil.Popen(words)
    while command.poll() is None:
        for process in [command, *command.children(recursive=True)]:
            try:
                times = process.cpu_times()
                seconds[process.pid, process.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                pass
        time.sleep(STEP)
    if command.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {command.returncode}")
    return sum(seconds.values()), time.monotonic() - began


def results(out: Path) -> dict[str, bytes]:
    """The files of results by their names."""
    return {file.name: file.read_bytes() for file in (out / "results").iterdir()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What Ray costs beside one process.")
    parser.add_argument("model")
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--copies", type=int, default=1, help="name every image so many times")
    parser.add_argument("--runtime", default="keras")
    parser.add_argument("--shard", type=int, default=256, help="as detect has it")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    files = [str(file.absolute()) for file in find_images(options.images)] * options.copies
    listed = options.out / "images.txt"
    listed.write_text("\n".join(files))
    rows: dict[str, dict[str, float]] = {}
    for engine, more in (("local", []), ("ray", ["--workers", str(options.workers)])):
        words = [sys.executable, "-m", "visionkit", "detect", options.model, str(listed), "--format", "parquet"]
        words += ["--out", str(options.out / engine), "--engine", engine, *more]
        words += ["--runtime", options.runtime, "--shard", str(options.shard)]
        cpu, clock = cpu_seconds(words)
        rows[engine] = {"cpu_s": cpu, "clock_s": clock, "cpu_s_per_image": cpu / len(files)}
    report = {
        "model": options.model,
        "runtime": options.runtime,
        "workers": options.workers,
        "shard": options.shard,
        "images": len(files),
        "equal": results(options.out / "local") == results(options.out / "ray"),
        **rows,
        "ratio": rows["ray"]["cpu_s"] / rows["local"]["cpu_s"],
        "environment": environment(),
    }
    write_json(options.out / "bench.json", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()

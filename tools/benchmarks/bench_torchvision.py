"""Times visionkit and torchvision, in turn in one run, on the CPU; see `--help`. A maintenance script, not a verb.

    python tools/benchmarks/bench_torchvision.py --torch-python OTHER/bin/python [CASE ...] [--runtime openvino ...]
        [--out FOLDER]

`--torch-python` names the interpreter of an environment with torch and torchvision (visionkit is not needed there).
Each side runs in a separate process with the same random weights and images, so that both suppress the same boxes;
while one works, the other waits. A round is one call of torchvision and one of each of ours, with Keras and with every
runtime, so noise on the machine affects all of them alike: read the ratios.
If the machine has other work, the CPU seconds are more reliable than the clock; in that case set
OMP_WAIT_POLICY=PASSIVE, or torch's waiting threads count as work.

To add a case: its name and size in torchvision_cases.py, its calls in torchvision_ours.py and torchvision_theirs.py.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from ratio_table import draw, geometric_mean, inferences, markdown
from torchvision_cases import CASES

from visionkit.bench.measure import Worker
from visionkit.types import DataError

WARM_UP = 1  # calls that are not counted: TensorFlow traces in the first


def main() -> int:
    parser = argparse.ArgumentParser(description="Times visionkit beside torchvision, in turn, on the CPU.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; by default all")
    parser.add_argument("--torch-python", type=Path, help="the interpreter with torch and torchvision")
    parser.add_argument("--runtime", nargs="*", default=[], help="exports whose inference is measured too: onnx, ...")
    parser.add_argument("--batch", nargs="*", type=int, default=[], help="images of an inference, for all cases")
    parser.add_argument("--only", default="", help="measures with this in their name, such as 'inference, batch 1'")
    parser.add_argument("--exports", type=Path, help="keep the exports in this folder, and use those that are there")
    parser.add_argument("--prepare", action="store_true", help="write the exports into --exports and measure nothing")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, at most (default 5)")
    parser.add_argument("--seconds", type=float, default=30, help="begin no third round later than this (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (default 2)")
    parser.add_argument("--out", type=Path, help="also write rows.json, ratios.json, table.md and ratios.png here")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {sorted(unknown)[0]!r}; there are {', '.join(CASES)}")
    try:
        if options.prepare:
            prepare(options)
            return 0
        if options.torch_python is None or not options.torch_python.is_file():
            parser.error("--torch-python: name the interpreter of an environment with torch and torchvision")
        rows = measure_all(options)
    except DataError as error:
        sys.exit(str(error))
    means = summarise(rows)
    print(means)
    if options.out:
        write(rows, means, options.out)
    return 0


def prepare(options: argparse.Namespace) -> None:
    """Writes the exports of all cases, each in a process of its own, which takes longer than measuring them."""
    for case in options.cases or [case for case in CASES if case != "nms"]:
        worker = start(sys.executable, "ours", case, options)
        worker.call(measure="prepare")
        worker.close()


def start(python: str, side: str, case: str, options: argparse.Namespace) -> Worker:
    """Starts one side of a case in a process of its own."""
    script = Path(__file__).with_name("torchvision_worker.py")
    command = [python, str(script), side, case, "--threads", str(options.threads)]
    command += ["--runtime", *options.runtime, "--batch", *map(str, options.batch)]
    if options.exports:
        command += ["--exports", str(options.exports)]
    return Worker(command, options.threads)


def measure_all(options: argparse.Namespace) -> list[dict]:
    """Measures the cases, and prints a line for each measure as it is done."""
    rows = []
    print(f"{'medians':56}{'visionkit':>11}{'torchvision':>12}{'ratio':>7}{'of CPU time':>13}", flush=True)
    for case in options.cases or CASES:
        ours = start(sys.executable, "ours", case, options)
        theirs = start(str(options.torch_python), "theirs", case, options)
        for what in theirs.about["measures"]:
            if options.only in what:
                same = [m for m in ours.about["measures"] if m == what or m.startswith(f"{what}, ")]
                rows += measure(case, what, same, ours, theirs, options)
        ours.close()
        theirs.close()
    return rows


def measure(
    case: str, what: str, same: list[str], ours: Worker, theirs: Worker, options: argparse.Namespace
) -> list[dict]:
    """Rows for those of our measures that correspond to torchvision's measure `what`."""
    calls, begin = [(theirs, what), *((ours, name) for name in same)], time.perf_counter()
    times: list[list[list[float]]] = [[] for _ in calls]  # of each [[seconds, CPU seconds], ...]
    for turn in range(WARM_UP + options.rounds):
        if turn >= WARM_UP + 2 and time.perf_counter() - begin > options.seconds:
            break
        for (side, name), spent in zip(calls, times, strict=True):
            seconds = side.call(measure=name)["seconds"]
            if turn >= WARM_UP:
                spent.append(seconds)
    rows = []
    (their_time, their_cpu), *medians = (np.median(spent, axis=0).tolist() for spent in times)
    for name, spent, (our_time, our_cpu) in zip(same, times[1:], medians, strict=True):
        ratio, cpu_ratio = our_time / their_time, our_cpu / their_cpu
        row = {"case": case, "measure": name, "ratio": ratio, "cpu_ratio": cpu_ratio}
        rows.append(row | {"visionkit": spent, "torchvision": times[0]})
        milliseconds = f"{our_time * 1e3:>8.1f} ms{their_time * 1e3:>9.1f} ms"
        print(f"{f'{case}, {name}':56}{milliseconds}{ratio:>7.2f}{cpu_ratio:>13.2f}", flush=True)
    return rows


def summarise(rows: list[dict]) -> str:
    """The geometric means of the ratios of inference: with Keras, and with the fastest of the runtimes."""
    lines = []
    for ratio, name in (("ratio", "the clock"), ("cpu_ratio", "CPU time")):
        if table := inferences(by_name(rows, ratio)):
            default = geometric_mean(table, lambda row: row[""])
            best = geometric_mean(table, lambda row: min(row.values()))
            means = f"{default:.2f} by default, {best:.2f} by the best runtime"
            lines.append(f"inference, geometric mean of {len(table)} ratios by {name}: {means}")
    return "\n".join(lines)


def by_name(rows: list[dict], ratio: str) -> dict[str, float]:
    """{"CASE, MEASURE": ratio}, rounded to thousandths."""
    return {f"{row['case']}, {row['measure']}": round(row[ratio], 3) for row in rows}


def write(rows: list[dict], means: str, folder: Path) -> None:
    """Writes rows.json, ratios.json (for slower.py and maintenance/speed.py), table.md and ratios.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    ratios = by_name(rows, "ratio")
    (folder / "ratios.json").write_text(json.dumps(ratios, indent=2) + "\n")
    (folder / "rows.json").write_text(json.dumps(rows, indent=2) + "\n")
    if table := inferences(ratios):
        (folder / "table.md").write_text(f"{markdown(table)}\n\n{means}\n")
        draw(table, folder / "ratios.png")


if __name__ == "__main__":
    sys.exit(main())

"""The memory of visionkit beside torchvision's: python tools/benchmarks/peak_memory.py --torch-python OTHER/bin/python

For each case and measure of bench_torchvision.py, each side makes two calls in a process of its own; what is printed is
the most that the process held, in MiB, and the ratio. Runtimes are measured from exports that
`bench_torchvision.py --exports FOLDER --prepare` has written.
"""

import argparse
import json
import sys
from pathlib import Path

from torchvision_cases import CASES

from visionkit.bench.measure import Worker


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory beside torchvision's, each measure in a new process.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; by default the detectors")
    parser.add_argument("--torch-python", type=Path, required=True, help="the interpreter with torch and torchvision")
    parser.add_argument("--only", default="", help="measures with this in their name, such as 'inference, batch 1'")
    parser.add_argument("--exports", type=Path, help="a folder with the exports CASE-RUNTIME, to be measured too")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = []
    for case in options.cases or ["ssd300_vgg16", "fasterrcnn_resnet50_fpn"]:
        for what in measures(case):
            if options.only not in what:
                continue
            theirs = peak(worker(options.torch_python, "theirs", case), what)
            found = {"keras": peak(worker(Path(sys.executable), "ours", case), what)}
            for folder in sorted(options.exports.glob(f"{case}-*")) if options.exports else []:
                if what.startswith("inference"):
                    found[folder.name.rpartition("-")[2]] = peak_of_export(folder, int(what.rpartition(" ")[2]))
            for runtime, ours in found.items():
                rows.append({"case": case, "measure": what, "runtime": runtime, "mb": ours, "torchvision": theirs})
                print(f"{f'{case}, {what}, {runtime}':60}{ours:>8.0f}{theirs:>8.0f}{ours / theirs:>7.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def measures(case: str) -> list[str]:
    _, batches, train_batch = CASES[case]
    training = [] if train_batch is None else [f"training step, batch {train_batch}"]
    return [*(f"inference, batch {batch}" for batch in batches), *training]


def worker(python: Path, side: str, case: str) -> Worker:
    script = Path(__file__).with_name("torchvision_worker.py")
    return Worker([str(python), str(script), side, case, "--threads", "2"], 2)


def peak(side: Worker, what: str) -> float:
    for _ in range(2):
        answer = side.call(measure=what)
    side.close()
    return answer["peak_mb"]


def peak_of_export(folder: Path, batch: int) -> float:
    side = Worker([sys.executable, "-m", "visionkit.bench.worker", str(folder), str(batch), "2"], 2)
    answer = side.call(calls=2)
    side.close()
    return answer["peak_mb"]


if __name__ == "__main__":
    main()

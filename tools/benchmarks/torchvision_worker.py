"""One side of one case of bench_torchvision.py: python torchvision_worker.py SIDE CASE, SIDE being ours or theirs.

Its first line says which `measures` it knows. Then it answers each line {"measure": NAME}, with one call, by
{"seconds": [by the clock, of CPU time], "peak_mb": the most memory that the process has held}. The side "theirs" runs
in an environment with torch and torchvision.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from torchvision_cases import CASES

PAUSE = 0.1  # seconds between two calls, in which idle threads stop spinning


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is not an answer
    sys.stdout = sys.stderr

    def answer(**content):
        print(json.dumps(content), file=answers, flush=True)

    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "theirs"))
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runtime", nargs="*", default=[])
    parser.add_argument("--batch", nargs="*", type=int, default=[])
    parser.add_argument("--exports", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # not every runtime reads the variables; all count the cores they may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if options.batch:
        size, _, train_batch = CASES[options.case]
        CASES[options.case] = (size, tuple(options.batch), train_batch)
    if options.side == "ours":
        from torchvision_ours import ours

        calls = ours(options.case, options.runtime, options.exports)
    else:
        from torchvision_theirs import theirs

        calls = theirs(options.case, options.threads)
    answer(measures=list(calls))
    for line in sys.stdin:
        time.sleep(PAUSE)
        answer(seconds=calls[json.loads(line)["measure"]](), peak_mb=peak())


def peak():
    """MiB, of Linux; `resource` would include the peak of the process that started this one."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()

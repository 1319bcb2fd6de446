"""Two results of `make bench` are compared: what got slower is named, and what is no longer measured."""

import json
import subprocess
import sys

from support.paths import ROOT

BEFORE = {"a, batch 1": 0.5, "a, batch 8": 0.5, "b, batch 1": 1.0, "c, batch 1": 0.4}


def compared(folder, after, *words):
    for name, ratios in (("before", BEFORE), ("after", after)):
        (folder / f"{name}.json").write_text(json.dumps(ratios))
    command = [sys.executable, ROOT / "tools/benchmarks/slower.py", "before.json", "after.json", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout.splitlines()


def test_what_got_slower_is_named_the_worst_first(tmp_path):
    after = {"a, batch 1": 0.56, "a, batch 8": 0.54, "b, batch 1": 1.5, "new": 2.0}
    assert compared(tmp_path, after) == (
        1,
        [
            "b, batch 1: 50% slower (1.00 -> 1.50)",
            "a, batch 1: 12% slower (0.50 -> 0.56)",
            "c, batch 1: no longer measured",
        ],
    )


def test_a_tenth_is_noise(tmp_path):
    after = BEFORE | {"a, batch 1": 0.54, "b, batch 1": 0.2}
    assert compared(tmp_path, after) == (0, ["none of 4 measures got slower by more than 10%"])
    code, lines = compared(tmp_path, after, "--by", "0.05")
    assert (code, lines) == (1, ["a, batch 1: 8% slower (0.50 -> 0.54)"])

"""Damages annotation files and reads the data sets: python tests/support/fuzz_readers.py --count 10000 --seed 0.

Whatever a file holds, a reader returns samples that keep the conventions, or raises a `DataError` that names a file of
the data set; it does so within seconds and without eating the memory. `test_fuzz.py` runs a few hundred cases.
"""

import argparse
import copy
import json
import logging
import re
import resource
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from support import tiny_data

from visionkit.data.recognise import open_dataset
from visionkit.data.repair import Repairs
from visionkit.types import DataError

SECONDS = 10  # of the processor, for a case; of the clock 300, since the machine may be busy
MEGABYTES = 600  # that the whole run may add; the readers' own limits are far below
NUMBERS = ["-1", "0", "1e999", "nan", "inf", "1e308", "-0.0", "99999999999999999999", "0x10", "1_0", "٣", "", " "]
PATHS = ["../../etc/passwd", "/etc/passwd", "..\\..\\x.png", "a/../../x", ".", "", "\0", "x" * 5000, "C:\\x.png", "con"]
BOMB = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
XML = [
    f'<!DOCTYPE x [<!ENTITY l0 "ha">{BOMB}]><annotation><filename>&l11;</filename></annotation>',
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>',
    '<!DOCTYPE x SYSTEM "file:///dev/zero"><annotation/>',
    '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><annotation/>',
    "<a>" * 100_000,
    "<annotation>" + "<object/>" * 1000 + "</annotation>",
    '<?xml version="1.0" encoding="utf-16"?><annotation/>',
]
YAML = [
    "names: &a [x, *a]",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nnames: [*c,*c,*c]",
    "names: !!python/object/apply:os.system ['exit 1']",
    "names: {0: a, 1: [b]}",
    "names: {1: a}",
    "[" * 20_000,
    "? {[]: 1}",
]
VALUES = [
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    -1e-320,
    "",
    "x",
    "٣",
    [],
    {},
    [[]],
    [[1]],
    {"a": 1},
    [None] * 4,
    [1e30] * 4,
]
VALUES += [
    *PATHS,
    {"size": [30, 40], "counts": [10**9]},
    {"size": [10**9, 10**9], "counts": "PPYo"},
    [[0, 0, 1e30, 1, 5, 5]],
]
VALUES += [{"size": [30, 40], "counts": "\uffff~" * 50}, [[1, 2] * 50_000], "9" * 10_000]


# The formats of `tiny_data.FORMATS` whose sets are damaged as they are there; of the others, `write` makes richer ones.
KINDS = (
    *("voc", "coco", "yolo", "CVAT for images", "Label Studio", "LabelMe", "VIA", "FiftyOne", "FiftyOne classes"),
    *("metadata.jsonl of boxes", "metadata.jsonl of classes", "CSV of boxes", "CSV of classes"),
)


def write(kind: str, root: Path) -> list[Path]:
    """A good data set; the files to damage."""
    if kind == "voc":
        tiny_data.voc(root, {"a": [("cat", 1, 1, 9, 9), ("dog", 5, 5, 20, 20, 1)], "b": []}, {"train": ["a", "b"]})
    elif kind == "yolo":
        tiny_data.yolo(root, {"a": "0 .5 .5 .2 .2\n1 .1 .1 .2 .2 .3 .1", "b": None, "c": ""})
    elif kind != "coco":
        tiny_data.FORMATS[kind](root)
    else:
        segment = {"size": [30, 40], "counts": [100, 5, 25, 5, 1065]}
        annotations = [
            {"bbox": [2, 3, 5, 4], "segmentation": [[2, 3, 7, 3, 7, 7, 2, 7]]},
            {"bbox": [3, 10, 2, 5], "segmentation": segment, "iscrowd": 1, "image_id": 1, "category_id": 7},
        ]
        tiny_data.coco(root, tiny_data.coco_dict(annotations, "ab"))
    return sorted(f for f in root.rglob("*") if f.is_file())


def damage(file: Path, rng: np.random.Generator) -> None:
    """Changes `file` at random: in its structure where it has one, else in its bytes."""
    data, choose = file.read_bytes(), lambda values: values[rng.integers(len(values))]
    how = rng.random()
    if how < 0.3:
        file.write_bytes(_bytes(data, rng))
    elif file.suffix == ".json":
        try:
            file.write_text(json.dumps(_json(json.loads(data), rng, choose)))
        except ValueError:  # it has been damaged before
            file.write_bytes(_bytes(data, rng))
    elif file.suffix == ".xml" and how < 0.5:
        file.write_text(choose(XML))
    elif file.suffix == ".yaml" and how < 0.7:
        file.write_text(choose(YAML))
    elif file.suffix in (".xml", ".txt", ".yaml", ".csv", ".jsonl"):
        file.write_text(_words(data.decode(errors="replace"), rng, choose))
    elif how < 0.6:
        file.unlink()
        file.symlink_to(choose(["/etc/passwd", "/dev/zero", "/nowhere", file.name, "."]))
    else:
        file.write_bytes(_bytes(data, rng))


def _bytes(data, rng):
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(damaged) + 1))
        damaged[at : at + int(rng.integers(8))] = rng.integers(0, 256, int(rng.integers(6))).astype(np.uint8).tobytes()
    return bytes(damaged[: int(rng.integers(len(damaged) + 1))] if rng.random() < 0.2 else damaged)


def _words(text, rng, choose):
    """A number, name or tag of the text exchanged, taken out or doubled."""
    spans = [m.span() for m in re.finditer(r"[\w.]+|<[^<>]*>|\S", text)] or [(0, 0)]
    for start, end in sorted((choose(spans) for _ in range(rng.integers(1, 4))), reverse=True):
        text = text[:start] + choose([*NUMBERS, *PATHS, text[start:end] * 2, "&amp;#0;", "<", "\n"]) + text[end:]
    return text


def _json(content, rng, choose):
    """A value somewhere in it exchanged, taken out or doubled."""
    for _ in range(rng.integers(1, 4)):
        place, key = {"": content}, ""
        while isinstance(place[key], dict | list) and place[key] and (rng.random() < 0.85 or key == ""):
            place = place[key]
            key = choose(list(place)) if isinstance(place, dict) else int(rng.integers(len(place)))
        how = rng.random()
        if how < 0.7 or key == "":
            place[key] = copy.deepcopy(choose(VALUES))
        elif how < 0.85:
            del place[key]
        elif isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
    return content


def too_long(*_):
    raise TimeoutError(f"a reader took more than {SECONDS} s of the processor or 300 of the clock")


def check(root: Path, kind: str) -> str:
    """Reads the set as training does and as the doctor does; says how it went, or raises what is a fault of ours."""
    outcomes = []
    for repairs in (None, Repairs(kind, collect=True)):
        try:
            for sample in open_dataset(root, repairs=repairs):
                assert sample.image is not None
            outcomes.append("read")
        except DataError as error:
            assert str(root) in str(error), f"the message names no file: {error}"
            assert len(str(error)) < 2000, "the message is longer than anybody reads"
            outcomes.append("refused")
    return " and ".join(outcomes)


def run(case: int, seed: int) -> str:
    """One case: writes a set, damages one or two of its files, and checks it."""
    rng, kind = np.random.default_rng([seed, case]), KINDS[case % len(KINDS)]
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        root, damaged = Path(folder) / kind, []
        files = write(kind, root)
        for _ in range(rng.integers(1, 3)):
            file = files[rng.integers(len(files))]
            if file.is_file() and not file.is_symlink():
                damage(file, rng)
                damaged.append(str(file.relative_to(root)))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(300)
        try:
            return f"{kind}: {check(root, kind)}"
        except BaseException as error:
            error.add_note(f"reproduce: run({case}, {seed}), which damages {', '.join(damaged)}")
            raise
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)


def fuzz(count: int, seed: int) -> Counter:
    """Runs `count` cases; returns how often they went how. Raises on the first fault, with what reproduces it."""
    before, outcomes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter()
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGPROF, too_long)
    for case in range(count):
        outcomes[run(case, seed)] += 1
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < MEGABYTES, f"case {case} of seed {seed}: memory grew by {grown:.0f} MB"
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    words, start = parser.parse_args(), time.monotonic()
    logging.getLogger("visionkit").setLevel(logging.ERROR)
    for outcome, times in sorted(fuzz(words.count, words.seed).items()):
        print(f"{times:6} {outcome}")
    print(
        f"{words.count} cases in {time.monotonic() - start:.0f} s, no fault; "
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )

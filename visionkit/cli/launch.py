"""The verb that starts several processes which train together."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import cyclopts

from visionkit.by_name import nearest
from visionkit.cli.runs import AsIs, new_run
from visionkit.train.cluster import check_batch_size
from visionkit.types import DataError

VERBS = ("train", "finetune")


def launch(
    *words: Annotated[str, AsIs],
    processes: Annotated[int | None, cyclopts.Parameter(name=["--processes", "-n"])] = None,
    backend: Literal["jax", "tensorflow"] | None = None,
    hosts: str | None = None,
    port: int = 2222,
) -> int:
    """Train with several processes: visionkit launch -n 2 -- train RECIPE.py [options], or -- finetune DATA [options].

    They run on this machine, each reads its own rows of every batch, and the first one writes the run folder. All of
    its output is shown, and what another says if it fails; if one fails, the others are ended. After Ctrl-C the run
    goes on from its last checkpoint with visionkit launch -n 2 -- train --resume RUN.

    Args:
        words: the command, behind --; --devices auto and an --out are added.
        processes: how many, by default 2; with --hosts one for each of them.
        backend: of Keras; by default what KERAS_BACKEND says.
        hosts: the names or addresses of several machines, as a,b: start nothing, and print what to type on each.
        port: of the machines, for --hosts; the processes speak to each other there.
    """
    from visionkit.train.launch import backend_of, commands
    from visionkit.train.launch import launch as start

    environment = os.environ | ({"KERAS_BACKEND": backend} if backend else {})
    backend_name = backend_of(environment)
    names = [] if hosts is None else _machines(hosts, processes)
    count = len(names) or (2 if processes is None else processes)
    if count < 2:
        raise DataError(f"-n {count}: expected 2 or more processes; one needs no launch")
    command, out = _completed(words, count)
    if names:
        lines = commands(["visionkit", *command], backend_name, [f"{name}:{port}" for name in names])
        for name, line in zip(names, lines, strict=True):
            print(f"on {name}:\n  {line}")
        return 0
    go_on = ["visionkit", "launch", "-n", str(count)]
    if backend:
        go_on += ["--backend", backend]
    go_on += ["--", command[0], "--resume", str(out)]
    try:
        code = start([sys.executable, "-m", "visionkit", *command], count, backend_name)
    except KeyboardInterrupt:
        _say_how_to_go_on(out, go_on)
        raise
    if code:
        _say_how_to_go_on(out, go_on)
    return code


def _machines(hosts: str, processes: int | None) -> list[str]:
    names = [name.strip() for name in hosts.split(",")]
    if len(names) < 2 or not all(names):
        raise DataError(f"--hosts {hosts}: expected two or more names or addresses, such as 10.0.0.1,10.0.0.2")
    if processes not in (None, len(names)):
        raise DataError(f"-n {processes}: --hosts names {len(names)} machines, each with a process; leave -n out")
    return names


def _completed(words: Sequence[str], processes: int) -> tuple[list[str], Path]:
    """The command with the options that several processes need, and its run folder."""
    if not words or words[0] not in VERBS:
        found = f"found {words[0]!r}{nearest(words[0], VERBS)}" if words else "found none"
        raise DataError(f"launch: expected {' or '.join(VERBS)} with its options behind --, {found}")
    given = {name: _value(words, name) for name in ("--resume", "--out", "--devices", "--batch-size")}
    if given["--resume"] is not None:
        return list(words), Path(given["--resume"])
    if given["--devices"] not in (None, "auto"):
        raise DataError(f"--devices {given['--devices']}: several processes use all of their devices; leave it out")
    if given["--batch-size"] == "auto" or "--check" in words:
        raise DataError("--batch-size auto and --check are for one process; run them without visionkit launch first")
    if words[0] == "finetune" and _value(words, "--minutes") is not None:
        raise DataError("--minutes is for one process, and not for visionkit launch: give --epochs in place of it")
    batch_size = given["--batch-size"] or ""
    if batch_size.isdecimal():
        check_batch_size(int(batch_size), processes, "processes")
    added = [] if given["--devices"] else ["--devices", "auto"]
    out = given["--out"]
    if not out:  # the processes could begin in different seconds, by which they would name it
        if len(words) < 2:
            raise DataError(f"launch: {words[0]} needs what it is to learn from, behind it")
        out = str(new_run("finetune" if words[0] == "finetune" else Path(words[1]).stem))
        added += ["--out", out]
    return [*words, *added], Path(out)


def _value(words: Sequence[str], name: str) -> str | None:
    """The value of the option `name` in a command line, or None; "" where it is the last word."""
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option.replace("_", "-") == name:
            return value if equals else "".join(words[i + 1 : i + 2])
    return None


def _say_how_to_go_on(out: Path, command: Sequence[str]) -> None:
    if (out / "resume.json").is_file() and not (out / "results.json").is_file():
        print(f"to go on: {shlex.join(command)}", file=sys.stderr)

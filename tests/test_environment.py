"""What a process does with memory while it trains, seen in a process of its own, and what it shows while it loads."""

import io
import subprocess
import sys

import pytest

from visionkit import environment

PROGRAM = """
import ctypes, resource
from visionkit.environment import keeping_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def faults():  # of ten rounds in which 100 MB are taken, written to and freed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [libc.malloc(4 << 20) for _ in range(25)]
        for block in blocks:
            ctypes.memset(block, 1, 4 << 20)
        for block in blocks:
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

faults()
alone = faults()
with keeping_freed_memory():
    faults()
    kept, held = faults(), resident()
print(alone, kept, held - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_freed_memory_is_kept_and_in_the_end_given_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    alone, kept, given_back = (int(word) for word in done.stdout.split())
    assert alone > 100_000  # pages of 4 KiB: ten times 100 MB
    assert kept < 1000
    assert given_back > 80_000_000


def test_files_that_the_system_keeps_in_memory_count_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CGROUP", tmp_path)
    machine = environment.free_memory()
    gigabyte = 2**30
    for name, text in (
        ("max", "max"),
        ("current", f"{gigabyte}\n"),
        ("stat", f"anon 5\ninactive_file {gigabyte - 2**20}\n"),
    ):
        (tmp_path / f"memory.{name}").write_text(text)
    assert environment.free_memory() == pytest.approx(machine, rel=0.2)
    (tmp_path / "memory.max").write_text(f"{gigabyte + 2**20}\n")
    assert environment.free_memory() == gigabyte


@pytest.mark.parametrize(("terminal", "loaded"), [(True, False), (True, True), (False, False)])
def test_a_terminal_shows_that_keras_is_loading_and_is_clear_afterwards(monkeypatch, terminal, loaded):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "keras", None)
    with environment._shown("loading Keras"):
        during = stderr.getvalue()
    assert during == ("loading Keras\r" if terminal and not loaded else "")
    assert stderr.getvalue() == during + ("\x1b[2K\r" if during else "")

"""Small files that ask for much memory are refused, by limits that one option raises."""

import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.command_line import visionkit
from support.hostile import HOSTILE, png
from support.paths import ROOT

from visionkit import images, limits, resizing
from visionkit.types import DataError

LARGEST_FILE, LARGEST_PEAK = 5e6, 1.2e9  # bytes on the disk and in memory

# Reads each argument, and prints the most memory that it took besides what Python and NumPy take, in MB.
READ = """
import sys
from pathlib import Path
from support.hostile import peak, reset
from visionkit import images, resizing
reset()
before = peak()
for file in sys.argv[1:]:
    resizing.fit(images.read_image(Path(file)), (64, 64), "stretch")
    print((peak() - before) // 2**20)
    reset()
"""


def run(*words):
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process takes")
def test_small_files_ask_for_much_memory_in_vain(tmp_path):
    table = json.loads(run(ROOT / "tests" / "support" / "hostile.py", tmp_path).splitlines()[-1])
    page = (ROOT / "docs" / "security.md").read_text()
    assert len(table) >= 12
    for name, (size, peak, code, said) in table.items():
        assert size <= LARGEST_FILE, name
        assert peak <= LARGEST_PEAK, name
        line = "visionkit: error: [^\n]+(above the limit|nested too deeply)[^\n]*\n"
        assert code == 1 and re.fullmatch(line, said), (name, said)
        assert f"| {name} |" in page, name
    assert list(table) == list(HOSTILE)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process takes")
def test_large_images_are_converted_without_further_copies(tmp_path):
    files = [png(tmp_path / "16.png", 6000, 6000, 16, 0), png(tmp_path / "palette.png", 6000, 6000, 8, 3)]
    sixteen, palette = map(int, run("-c", READ, *files).split())
    # In MiB: 2 or 1 bytes a pixel as they are stored, and 3 as RGB. As float64 they would take 275 more.
    assert sixteen < 5 * 6000**2 / 2**20 + 80
    assert palette < 4 * 6000**2 / 2**20 + 80


def test_strips_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (61, 37, 3), np.uint8)
    whole = resizing.resize(image, (20, 50))
    monkeypatch.setattr(resizing, "_STRIP", 200)
    np.testing.assert_array_equal(resizing.resize(image, (20, 50)), whole)


def test_sides_are_limited_and_one_option_raises_it(tmp_path, monkeypatch):
    file = png(tmp_path / "tall.png", 1, 70_000, 8, 0)
    for read in (images.read_image, images.image_size):
        with pytest.raises(DataError, match=r"1 x 70000 is above the limit of 65535 pixels a side; --limits 2 would"):
            read(file)
    monkeypatch.setenv(limits.VARIABLE, "2")
    assert images.read_image(file).shape == (70_000, 1, 3)
    monkeypatch.setenv(limits.VARIABLE, "none")
    with pytest.raises(DataError, match="expected a number from 1 to 1000, found 'none'"):
        images.read_image(file)


def test_an_image_that_takes_much_memory_to_decode_is_refused(tmp_path, monkeypatch):
    file = png(tmp_path / "a.png", 1000, 1000, 8, 2)
    monkeypatch.setattr(limits, "DECODING", 6_000_000)
    with pytest.raises(DataError, match=r"a\.png: decoding it would take 6 MB, above the limit of 5 MB; --limits 2"):
        images.read_image(file)


def test_threads_share_what_decoding_may_take(monkeypatch):
    monkeypatch.setattr(limits, "DECODING", 100)
    held, most, lock = [0], [0], threading.Lock()

    def work(size):
        with limits.decoding(size, "image"):
            with lock:
                held[0] += size
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.005)
            with lock:
                held[0] -= size

    threads = [threading.Thread(target=work, args=(size,)) for size in (60, 40, 60, 100, 10, 30, 60, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert held == [0] and 60 <= most[0] <= 100


@pytest.mark.parametrize("words", [["--limits", "2"], ["--limits=2"]])
def test_the_option_of_the_command_line(words, tmp_path, monkeypatch):
    monkeypatch.delenv(limits.VARIABLE, raising=False)
    monkeypatch.setattr(limits, "SIDE", 100)
    png(tmp_path / "a.png", 1, 150, 8, 2)
    paint = ["stylize", "a.png", "none.png", "--out", "b.png"]
    assert "a.png: 1 x 150 is above the limit of 100 pixels a side" in visionkit(paint, tmp_path).stderr
    monkeypatch.setenv(limits.VARIABLE, "1")  # so that monkeypatch takes back what the option sets
    assert "none.png" in visionkit([*words, *paint], tmp_path).stderr
    assert "none.png" in visionkit([*paint, *words], tmp_path).stderr


@pytest.mark.parametrize(
    "words, said", [(["--limits"], "expected a number behind it"), (["--limits", "0"], "from 1 to 1000, found '0'")]
)
def test_a_wrong_option_is_refused(words, said, tmp_path, monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, "1")
    done = visionkit(["doctor", ".", *words], tmp_path)
    assert done.returncode == 1 and said in done.stderr


def test_somebody_without_a_command_line_is_told_of_no_option(tmp_path):
    file = png(tmp_path / "tall.png", 1, 70_000, 8, 0)
    with pytest.raises(DataError, match="--limits 2 would allow it") as raised:
        images.read_image(file)
    said = limits.without_option(str(raised.value))
    assert said == f"{file}: 1 x 70000 is above this server's limit of 65535 pixels a side"

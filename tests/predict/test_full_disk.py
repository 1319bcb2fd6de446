"""File systems that are full or read-only for real: an error of one line, what was there stays, and work goes on."""

import errno
import json
import re
import subprocess

import keras
import numpy as np
import pytest
from support.disks import mount

from visionkit.backbones import BACKBONES
from visionkit.cli import main
from visionkit.data.arrays import arrays
from visionkit.files import write_json
from visionkit.images import write_image
from visionkit.models import MODELS
from visionkit.predict.formats import write_classes
from visionkit.predict.journal import Journal, stamp_of
from visionkit.train import checkpoint
from visionkit.train.recipe import Phase, Recipe
from visionkit.train.run import resume, run
from visionkit.train.save import save_model
from visionkit.types import DataError

STEPS, EPOCHS = 4, 3


@pytest.fixture
def read_only(tmp_path):
    """`(folder)`: nothing can be written into it from now on, by root neither."""
    mounted = []

    def make(folder):
        mount("--bind", folder, folder)
        mounted.append(folder)
        mount("-o", "remount,bind,ro", folder)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk):
    """Takes all the room there is, to the last page."""
    with pytest.raises(OSError) as caught, (disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert caught.value.errno == errno.ENOSPC


def recipe() -> Recipe:
    rng, count = np.random.default_rng(0), 2 * STEPS
    train = arrays(rng.integers(0, 256, (count, 8, 8)).astype(np.uint8), rng.integers(0, 3, count), list("abc"))
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True)
    phases = [Phase(EPOCHS, optimizer)]
    return Recipe(model=model(), train=train, phases=phases, batch_size=2)


def model():
    backbone = BACKBONES["mlp"](input_shape=(8, 8, 1), widths=(64,), dropout=0.2)
    return MODELS["classifier"](backbone, 3, class_names=list("abc"), image_size=(8, 8), resize="stretch")


def test_a_run_whose_disk_fills_keeps_its_checkpoints_and_goes_on_when_there_is_room(disk, tmp_path, monkeypatch):
    out, whole, real = disk / "run", tmp_path / "whole", checkpoint.save
    run(recipe, {}, whole)

    def save(folder, step, *rest):
        if step == 2 * STEPS:
            fill(disk)
        return real(folder, step, *rest)

    monkeypatch.setattr(checkpoint, "save", save)
    full = r"disk/run/.*: could not be written \(No space left on device\); what was there before is unchanged"
    with pytest.raises(DataError, match=full) as caught:
        run(recipe, {}, out)
    assert "step-000000008.ckpt" in str(caught.value)
    monkeypatch.undo()
    arrays, state = checkpoint.newest(out / "checkpoints")
    assert state["epoch"] == 1
    assert not (out / "results.json").exists()
    with pytest.raises(DataError, match=full):  # there is no room yet
        resume(out)
    assert checkpoint.newest(out / "checkpoints")[1] == state
    (disk / "filler").unlink()
    assert resume(out)["epoch"] == EPOCHS
    ends = [checkpoint.newest(folder / "checkpoints")[0] for folder in (whole, out)]
    assert arrays.keys() == ends[0].keys() == ends[1].keys()
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array)


def image(folder):
    write_image(folder / "picture.jpg", np.zeros((9, 9, 3), np.uint8))


WRITERS = {
    "checkpoint": lambda folder: checkpoint.save(folder, 2, {"w": np.ones(5000)}, {}),
    "results.json": lambda folder: write_json(folder / "results.json", {"top1": 1.0}),
    "model.keras": lambda folder: save_model(model(), folder / "model.keras"),
    "picture.jpg": image,
    "picture.png": lambda folder: write_image(folder / "picture.png", np.zeros((9, 9), np.uint8)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_finds_no_room_names_itself_and_leaves_what_was_there(disk, name):
    WRITERS[name](disk)
    before = {file.name: file.read_bytes() for file in disk.iterdir()}
    fill(disk)
    with pytest.raises(DataError, match=r"disk/.*: could not be written \(No space left on device\)"):
        WRITERS[name](disk)
    assert {file.name: file.read_bytes() for file in disk.iterdir() if file.name != "filler"} == before
    (disk / "filler").unlink()
    WRITERS[name](disk)


def test_a_journal_whose_disk_fills_goes_on_behind_its_last_whole_line(disk, tmp_path):
    source, file, long = tmp_path / "a.jpg", disk / "results.jsonl", "x" * 5000
    source.write_text("an image")
    stamp = stamp_of(source)
    with Journal(file, {}) as journal:
        journal.add("first", stamp, {"objects": []})
    fill(disk)
    with pytest.raises(OSError, match="No space left on device"), Journal(file, {}) as journal:
        journal.add("second", stamp, {"objects": [long]})
    assert b"x" not in file.read_bytes()  # a part of the line had found room, and was taken back
    (disk / "filler").unlink()
    with Journal(file, {}) as journal:
        assert (journal.done("first", stamp), journal.done("second", stamp)) == (True, False)
        journal.add("second", stamp, {"objects": [long]})
        assert [record["number"] for record in journal.records(["first", "second"])] == [0, 1]
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 3


def test_a_table_of_results_that_finds_no_room_leaves_the_earlier_one(disk):
    def records(count):
        return [{"number": 0, "file": "a", "best": [[0, 1.0]]}] * count

    write_classes(disk, records(1), ["a"])
    before = (disk / "classes.csv").read_text()
    fill(disk)
    with pytest.raises(DataError, match=r"classes.csv: could not be written \(No space left on device\)"):
        write_classes(disk, records(2), ["a"])
    assert sorted(file.name for file in disk.iterdir()) == ["classes.csv", "filler"]
    assert (disk / "classes.csv").read_text() == before


def test_a_read_only_file_system_is_an_error_of_one_line(read_only, tmp_path, capsys):
    folder = tmp_path / "runs"
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint.save(folder / "checkpoints", 1, {"w": np.ones(3)}, {"epoch": 1})
    read_only(folder)
    with pytest.raises(DataError, match=r"runs/x: cannot be written \(Read-only file system\); name another folder"):
        run(recipe, {}, folder / "x")
    for name, write in WRITERS.items():
        with pytest.raises(DataError, match=r"could not be written \(Read-only file system\)"):
            write(folder / "checkpoints" if name == "checkpoint" else folder)
    assert checkpoint.newest(folder / "checkpoints")[1] == {"epoch": 1}
    config = tmp_path / "recipe.py"
    config.write_text("def recipe(seed: int = 0): raise AssertionError('not reached')\n")
    assert main(["train", str(config), "--out", str(folder / "mine")]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"visionkit: error: \S*runs/mine: cannot be written \(Read-only file system\); name .*\n", said)

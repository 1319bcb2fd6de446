"""Checkpoint files: whole or not there, whatever kills the writer; damage is found out; a full disk harms none."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from visionkit.files import write_bytes
from visionkit.train.checkpoint import newest, read, remove_old, save
from visionkit.train.training import BEGINNING, check_state
from visionkit.types import DataError

KILLS = 200


def content(step):
    rng = np.random.default_rng(step)
    return {"w": rng.standard_normal((50, 40)).astype(np.float32), "n": np.int64(step), "none": np.zeros((0, 3))}


def test_what_was_saved_comes_back_to_the_bit(tmp_path):
    arrays = content(7) | {"seed": np.array([3, 2**32 - 1], np.uint32), "flag": np.array(True)}
    arrays["turned"] = np.asfortranarray(arrays["w"])
    state = {"best": {"mAP": 0.1 + 0.2}, "name": "line\nbreak é"}
    found, said = read(save(tmp_path, 7, arrays, state))
    assert said == state
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    found["w"] += 1  # can be written to


def test_the_newest_few_are_kept(tmp_path):
    for step in (1, 5, 20, 300):
        save(tmp_path, step, content(step), {}, keep=2)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["step-000000020.ckpt", "step-000000300.ckpt"]
    assert newest(tmp_path)[0]["n"] == 300


def test_without_any_there_is_none(tmp_path):
    assert newest(tmp_path) is None


@pytest.mark.parametrize("damage", ["a bit", "cut", "empty", "longer"])
def test_a_damaged_one_is_said_and_passed_over(tmp_path, capsys, damage):
    for step in (1, 2):
        save(tmp_path, step, content(step), {"step": step})
    file = tmp_path / "step-000000002.ckpt"
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    whole = file.read_bytes()
    file.write_bytes({"a bit": bytes(data), "cut": whole[:-8], "empty": b"", "longer": whole + b"0"}[damage])
    arrays, state = newest(tmp_path)
    np.testing.assert_array_equal(arrays["w"], content(1)["w"])
    assert state == {"step": 1}
    assert capsys.readouterr().out == f"{file} is damaged; going back to the checkpoint before it\n"
    save(tmp_path, 2, content(2), {}, keep=1)  # a damaged one does not count as one that is kept
    assert newest(tmp_path)[0]["n"] == 2


def test_where_all_are_damaged_there_is_an_error(tmp_path):
    save(tmp_path, 1, content(1), {}).write_bytes(b"x")
    with pytest.raises(DataError, match="all 1 checkpoints are damaged; start a new run"):
        newest(tmp_path)


def forged(file, head, rest=b""):
    """Writes a checkpoint with a digest that fits whatever its JSON, `head`, says."""
    body = head + b"\n" + rest
    file.write_bytes(b"visionkit checkpoint 1\n" + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def of_array(**changes):
    entry = {"name": "a", "dtype": "<i8", "shape": [1]} | changes
    return json.dumps({"state": {}, "arrays": [entry]}).encode()


FORGED = {
    "no JSON": b"{",
    "deep JSON": b"[" * 100_000,
    "endless number": b'{"state": {}, "arrays": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "no arrays": b'{"state": {}}',
    "no state": b'{"state": 3, "arrays": []}',
    "arrays of numbers": b'{"state": {}, "arrays": [3]}',
    "objects": of_array(dtype="|O"),
    "text": of_array(dtype="<U2"),
    "no such type": of_array(dtype="import os"),
    "a negative side": of_array(shape=[-1]),
    "a side of 0.5": of_array(shape=[0.5]),
    "too large": of_array(shape=[2**40]),
    "larger than a number": of_array(shape=[0, 2**70]),
    "too small": of_array(shape=[0]),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_one_is_passed_over_like_a_damaged_one(what, tmp_path, capsys):
    """Nothing in a file is executed, though its checksum be right."""
    save(tmp_path, 1, content(1), {"step": 1})
    file = tmp_path / "step-000000002.ckpt"
    forged(file, FORGED[what], bytes(8))
    assert newest(tmp_path)[1] == {"step": 1}
    assert capsys.readouterr().out == f"{file} is damaged; going back to the checkpoint before it\n"


def test_a_state_that_is_none_is_passed_over_too(tmp_path):
    good = BEGINNING | {"epoch": 1, "seconds": 1.5, "data": ["a"], "rows": [{"epoch": 1}]}
    save(tmp_path, 1, {}, good)
    wrong = [{}, {"epoch": "1"}, {"epoch": True}, {"step": -1}, {"phase": 0.5}, {"stopped": 1}, {"rows": [3]}]
    wrong += [
        {"devices": 0},
        {"processes": "2"},
        {"seconds": float("inf")},
        {"seconds": float("nan")},
        {"data": "a"},
        {"rows": None},
    ]
    for step, change in enumerate(wrong, 2):
        save(tmp_path, step, {}, good | change if change else {}, keep=99)
    assert newest(tmp_path, check_state)[1] == good
    assert len(list(tmp_path.glob("*.damaged"))) == len(wrong)


def test_junk_of_a_higher_number_does_not_cost_the_fresh_one(tmp_path):
    junk = [tmp_path / f"step-{name}.ckpt" for name in ("999999999", "1000000000", "zzz")]
    for file in junk:
        file.write_bytes(b"junk")
    (tmp_path / "step-000000009.ckpt").mkdir()
    for step in (1, 2, 3):
        save(tmp_path, step, content(step), {}, keep=1)
    remove_old(tmp_path, 3, keep=1)
    assert [file.name for file in sorted(tmp_path.glob("step-00*")) if file.is_file()] == ["step-000000003.ckpt"]
    assert newest(tmp_path)[0]["n"] == 3
    assert [file.exists() for file in junk] == [False, False, True]  # set aside as damaged; the last is no checkpoint


# Forks writers and kills them; apart from pytest, in a process without threads, so that a kill costs milliseconds.
KILLER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from visionkit.files import whole_file
from visionkit.train.checkpoint import newest, save

def content(step):
    rng = np.random.default_rng(step)
    return {"w": rng.standard_normal((50, 40)).astype(np.float32), "n": np.int64(step)}

def write(folder, step, said, until=None):
    while step != until:
        step += 1
        best = content(step)
        with whole_file(folder / "best.npz", sync=True) as path:
            np.savez(path, **best)
        save(folder, step, content(step), {"step": step}, keep=3)
        os.write(said, b"%d " % step)  # only now does anybody count on it

def check(found, step):
    return all(np.array_equal(found[name], value) for name, value in content(step).items())

folder, rng, last, unfinished = Path(sys.argv[1]), np.random.default_rng(0), 0, 0
start = time.monotonic()
write(folder, 0, os.open(os.devnull, os.O_WRONLY), until=20)
longest = 3 * (time.monotonic() - start) / 20  # of a writer's life: three writes, as fast as the disk is now
last = 20
for kill in range(int(sys.argv[2])):
    hear, said = os.pipe()
    pid = os.fork()
    if not pid:
        write(folder, last, said)
    os.close(said)
    time.sleep(rng.uniform(0, longest))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(hear) as stream:
        last = max([last, *map(int, stream.read().split())])
    unfinished += any(folder.glob(".*.part.*"))
    arrays, state = newest(folder)
    assert last <= state["step"] <= last + 1 and check(arrays, state["step"]), (kill, last, state)
    with np.load(folder / "best.npz") as best:
        assert last <= best["n"] <= last + 1 and check(best, int(best["n"])), (kill, last)
    assert not list(folder.glob("*.damaged")), kill
print(last, unfinished)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint_and_the_best_model(tmp_path):
    command = [sys.executable, "-c", KILLER, tmp_path, str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written, unfinished = map(int, done.stdout.split())
    assert written > KILLS / 10  # and others lived to write theirs, also where the machine became slower meanwhile
    assert unfinished > KILLS / 40  # kills did hit files that were being written


def test_a_full_disk_is_an_error_and_harms_no_earlier_checkpoint(tmp_path):
    save(tmp_path, 1, content(1), {})
    (tmp_path / "best").write_text("old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(DataError, match=r"ckpt: could not be written \(File too large\); what was there before"):
            save(tmp_path, 2, content(2), {}, keep=1)
        with pytest.raises(DataError, match="could not be written"):
            write_bytes(tmp_path / "best", bytes(5000), sync=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert newest(tmp_path)[0]["n"] == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["best", "step-000000001.ckpt"]
    assert (tmp_path / "best").read_text() == "old"


def test_a_read_only_folder_is_an_error_and_harms_no_earlier_checkpoint():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to the user that root becomes here
        folder, root = Path(name), os.geteuid() == 0
        save(folder, 1, content(1), {})
        folder.chmod(0o555)
        if root:
            os.seteuid(65534)
        try:
            with pytest.raises(DataError, match=r"could not be written \(Permission denied\)"):
                save(folder, 2, content(2), {})
            assert newest(folder)[0]["n"] == 1
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)

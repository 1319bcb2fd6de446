"""The torch reader against files that torch 2.13 wrote (golden/torch_*.pth, by tools/maintenance/make_goldens.py), and
against hostile files."""

import io
import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
from support.paths import GOLDEN

from visionkit import limits
from visionkit.types import DataError
from visionkit.weights import torch_file
from visionkit.weights.torch_file import read_torch_file

KINDS = ("zip", "legacy")
STORAGE = ("storage", ("torch", "FloatStorage"), "0", "cpu", 6)  # an announced storage of 6 floats


def expected():
    """What make_goldens wrote."""
    base = np.arange(24, dtype=np.float32)
    return {
        "a.weight": base.reshape(2, 3, 4),
        "a.transposed": base.reshape(2, 3, 4).transpose(2, 0, 1),
        "a.slice": base[5:9],
        "a.half": np.array([0.5, -2], np.float16),
        "a.parameter": np.array([1, 2], np.float32),
        "a.count": np.array(7, np.int64),
        "a.empty": np.zeros((0, 3), np.float32),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_torch_wrote(kind):
    found = read_torch_file(GOLDEN / f"torch_{kind}.pth")
    assert list(found) == list(expected())
    for name, array in expected().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


class Global:
    """Pickled as a reference to `module.name`, called with `arguments`: what a file may ask for."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


def pickled(thing, protocol=2):
    """The pickle of nested dicts, tuples, numbers and `Global`s, written by hand so that nothing need exist here."""
    if isinstance(thing, Global):
        reference = f"c{thing.module}\n{thing.name}\n".encode()
        if protocol == 4:
            reference = pickled(thing.module) + pickled(thing.name) + b"\x93"
        return reference + pickled(thing.arguments, protocol) + b"R"
    if thing == STORAGE:
        return b"(" + pickled("storage") + b"ctorch\nFloatStorage\n" + b"".join(map(pickled, STORAGE[2:])) + b"tQ"
    if isinstance(thing, dict):
        return b"}(" + b"".join(pickled(k) + pickled(v, protocol) for k, v in thing.items()) + b"u"
    if isinstance(thing, tuple):
        return b"(" + b"".join(pickled(item, protocol) for item in thing) + b"t"
    return pickle.dumps(thing, 2)[2:-1]  # without PROTO and STOP


def write_zip(file, body):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/data/0", np.arange(6, dtype="<f4").tobytes())
    return file


def tensor(offset, size, stride):
    return Global("torch._utils", "_rebuild_tensor_v2", STORAGE, offset, size, stride, False, ())


def test_the_hand_made_file_is_a_good_one(tmp_path):
    file = write_zip(tmp_path / "good.pth", pickled({"state_dict": {"module.w": tensor(0, (2, 3), (3, 1))}}))
    np.testing.assert_array_equal(read_torch_file(file)["w"], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "module, name, arguments",
    [
        ("os", "system", ("touch {mark}",)),
        ("posix", "system", ("touch {mark}",)),
        ("builtins", "eval", ("open('{mark}', 'w')",)),
        ("builtins", "getattr", (1, "x")),
        ("torch._utils", "_rebuild_tensor_v2.__globals__", ()),
        ("torch.jit", "load", ("x",)),
    ],
)
def test_a_global_that_is_no_tensor_is_refused_by_name(tmp_path, module, name, arguments, protocol):
    mark = tmp_path / "executed"
    arguments = tuple(a.format(mark=mark) if isinstance(a, str) else a for a in arguments)
    file = write_zip(tmp_path / "evil.pth", pickled({"w": Global(module, name, *arguments)}, protocol))
    with pytest.raises(DataError, match=rf"evil\.pth: refused global {module}\.{name}"):
        read_torch_file(file)
    assert not mark.exists()


def test_a_legacy_file_runs_nothing_either(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/executed",)

    stream = io.BytesIO()
    for part in (torch_file._LEGACY_MAGIC, 1001, {"little_endian": True}, {"w": Evil()}, []):
        pickle.dump(part, stream, protocol=2)
    (tmp_path / "evil.pth").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"evil\.pth: refused global posix\.system"):
        read_torch_file(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "offset, size, stride",
    [
        (0, (7,), (1,)),  # one element too many
        (1, (2, 3), (3, 1)),  # the last element is number 6
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (1 << 40,), (0,)),  # repeats one element for ever
        (0, (2, 3), (1,)),
        (0, (2.0,), (1,)),
        (1 << 62, (2,), (1 << 62,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, offset, size, stride):
    file = write_zip(tmp_path / "x.pth", pickled({"conv.weight": tensor(offset, size, stride)}))
    with pytest.raises(DataError, match=r"x\.pth: conv\.weight: "):
        read_torch_file(file)


@pytest.mark.parametrize("body", [pickled({}), pickled((1, 2)), pickled({"w": 3}), b"}(tQ", b"R", b"", b"0", b"]\x81"])
def test_a_pickle_without_tensors_is_refused(tmp_path, body):
    with pytest.raises(DataError, match=r"x\.pth"):
        read_torch_file(write_zip(tmp_path / "x.pth", body))


def test_a_file_above_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "TORCH", 100)
    with pytest.raises(DataError, match="100 bytes"):
        read_torch_file(GOLDEN / "torch_zip.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(1 << 20))
    with pytest.raises(DataError, match="without compression"):
        read_torch_file(tmp_path / "bomb.pth")


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_off_file_is_refused_wherever_it_is_cut(tmp_path, kind):
    data = (GOLDEN / f"torch_{kind}.pth").read_bytes()
    for length in range(0, len(data) - 1, 7):
        (tmp_path / "cut.pth").write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.pth"):
            read_torch_file(tmp_path / "cut.pth")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_but_never_worse(tmp_path, kind):
    data, rng = bytearray((GOLDEN / f"torch_{kind}.pth").read_bytes()), np.random.default_rng(0)
    for _ in range(400):
        damaged = data.copy()
        for place in rng.integers(0, len(data), 3):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "damaged.pth").write_bytes(damaged)
        try:
            read_torch_file(tmp_path / "damaged.pth")
        except DataError as error:
            assert "damaged.pth" in str(error)


def test_a_storage_of_two_types_is_refused(tmp_path):
    other = pickled(tensor(0, (3,), (1,))).replace(b"FloatStorage", b"LongStorage")
    body = b"}(" + pickled("a") + pickled(tensor(0, (6,), (1,))) + pickled("b") + other + b"u"
    with pytest.raises(DataError, match=r"x\.pth: storage 0: holds both <f4 and <i8"):
        read_torch_file(write_zip(tmp_path / "x.pth", body))


def test_storages_that_overlap_are_refused(tmp_path):
    file = tmp_path / "x.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled({"w": tensor(0, (6,), (1,))}) + b".")
        archive.writestr("archive/data/0", bytes(10_000))
    data = file.read_bytes()
    first, last = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry, end = data[first:last], bytearray(data[last:])
    copies = b"".join(entry.replace(b"data/0", f"data/{n}".encode()) for n in range(1, 10))
    end[8:12] = struct.pack("<2H", 11, 11)
    end[12:16] = struct.pack("<I", struct.unpack("<I", end[12:16])[0] + len(copies))
    file.write_bytes(data[:last] + copies + end)
    with pytest.raises(DataError, match=r"x\.pth: its storages overlap"):
        read_torch_file(file)


def test_a_pickle_of_too_many_steps_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PICKLE", 1000)
    good = write_zip(tmp_path / "good.pth", pickled({"w": tensor(0, (6,), (1,))}))
    assert list(read_torch_file(good)) == ["w"]
    pairs = b"](" + b"K\x01K\x02\x86" * 10 + b"eq\x00"
    body = b"ccollections\nOrderedDict\nq\x01(" + pairs + b"h\x01h\x00\x85R" * 100 + b"t"
    with pytest.raises(DataError, match=r"x\.pth: its pickle is above the limit of 1000 steps and items; --limits 2"):
        read_torch_file(write_zip(tmp_path / "x.pth", body))
    assert body.count(b"R") == 100 and len(body) < 1000  # the copies are what is too much


def nested(depth):
    """A tuple of a tuple twice, of another twice, and so on: some bytes a level, 2 ** depth places."""
    return b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))


@pytest.mark.parametrize(
    "body",
    [
        b"}" + nested(60) + b"K\x01s",  # as a key
        nested(60) + b")R",  # as a function
        nested(60) + b"X\x01\x00\x00\x00a\x93",  # as a module
        b"(" + b"X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + nested(60) + b"NK\x01tQ",  # as a storage's key
        b"(" + nested(60) + b"ctorch\nFloatStorage\nK\x01NK\x01tQ",  # as its kind
        b"ccollections\nOrderedDict\n]]" + nested(60) + b"aK\x01aa\x85R",  # as a pair's first
        b"N" * 300_000 + b"(t" * 300_000,
    ],
)
def test_small_files_do_not_take_for_ever(tmp_path, body):
    file, start = write_zip(tmp_path / "x.pth", body), time.monotonic()
    with pytest.raises(DataError, match=r"x\.pth: ") as caught:
        read_torch_file(file)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert time.monotonic() - start < 20  # on a busy machine


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_becomes_float32(tmp_path, kind):
    data = np.float32([1, -2.5, 0.15625, 3e38]).view("<u4")
    halves = (data >> 16).astype("<u2").tobytes()
    storage = b"(" + pickled("storage") + b"ctorch\nBFloat16Storage\n" + b"".join(map(pickled, ("0", "cpu", 4)))
    body = b"}" + pickled("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
    body += (b"" if kind == "zip" else b"N") + b"tQ" + b"".join(map(pickled, (0, (4,), (1,)))) + b"\x89}tRs"
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
            archive.writestr("archive/data/0", halves)
    else:
        parts = [pickle.dumps(part, 2) for part in (torch_file._LEGACY_MAGIC, 1001, {"little_endian": True})]
        parts += [b"\x80\x02" + body + b".", pickle.dumps(["0"], 2), (4).to_bytes(8, "little"), halves]
        (tmp_path / "x.pth").write_bytes(b"".join(parts))
    found = read_torch_file(tmp_path / "x.pth")["w"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [1, -2.5, 0.15625, 3e38], rtol=2**-7)

"""Object storage: what is read and written over S3, and that nothing is ever there in half."""

import json
import os
import signal
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.s3 import s3_server, versions
from support.scale import draw_images, here, run_all

from visionkit.scale import store
from visionkit.scale.manifest import items_of
from visionkit.types import DataError


@pytest.fixture(scope="module")
def s3():
    with s3_server("lot") as address:
        yield address


def upload(folder, prefix):
    for file in sorted(folder.rglob("*.png")):
        store.write(store.join(prefix, file.relative_to(folder).as_posix()), file.read_bytes())


@pytest.mark.parametrize("root", ["s3://lot/first", "memory://first", "{tmp}/first"])
def test_every_store_behaves_alike(s3, tmp_path, root):
    root = root.format(tmp=tmp_path)
    large = os.urandom(11_000_000)  # S3 gets it in several parts
    store.write(f"{root}/a/small", b"small")
    store.write(f"{root}/a/large", large)
    store.write(f"{root}/a/small", b"again")
    assert (store.read(f"{root}/a/small"), store.read(f"{root}/a/large") == large) == (b"again", True)
    assert [(e.name, e.folder, e.size) for e in store.listed(f"{root}/a")] == [
        ("large", False, 11_000_000),
        ("small", False, 5),
    ]
    assert [(e.name, e.folder) for e in store.listed(root)] == [("a", True)]
    assert (store.is_folder(root), store.is_folder(f"{root}/a/small"), store.is_folder(f"{root}/b")) == (
        True,
        False,
        False,
    )
    assert (store.exists(f"{root}/a/small"), store.exists(f"{root}/a/none")) == (True, False)
    assert b"".join(store.chunks(f"{root}/a/large", 4_000_000)) == large
    store.delete(f"{root}/a/large")
    with pytest.raises(FileNotFoundError, match="a/large: no such file"):
        store.read(f"{root}/a/large")
    store.put(ROOT / "README.md", f"{root}/b/readme")
    assert store.read(f"{root}/b/readme") == (ROOT / "README.md").read_bytes()
    store.delete_folder(f"{root}/b")
    assert store.listed(f"{root}/b") == store.listed(f"{root}/none") == []


def test_names_of_stores_are_told_from_paths():
    assert [store.is_uri(text) for text in ("s3://a/b", "abfs+x://a", "C:/photos", "/a://b", "photos")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert store.join("s3://lot/a/?scheme=http", "b", "c") == "s3://lot/a/b/c?scheme=http"
    assert store.join("/", "a") == "//a"


def test_a_run_over_s3_gives_the_rows_of_a_run_over_files(s3, tmp_path):
    draw_images(tmp_path / "photos", 10)
    upload(tmp_path / "photos", "s3://lot/photos")
    store.write("s3://lot/photos/b/broken.jpg", b"no image")
    _, summary = run_all("s3://lot/photos", "s3://lot/found")
    assert (summary.done, summary.failed) == (10, 1)
    assert summary.errors == ["s3://lot/photos/b/broken.jpg: is not an image that can be read"]
    run_all(tmp_path / "photos", tmp_path / "found")
    for name in ("detections.json", "detections.csv"):
        assert store.read(f"s3://lot/found/{name}") == (tmp_path / "found" / name).read_bytes()


def test_a_rewritten_source_is_noticed_by_a_new_listing(s3, tmp_path):
    draw_images(tmp_path / "photos", 8)
    upload(tmp_path / "photos", "s3://lot/rewritten")
    first, _ = run_all("s3://lot/rewritten", "s3://lot/rewritten-found")
    before = versions("lot", "rewritten-found/results/0")
    assert len(before) == 2
    store.write("s3://lot/rewritten/b/007.png", (tmp_path / "photos" / "a" / "000.png").read_bytes())
    again, summary = run_all("s3://lot/rewritten", "s3://lot/rewritten-found", relist=True)
    assert (again.pending, summary.done) == ([again.names[1]], 8)
    kept = f"rewritten-found/results/{first.names[0]}.parquet"
    assert versions("lot", kept)[kept] == before[kept]
    assert again.names[0] == first.names[0]


def test_a_store_that_does_not_answer_is_an_error_and_no_row(s3, tmp_path):
    """An image that is not there has a row; one that may be there, but cannot be fetched now, must not get one."""
    file = tmp_path / "list.txt"
    file.write_text("s3://lot/no/such.png\ns3://lot/x.png?endpoint_override=127.0.0.1:9&scheme=http\n")
    assert len(list(items_of([str(file)]))) == 2
    with pytest.raises(store.Unreachable, match=r"s3://lot/x.png.*: the store does not answer, or not as it should"):
        run_all(file, tmp_path / "out")
    assert not (tmp_path / "out" / "results").exists()
    file.write_text("s3://lot/no/such.png\n")
    _, summary = run_all(file, tmp_path / "out2")
    assert summary.errors == ["s3://lot/no/such.png: no such file"]


def test_an_error_in_the_middle_of_a_shard_leaves_no_object(s3, tmp_path, monkeypatch):
    draw_images(tmp_path / "photos", 8)

    def fails(work, names):
        for counts in here(work, names):
            yield counts
            monkeypatch.setattr("visionkit.scale.shard.store.write", lambda uri, content: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run_all(tmp_path / "photos", "s3://lot/torn", fails)
    monkeypatch.undo()
    assert len(store.listed("s3://lot/torn/results")) == 1
    assert run_all(tmp_path / "photos", "s3://lot/torn")[1].done == 8


WRITES = """
import os, signal, sys, threading
from visionkit.scale import store
store.read(sys.argv[1] + "/before")
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
while True:
    store.write(sys.argv[1] + "/object", os.urandom(30_000_000))
"""


def test_a_kill_in_the_middle_of_a_write_leaves_the_object_whole(s3):
    """30 MB in three parts; whenever the process dies, there is nothing or all of it."""
    store.write("s3://lot/killed/before", b"")
    for delay in ("0.05", "0.4", "0.8"):
        words = [sys.executable, "-c", WRITES, "s3://lot/killed", delay]
        done = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        assert done.returncode == -signal.SIGKILL
        sizes = {entry.name: entry.size for entry in store.listed("s3://lot/killed")}
        assert sizes.pop("object", 30_000_000) == 30_000_000
        assert sizes == {"before": 0}


def test_no_permission_is_a_row_of_its_image(s3, tmp_path, monkeypatch):
    from pyarrow import fs

    store.write("s3://lot/private/x.png", b"")
    stranger = fs.S3FileSystem(anonymous=True, endpoint_override=s3, region="us-east-1")
    (tmp_path / "list.txt").write_text("s3://lot/private/x.png\n")
    opened = store._system
    monkeypatch.setattr(store, "_system", lambda scheme, *rest: stranger if scheme == "s3" else opened(scheme, *rest))
    with pytest.raises(PermissionError, match=r"s3://lot/private/x.png: no permission"):
        store.read("s3://lot/private/x.png")
    _, summary = run_all(tmp_path / "list.txt", tmp_path / "out")
    assert len(summary.errors) == 1
    assert summary.errors[0].startswith("s3://lot/private/x.png: no permission")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nowhere://a/b", "nowhere://a: expected a local path, s3://, gs://, az://"),
        ("az://a/b", "az://a: cannot be opened: Install adlfs"),
        ("s3://a/b?endpont_override=x", "s3://a: cannot be opened: .*endpont_override"),
    ],
)
def test_stores_that_cannot_be_opened_are_named(uri, message):
    with pytest.raises(DataError, match=message):
        store.read(uri)


def test_importing_visionkit_loads_neither_ray_nor_pyarrow():
    code = (
        "import json, sys, visionkit, visionkit.cli, visionkit.cli.scale\n"
        "import visionkit.scale.run, visionkit.scale.ray\n"
        "print(json.dumps(sorted({'ray', 'pyarrow', 'fsspec', 'tensorflow', 'keras'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (json.loads(done.stdout), done.stderr) == ([], "")

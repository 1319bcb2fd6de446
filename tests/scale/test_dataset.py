"""Data sets in object storage: copied once, and brought up to date."""

import json

import pytest
from support import tiny_classifier
from support.command_line import visionkit
from support.s3 import s3_server
from support.tiny_data import coco, coco_dict, picture, yolo

from visionkit.data.recognise import open_dataset
from visionkit.scale import dataset, store
from visionkit.scale.dataset import fetch_dataset
from visionkit.types import DataError

BOX = {"bbox": [1, 2, 10, 12]}


@pytest.fixture(scope="module")
def s3():
    with s3_server("lot") as address:
        yield address


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "visionkit" / "data"


def upload(folder, uri):
    for file in sorted(folder.rglob("*.*")):
        store.write(store.join(uri, *file.relative_to(folder).parts), file.read_bytes())


def test_the_copy_is_read_as_the_data_set_is_and_fetched_once(s3, tmp_path, cache):
    local = coco(tmp_path / "local", coco_dict([BOX], names=("a", "b")))
    upload(local, "s3://lot/coco")
    copy, fetched = fetch_dataset("s3://lot/coco/")
    assert copy.parent == cache
    assert fetched == 3
    ours, theirs = open_dataset(copy), open_dataset(local)
    assert ours.class_names == theirs.class_names
    for one, other in zip(ours, theirs, strict=True):
        assert (one.id, one.boxes.tolist()) == (other.id, other.boxes.tolist())
        assert (one.image == other.image).all()
    assert fetch_dataset("s3://lot/coco") == (copy, 0)


def test_what_has_changed_in_the_store_changes_in_the_copy(tmp_path):
    upload(yolo(tmp_path / "local", {"a": "0 .5 .5 .2 .2\n", "b": ""}), "memory://changes/yolo")
    file, fetched = fetch_dataset("memory://changes/yolo/data.yaml")
    assert (file.name, fetched) == ("data.yaml", 5)
    copy = file.parent
    store.delete("memory://changes/yolo/labels/b.txt")
    store.delete("memory://changes/yolo/images/b.png")
    store.write("memory://changes/yolo/labels/a.txt", b"1 .5 .5 .4 .4\n")
    (copy / "images" / ".0123.part.png").write_bytes(b"of a process that was killed")
    assert fetch_dataset("memory://changes/yolo")[1] == 1
    assert (copy / "labels" / "a.txt").read_text() == "1 .5 .5 .4 .4\n"
    assert [file.name for file in (copy / "images").iterdir()] == ["a.png"]


def test_a_copy_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    upload(yolo(tmp_path / "local", {f"{i}": "" for i in range(9)}), "memory://interrupted")
    chunks = store.chunks

    def away(uri, size):
        if uri.endswith("8.txt"):
            raise store.Unreachable(f"{uri}: the store does not answer")
        return chunks(uri, size)

    monkeypatch.setattr(dataset.store, "chunks", away)
    with pytest.raises(store.Unreachable, match=r"8.txt: the store does not answer"):
        fetch_dataset("memory://interrupted")
    monkeypatch.setattr(dataset.store, "chunks", chunks)
    assert 1 <= fetch_dataset("memory://interrupted")[1] < 19


def test_the_copies_are_bounded(tmp_path, cache, monkeypatch):
    upload(yolo(tmp_path / "local", {"a": ""}), "memory://copies/first")
    upload(yolo(tmp_path / "local", {"a": ""}), "memory://copies/second")
    fetch_dataset("memory://copies/first")
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    monkeypatch.setenv("VISIONKIT_DATA_GB", str(1.5 * size / 1e9))
    with pytest.raises(
        DataError, match=r"memory://copies/second: 0.00 GB, beside 0.00 GB of other data sets: the copies in"
    ):
        fetch_dataset("memory://copies/second")
    assert fetch_dataset("memory://copies/first")[1] == 0
    monkeypatch.setenv("VISIONKIT_DATA_GB", "all")
    with pytest.raises(DataError, match="VISIONKIT_DATA_GB: expected a number, found 'all'"):
        fetch_dataset("memory://copies/first")


def test_finetune_says_what_it_fetches_and_what_it_cannot(tmp_path, cache):
    done = visionkit(["finetune", "memory://nowhere/data"], tmp_path)
    assert (done.returncode, done.stderr) == (1, "visionkit: error: memory://nowhere/data: no such folder\n")
    store.write("memory://finetune/data/notes.md", b"no data set")
    done = visionkit(["finetune", "memory://finetune/data"], tmp_path)
    assert done.stdout.startswith(f"memory://finetune/data: 1 files fetched, the others were here: {cache}/data-")
    assert "no data set" in done.stderr


def test_evaluate_scores_on_the_copy(tmp_path, cache):
    for name in ("top/1", "top/2", "middle/1", "bottom/1"):
        picture(tmp_path / "local" / "train" / f"{name}.png")
    upload(tmp_path / "local", "memory://evaluate/data")
    tiny_classifier.of_folder(tmp_path / "local").model.save(tmp_path / "model.keras")
    words = ["evaluate", "model.keras", "memory://evaluate/data", "--runtime", "keras", "--split", "train"]
    done = visionkit([*words, "--json", "scores.json"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"memory://evaluate/data: 4 files fetched, the others were here: {cache}/data-")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == 4
    assert len(list(cache.iterdir())) == 1
    misspelt = visionkit(["evaluate", "modell.keras", "memory://nowhere/data"], tmp_path)
    assert misspelt.stderr.startswith("visionkit: error: modell.keras: expected a run folder")  # nothing is fetched

"""Runs at scale in one process: the same rows as a folder gives, and what happens after kills and changes."""

import csv
import json
import os

import pytest
from pyarrow import parquet
from support.scale import Brightness, draw_images, here, run_all

from visionkit.predict.folders import detect_folder
from visionkit.types import DataError


def files_in(folder):
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in sorted(folder.iterdir())}


@pytest.fixture
def photos(tmp_path):
    draw_images(tmp_path / "photos", 10)
    return tmp_path / "photos"


def test_tables_are_those_that_a_folder_gives(photos, tmp_path):
    (photos / "a" / "broken.jpg").write_bytes(b"no image")
    formats = ("json", "csv", "coco")
    here_summary = detect_folder(
        Brightness(), photos, tmp_path / "here", 0.1, progress=False, pictures=False, formats=formats
    )
    _, summary = run_all(photos, tmp_path / "scale", formats=formats)
    assert (summary.done, summary.rows, summary.failed) == (10, here_summary.rows, 1) == (10, 10, 1)
    for name in ("detections.json", "detections.csv", "coco.json"):
        assert (tmp_path / "scale" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_results_are_a_row_for_each_image_and_one_for_a_broken_one(photos, tmp_path):
    (photos / "b" / "broken.jpg").write_bytes(b"no image")
    (photos / "b" / "text.txt").write_text("no image either, and not listed")
    _, summary = run_all(photos, tmp_path / "out")
    rows = parquet.read_table(tmp_path / "out" / "results").to_pylist()
    assert [row["uri"] for row in rows] == sorted(str(file) for file in photos.rglob("*.*g"))
    broken = rows[-1]
    assert broken["error"] == f"{photos}/b/broken.jpg: is not an image that can be read"
    assert broken["objects"] is None
    assert summary.errors == [broken["error"]]
    status = (photos / "a" / "000.png").stat()
    assert rows[0]["stamp"] == f"{status.st_size} {status.st_mtime_ns}"
    (found,) = rows[0]["objects"]
    assert (found["label"], found["class"], found["mask"]) == (1, "dög", None)
    assert found["box"] == [0, 0, rows[0]["width"] / 2, rows[0]["height"]]


def test_lines_of_json_name_broken_images_too(photos, tmp_path):
    (photos / "broken.jpg").write_bytes(b"")
    run_all(photos, tmp_path / "out", formats=("jsonl",))
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [record["number"] for record in records] == list(range(11))
    assert records[-1] == {"number": 10, "file": "broken.jpg", "error": f"{photos}/broken.jpg: is empty"}
    assert records[0]["file"] == "a/000.png"
    assert not (tmp_path / "out" / "detections.json").exists()


def test_a_run_that_stopped_goes_on_and_leaves_finished_results_alone(photos, tmp_path):
    out = tmp_path / "out"

    def stops(work, names):
        for number, counts in enumerate(here(work, names)):
            yield counts
            if number == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(photos, out, stops)
    before = files_in(out / "results")
    assert len(before) == 2
    _, summary = run_all(photos, out)
    assert (summary.done, summary.earlier) == (10, 8)
    after = files_in(out / "results")
    assert len(after) == 3
    assert before.items() <= after.items()
    plan, summary = run_all(photos, out)
    assert (plan.pending, summary.earlier) == ([], 10)
    assert files_in(out / "results") == after


def test_a_result_that_an_earlier_worker_wrote_meanwhile_is_left_alone(photos, tmp_path):
    """Workers may outlive a command that was killed, and the next one has begun with their shards."""
    out, before = tmp_path / "out", {}

    def overtaken(work, names):
        list(here(work, names[1:]))
        before.update(files_in(out / "results"))
        yield from here(work, names)

    _, summary = run_all(photos, out, overtaken)
    assert summary.done == 10
    after = files_in(out / "results")
    assert (len(before), len(after)) == (2, 3)
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 0.5}, "made with --score 0.1, now 0.5; choose another --out"),
        ({"model": "xyz"}, "results of another model, now xyz; choose another --out"),
        ({"shard": 5}, "made with --shard 4, now 5; choose another --out"),
    ],
)
def test_other_results_are_kept_out(photos, tmp_path, changes, message):
    run_all(photos, tmp_path / "out")
    before = files_in(tmp_path / "out" / "results")
    with pytest.raises(DataError, match=message):
        run_all(photos, tmp_path / "out", **changes)
    assert files_in(tmp_path / "out" / "results") == before


def test_other_sources_are_kept_out(photos, tmp_path):
    run_all(photos, tmp_path / "out")
    with pytest.raises(DataError, match=r"made with IMAGES .*photos, now .*photos/a; choose another --out"):
        run_all(photos / "a", tmp_path / "out")


def test_files_of_others_are_not_overwritten(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "detections.csv").write_text("mine")
    with pytest.raises(DataError, match=r"detections.csv: was not written by an earlier run and would be lost"):
        run_all(photos, out)
    (out / "detections.csv").unlink()
    for text in ("mine", '{"batch_size": 3}', '{"form": "visionkit scale 1"}'):
        (out / "settings.json").write_text(text)
        with pytest.raises(DataError, match=r"settings.json: was not written by an earlier run and would be lost"):
            run_all(photos, out)
        assert (out / "settings.json").read_text() == text


def test_a_new_listing_finds_what_changed_and_keeps_what_did_not(photos, tmp_path):
    out = tmp_path / "out"
    run_all(photos, out)
    before = files_in(out / "results")
    changed = photos / "b" / "009.png"
    changed.write_bytes((photos / "a" / "000.png").read_bytes())
    draw = photos / "b" / "010.png"
    draw.write_bytes(changed.read_bytes())
    assert run_all(photos, out)[0].pending == []  # not without being asked
    plan, summary = run_all(photos, out, relist=True)
    assert (len(plan.pending), summary.done) == (1, 11)
    after = files_in(out / "results")
    assert len(before.items() & after.items()) == 2
    assert len(after) == 3  # the old results of the changed shard are gone
    assert len(list((out / "manifest").iterdir())) == 1
    with (out / "detections.csv").open() as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert rows["b/009.png"]["score"] == rows["a/000.png"]["score"]


def test_errors_are_tried_again_when_asked(photos, tmp_path):
    broken = photos / "a" / "000.png"
    good, status = broken.read_bytes(), broken.stat()
    broken.write_bytes(b"x" * len(good))
    os.utime(broken, ns=(status.st_atime_ns, status.st_mtime_ns))  # a share that was not mounted looks like this
    assert run_all(photos, tmp_path / "out")[1].failed == 1
    broken.write_bytes(good)
    os.utime(broken, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run_all(photos, tmp_path / "out")[1].failed == 1
    plan, summary = run_all(photos, tmp_path / "out", retry_errors=True)
    assert (len(plan.pending), summary.failed, summary.done) == (1, 0, 10)


def test_a_manifest_with_missing_shards_is_not_taken_for_whole(photos, tmp_path):
    out = tmp_path / "out"
    plan, _ = run_all(photos, out)
    (out / "manifest" / plan.settings.listed / f"{plan.names[1]}.parquet").unlink()
    with pytest.raises(DataError, match="holds 2 of 3 shards; --relist writes it anew"):
        run_all(photos, out)
    assert run_all(photos, out, relist=True)[1].done == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo", "--format yolo: one file an image is not written at scale"),
        ("xml", "no format 'xml'; at scale there are json, csv, coco, jsonl, parquet"),
    ],
)
def test_formats_that_are_not_offered_are_named(photos, tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        run_all(photos, tmp_path / "out", formats=(name,))

"""Detections of a folder as files."""

import csv
import json
import os
import shutil
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import defusedxml.ElementTree
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from support.predictors import FakePredictor

from visionkit import images
from visionkit.data.readers.coco import coco
from visionkit.data.readers.voc import voc
from visionkit.data.readers.yolo import yolo
from visionkit.open_model import content_digest
from visionkit.predict import folder_job, folders, journal
from visionkit.predict.folders import detect_folder
from visionkit.predict.formats import (
    FORMATS,
    to_record,
    voc_labels,
    write_areas,
    write_classes,
    write_csv,
    write_json,
)
from visionkit.predict.journal import Journal
from visionkit.predict.summary import PredictionSummary
from visionkit.types import DataError, Detections


@pytest.fixture
def folder(tmp_path):
    """Two images of one name in two folders, one that browsers show but we cannot write, and a broken one."""
    root = tmp_path / "photos"
    for name in ("a/x.jpg", "b/x.jpg", "top.png"):
        images.write_image(root / name, np.full((40, 60, 3), 90, np.uint8))
    (root / "top.png").rename(root / "odd.webp")  # the suffix decides the name, the content the decoder
    (root / "b" / "broken.png").write_bytes(b"nothing")
    return root


def test_everything_is_written(folder, tmp_path, capfd):
    out = tmp_path / "deep" / "out"
    predictor = FakePredictor()
    capfd.readouterr()  # what TensorFlow says when it starts
    report = detect_folder(predictor, folder, out, score=0.5, progress=False)
    assert capfd.readouterr() == ("", "")
    assert (report.done, report.rows) == (3, 3)
    assert [failure.file for failure in report.failed] == [folder / "b" / "broken.png"]
    files = sorted(f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file())
    assert files == ["a/x.jpg", "b/x.jpg", "detections.csv", "detections.json", "odd.webp.jpg", "results.jsonl"]

    results = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    # Sorted: a/x.jpg is image 0, b/broken.png 1 (it keeps its number), b/x.jpg 2, odd.webp 3.
    assert [(r["image_id"], r["file_name"]) for r in results] == [(0, "a/x.jpg"), (2, "b/x.jpg"), (3, "odd.webp")]
    # The left half of the network's 8x8 is the left half of 60x40.
    one = {"image_id": 0, "file_name": "a/x.jpg", "category": "dög", "category_id": 1}
    assert results[0] == one | {"bbox": [0.0, 0.0, 30.0, 40.0], "score": 0.75}
    with (out / "detections.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["file", "class", "score", "x1", "y1", "x2", "y2"]
    assert rows[1] == ["a/x.jpg", "dög", "0.75", "0.0", "0.0", "30.0", "40.0"] and len(rows) == 4
    picture = images.read_image(out / "a" / "x.jpg")
    assert picture.shape == (40, 60, 3) and (np.abs(picture.astype(int) - 90) > 40).any()


def test_one_folder_gives_bare_names(folder, tmp_path):
    report = detect_folder(FakePredictor(), iter([folder / "a" / "x.jpg"]), tmp_path / "out", progress=False)
    assert report == PredictionSummary(done=1, rows=1, failed=[])
    assert (tmp_path / "out" / "x.jpg").is_file()
    (result,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert result["file_name"] == "x.jpg"


def test_score_reaches_files_and_nothing_found_is_an_empty_list(folder, tmp_path):
    report = detect_folder(FakePredictor(), folder / "a", tmp_path / "low", score=0.2, progress=False)
    assert report.rows == 2
    detect_folder(FakePredictor(), folder / "a", tmp_path / "high", score=0.8, progress=False, pictures=False)
    assert json.loads((tmp_path / "high" / "detections.json").read_text()) == []
    assert sorted(f.name for f in (tmp_path / "high").iterdir()) == [
        "detections.csv",
        "detections.json",
        "results.jsonl",
    ]


def test_results_inside_the_folder_are_not_taken_for_images(folder):
    for _ in range(2):
        report = detect_folder(FakePredictor(), folder, folder / "out", progress=False)
        assert report.done == 3


def test_photos_in_the_output_folder_are_left_out_aloud(folder, caplog):
    out = folder / "a"
    (out / "x.jpg").rename(out / "own.jpg")
    assert detect_folder(FakePredictor(), [out, folder / "b"], out, progress=False).done == 1
    assert caplog.messages == [f"{out}: results go there, and 1 image there is left out: own.jpg"]
    caplog.clear()
    (out / "own.jpg").unlink()
    detect_folder(FakePredictor(), folder, out, progress=False)
    assert detect_folder(FakePredictor(), folder, out, progress=False).done == 2 and not caplog.messages  # its pictures


def test_nothing_is_written_outside_the_folder(folder, monkeypatch):
    more = folder / "more"
    more.mkdir()
    (folder / "b" / "x.jpg").rename(more / "x.jpg")
    monkeypatch.chdir(more)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for _ in range(2):
        report = detect_folder(FakePredictor(), ["../a", "."], "out", progress=False, formats=["yolo", "voc"])
        assert report.done == 2
    assert {file: file.read_bytes() for file in before} == before
    found = [file for file in folder.rglob("*") if file.is_file() and file not in before]
    assert all(file.is_relative_to(more / "out") for file in found)
    assert (more / "out" / "a" / "x.jpg").is_file() and (more / "out" / "yolo" / "labels" / "a" / "x.txt").is_file()


def test_odd_names_are_names(tmp_path):
    long = "図" * 83 + ".jpg"  # 253 of 255 bytes
    root = tmp_path / "in"
    for name in (b"caf\xe9.jpg", long.encode(), b"z.jpg"):
        images.write_image(root / "x.jpg", np.zeros((9, 9, 3), np.uint8))
        os.rename(os.fsencode(root / "x.jpg"), os.path.join(os.fsencode(root), name))  # noqa: PTH104, PTH118 (bytes)
    for earlier in (0, 3):
        options = {"progress": False, "made_by": "this", "formats": list(FORMATS)}
        report = detect_folder(FakePredictor(), root, tmp_path / "out", **options)
        assert (report.done, report.earlier, report.failed) == (3, earlier, [])
    assert len(json.loads((tmp_path / "out" / "detections.json").read_bytes())) == 3
    assert len(json.loads((tmp_path / "out" / "coco.json").read_bytes())["images"]) == 3
    xmls = list((tmp_path / "out" / "voc" / "Annotations").iterdir())
    assert len(xmls) == 3 and all(defusedxml.ElementTree.parse(file) for file in xmls)
    table = (tmp_path / "out" / "detections.csv").read_bytes()
    assert all(name in table for name in (b"caf\xe9.jpg", long.encode(), b"z.jpg"))


def test_sources_are_never_overwritten(folder):
    before = (folder / "a" / "x.jpg").read_bytes()
    with pytest.raises(DataError, match="would overwrite its source"):
        detect_folder(FakePredictor(), folder, folder, progress=False)
    assert (folder / "a" / "x.jpg").read_bytes() == before
    assert not (folder / "detections.json").exists()


def test_labels_that_somebody_corrected_stay(folder, tmp_path):
    out = tmp_path / "out"
    options = {"formats": ("voc", "yolo"), "progress": False, "made_by": "m", "replace": True}
    for name in ("y", "z"):
        images.write_image(folder / "a" / f"{name}.jpg", np.full((40, 60, 3), 90, np.uint8))
    assert detect_folder(FakePredictor(), folder / "a", out, **options).corrected == []
    names = ["voc/Annotations/x.xml", "yolo/labels/x.txt"]
    for name in names:
        assert (out / name).read_bytes()
        (out / name).write_text("by hand")
    (out / "voc" / "Annotations" / "new.xml").write_text("by hand")
    images.write_image(folder / "a" / "new.jpg", np.full((40, 60, 3), 90, np.uint8))
    images.write_image(folder / "a" / "z.jpg", np.full((50, 60, 3), 90, np.uint8))  # its label is to change
    for more, earlier in ({}, 2), ({"made_by": "other"}, 0), ({"made_by": None}, 0), ({"score": 0.9}, 0):
        report = detect_folder(FakePredictor(), folder / "a", out, **options | more)
        assert report.earlier == earlier and sorted(report.corrected) == sorted(["voc/Annotations/new.xml", *names])
        assert all((out / name).read_text() == "by hand" for name in report.corrected)
        objects = (out / "voc" / "Annotations" / "z.xml").read_text().count("<object>")
        assert objects == (0 if "score" in more else 1)  # the others are written again
        assert (out / "yolo" / "labels" / "new.txt").is_file()
    (out / names[0]).unlink()
    left = ["voc/Annotations/new.xml", names[1]]
    assert sorted(detect_folder(FakePredictor(), folder / "a", out, **options).corrected) == left
    assert "by hand" not in (out / names[0]).read_text()


def test_a_kill_between_labels_corrects_none(folder, tmp_path):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    out, options = tmp_path / "out", {"formats": ["voc"], "progress": False, "made_by": "m", "replace": True}
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(folder_job, "PredictionSummary", killed)  # all is written, and the process gone
        detect_folder(FakePredictor(), folder / "a", out, **options)
    assert (out / "voc" / "Annotations" / "x.xml").is_file()
    for moment in ("before", "behind"):  # a label that is written anew
        write_bytes = journal.write_bytes

        def die(file, data, moment=moment, write_bytes=write_bytes):
            if file.suffix == ".xml":
                if moment == "behind":
                    write_bytes(file, data)
                raise Killed
            write_bytes(file, data)

        score = {"before": 0.9, "behind": 0.1}[moment]
        with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
            patched.setattr(journal, "write_bytes", die)
            detect_folder(FakePredictor(), folder / "a", out, **options | {"score": score})
        assert detect_folder(FakePredictor(), folder / "a", out, **options).corrected == []


def test_claims_outlast_a_full_disk(folder, tmp_path):
    out, options = tmp_path / "out", {"formats": ["voc"], "progress": False, "replace": True}
    detect_folder(FakePredictor(), folder / "a", out, **options, made_by="m")

    def full(file, data):
        raise DataError(f"{file}: could not be written (No space left on device)")

    with pytest.MonkeyPatch.context() as patched, pytest.raises(DataError, match="No space left"):
        patched.setattr(journal, "write_bytes", full)
        detect_folder(FakePredictor(), folder / "a", out, **options, made_by="other")
    assert detect_folder(FakePredictor(), folder / "a", out, **options, made_by="other").corrected == []


@pytest.mark.parametrize("theirs", ["coco.json", "detections.csv", "results.jsonl"])
def test_tables_of_others_are_not_overwritten(folder, tmp_path, theirs):
    (tmp_path / theirs).write_text('{"images": []}')
    for _ in range(2):
        with pytest.raises(
            DataError, match="was not written by an earlier run and would be lost; choose another output folder"
        ):
            detect_folder(FakePredictor(), folder, tmp_path, progress=False, formats=list(FORMATS))
    assert (tmp_path / theirs).read_text() == '{"images": []}'


def test_a_photo_that_goes_while_others_are_done_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_job, "KEPT", 0)  # so it is read again for its picture

    def draw(image, *_, **__):
        (folder / "odd.webp").unlink(missing_ok=True)  # the last
        return image

    monkeypatch.setattr(folders, "draw_detections", draw)
    monkeypatch.setattr(folder_job, "ahead", lambda items, work, depth: map(work, items))
    report = detect_folder(FakePredictor(), folder, tmp_path / "out", progress=False)
    assert report.done == 2 and [failure.file.name for failure in report.failed] == ["broken.png", "odd.webp"]


def test_names_do_not_change_with_more_photos(folder, tmp_path):
    options = {"progress": False, "formats": ["yolo"], "pictures": False, "made_by": "m"}
    (folder / "odd.webp").rename(tmp_path / "odd.webp")
    (folder / "b").rename(tmp_path / "b")
    detect_folder(FakePredictor(), [folder], tmp_path / "out", **options)
    (tmp_path / "b").rename(folder / "b")
    assert detect_folder(FakePredictor(), [folder], tmp_path / "out", **options).earlier == 1
    labels = tmp_path / "out" / "yolo" / "labels"
    assert sorted(file.relative_to(labels).as_posix() for file in labels.rglob("*.txt")) == ["a/x.txt", "b/x.txt"]


def test_labels_of_other_classes_do_not_mix(folder, tmp_path):
    options, names = {"formats": ["yolo"], "progress": False}, FakePredictor().class_names
    detect_folder(FakePredictor(), folder / "a", tmp_path, **options)
    other = FakePredictor()
    other.class_names = ["dög", "cat"]
    with pytest.raises(
        DataError, match=r"data\.yaml: labels there number other classes than this model; choose another output folder"
    ):
        detect_folder(other, folder / "a", tmp_path, **options)
    detect_folder(other, folder / "a", tmp_path, progress=False, formats=["voc"])  # has names in its files
    for text, fits in (("train: images\nnames: {1: dog, 0: cat}", True), ("names: [", False)):
        (tmp_path / "yolo" / "data.yaml").write_text(text.replace("cat", names[0]).replace("dog", names[1]), "utf-8")
        with nullcontext() if fits else pytest.raises(DataError, match="no class names that can be read; mend it"):
            report = detect_folder(FakePredictor(), folder / "a", tmp_path, **options)
            assert report.corrected == ["yolo/data.yaml"]


def test_photos_in_the_output_folder_are_not_overwritten(folder, tmp_path):
    images.write_image(tmp_path / "album" / "x.jpg", np.zeros((9, 9, 3), np.uint8))
    for _ in range(2):
        with pytest.raises(DataError, match=r"album/x\.jpg: was not written by an earlier run and would be lost"):
            detect_folder(FakePredictor(), folder / "a", tmp_path / "album", progress=False)
    assert [file.name for file in (tmp_path / "album").iterdir()] == ["x.jpg"]


def test_pictures_of_an_earlier_run_are_written_again_also_after_a_kill(folder, tmp_path):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    out = tmp_path / "out"
    detect_folder(FakePredictor(), folder, out, progress=False, made_by="m")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Journal, "add", killed)  # all of its pictures, and none of its lines
        detect_folder(FakePredictor(), folder, out, progress=False, made_by="other", replace=True)
    assert detect_folder(FakePredictor(), folder, out, progress=False, made_by="other").done == 3


def test_a_picture_may_be_taller_than_a_jpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONKIT_LIMITS", "2")  # which would refuse it
    Image.new("RGB", (20, 66_000)).save(tmp_path / "scan.tif")
    assert detect_folder(FakePredictor(), tmp_path / "scan.tif", tmp_path / "out", progress=False).done == 1
    assert images.image_size(tmp_path / "out" / "scan.tif.jpg") == (65_500, 19)


def test_an_image_that_broke_since_has_no_results(folder, tmp_path):
    for _ in range(2):
        report = detect_folder(FakePredictor(), folder, tmp_path / "out", progress=False, made_by="m")
        rows = json.loads((tmp_path / "out" / "detections.json").read_text())
        found = [row["file_name"] for row in rows]
        (folder / "a" / "x.jpg").write_bytes(b"nothing")
    assert "a/x.jpg" in [str(failure.file.relative_to(folder)) for failure in report.failed]
    assert found == ["b/x.jpg", "odd.webp"]


def test_clashing_picture_names(tmp_path):
    for name in ("x.gif", "x.gif.jpg"):
        images.write_image(tmp_path / "in" / "x.png", np.zeros((9, 9, 3), np.uint8))
        (tmp_path / "in" / "x.png").rename(tmp_path / "in" / name)
    detect_folder(FakePredictor(), tmp_path / "in", tmp_path / "out", progress=False)
    pictures = sorted(f.name for f in (tmp_path / "out").glob("*.jpg"))
    assert pictures == ["x.gif-2.jpg", "x.gif.jpg"]


def test_an_error_leaves_the_old_files_alone(tmp_path):
    (tmp_path / "detections.json").write_text("old")
    one = Detections(
        id="a",
        image_size=(4, 4),
        boxes=np.float32([[0, 0, 1.234567, 2]]),
        scores=np.float32([0.123456789]),
        labels=np.int32([0]),
        masks=np.ones((1, 4, 4), np.uint8),
    )
    record = {"file": "a.png", "number": 0, **to_record(one)}

    def cut_short():
        yield record
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_json(tmp_path, cut_short(), ["cat"])
    assert [f.name for f in tmp_path.iterdir()] == ["detections.json"]
    assert (tmp_path / "detections.json").read_text() == "old"
    write_json(tmp_path, [record], ["cat"])
    (written,) = json.loads((tmp_path / "detections.json").read_text())
    assert written["bbox"] == [0, 0, 1.23, 2] and written["score"] == 0.12346
    assert rle.area(written["segmentation"]) == 16


def counted(predictor):
    """The predictor, and a list to which the number of images of each of its batches is added."""
    run, seen = predictor._serving.predict_on_batch, []

    def spy(batch):
        seen.append(int(batch.reshape(len(batch), -1).any(axis=1).sum()))  # padding is black
        return run(batch)

    predictor._serving.predict_on_batch = spy
    return predictor, seen


def test_an_image_is_decoded_once_while_there_is_room(tmp_path, monkeypatch):
    for name, size in (("a", (40, 60)), ("b", (90, 100)), ("c", (40, 60))):  # 7, 27 and 7 KB of pixels
        images.write_image(tmp_path / "in" / f"{name}.png", np.full((*size, 3), 90, np.uint8))
    read, decoded = images.read_image, []
    monkeypatch.setattr(
        images, "read_image", lambda file, *more: (decoded.append(Path(file).stem), read(file, *more))[1]
    )
    for name, room, pictures, expected in (
        ("all", 2**20, True, ["a", "b", "c"]),
        ("small", 20_000, True, ["a", "b", "b", "c"]),
        ("none", 0, True, ["a", "a", "b", "b", "c", "c"]),
        ("bare", 0, False, ["a", "b", "c"]),
    ):
        decoded.clear()
        monkeypatch.setattr(folder_job, "KEPT", room)
        detect_folder(FakePredictor(), tmp_path / "in", tmp_path / name, progress=False, pictures=pictures)
        assert sorted(decoded) == expected, name


def test_what_is_done_is_passed_over(folder, tmp_path):
    predictor, seen = counted(FakePredictor())
    first = detect_folder(predictor, folder, tmp_path / "out", progress=False, made_by="m")
    assert (sum(seen), first.earlier) == (3, 0)
    before = (tmp_path / "out" / "detections.json").read_bytes()
    again = detect_folder(predictor, folder, tmp_path / "out", progress=False, made_by="m")
    assert (sum(seen), again.earlier, again.rows) == (3, 3, 3)
    assert [failure.file.name for failure in again.failed] == ["broken.png"]  # tried again, and named again
    assert (tmp_path / "out" / "detections.json").read_bytes() == before
    images.write_image(folder / "a" / "x.jpg", np.full((40, 62, 3), 90, np.uint8))  # one changed,
    images.write_image(folder / "c.jpg", np.full((40, 60, 3), 90, np.uint8))  # one new,
    (tmp_path / "out" / "odd.webp.jpg").unlink()  # and one whose picture went
    more = detect_folder(predictor, folder, tmp_path / "out", progress=False, made_by="m")
    assert (sum(seen), more.done, more.earlier) == (6, 4, 1)
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["bbox"][2] for row in rows] == [31.0, 30.0, 30.0, 30.0]
    bare = detect_folder(predictor, folder, tmp_path / "out", progress=False, made_by="m", pictures=False)
    assert (sum(seen), bare.earlier) == (6, 4)  # without pictures there is nothing more to do
    for other in ({"made_by": "n"}, {"made_by": "m", "score": 0.1}, {}):
        detect_folder(predictor, folder / "b", tmp_path / "out", progress=False, replace=True, **other)
    assert sum(seen) == 9


def test_results_of_another_model_or_score_are_replaced_only_if_asked(folder, tmp_path):
    out, options = tmp_path / "out", {"progress": False, "made_by": "m guarantee"}
    detect_folder(FakePredictor(), folder, out, 0.5, **options)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    fewer, tiles = FakePredictor(), FakePredictor()
    fewer.class_names, tiles.tile = fewer.class_names[:1], 64
    ask = "choose another --out, or --replace them (what was changed by hand stays)"
    model = "holds results of another model, or of an earlier training of this one"
    for predictor, other, what in (
        (FakePredictor(), {"made_by": "n guarantee"}, model),
        (fewer, {}, model),
        (FakePredictor(), {"made_by": "m"}, "holds results with another guarantee, or with none"),
        (FakePredictor(), {"score": 0.2}, "holds results made with --score 0.5, now 0.2"),
        (tiles, {}, "holds results made with --tile None, now 64"),
    ):
        with pytest.raises(DataError) as caught:
            detect_folder(predictor, folder / "a", out, **{"score": 0.5} | options | other)
        assert str(caught.value) == f"{out}: {what}; {ask}"
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    elsewhere = FakePredictor()
    elsewhere.runtime = "openvino"  # gives the same results
    assert detect_folder(elsewhere, folder, out, 0.5, **options).done == 3
    assert detect_folder(FakePredictor(), folder, out, 0.2, **options, replace=True).done == 3
    assert detect_folder(FakePredictor(), folder, out, 0.2, **options).earlier == 3


def test_a_folder_without_a_result_may_be_begun_anew(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("no image")
    for made_by in ("m", "n"):
        report = detect_folder(FakePredictor(), tmp_path / "photos", tmp_path / "out", made_by=made_by, progress=False)
        assert len(report.failed) == 1


def test_a_kill_loses_at_most_the_image_it_met(folder, tmp_path):
    class Killed(BaseException):
        pass

    predictor, seen = counted(FakePredictor())
    for i in range(9):
        images.write_image(folder / f"{i}.png", np.full((40, 60, 3), 90, np.uint8))
    write, begun = images.write_image, count()

    def die(file, image):
        if next(begun) >= 5:  # counted before it is written: several threads write at a time
            raise Killed
        write(file, image)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(images, "write_image", die)
        detect_folder(predictor, folder, tmp_path / "out", progress=False, made_by="m")
    assert not (tmp_path / "out" / "detections.json").exists()
    table = tmp_path / "out" / "results.jsonl"
    lines = table.read_bytes().splitlines(keepends=True)
    assert 3 <= len(lines) <= 7  # the head, the claims and what was handed out before the kill
    table.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # a torn line
    seen.clear()
    report = detect_folder(predictor, folder, tmp_path / "out", progress=False, made_by="m")
    assert (report.done, report.earlier) == (12, len(lines) - 3)
    assert sum(seen) == 12 - report.earlier
    assert [json.loads(line).get("file") for line in table.read_text().splitlines()].count("0.png") == 1
    detect_folder(FakePredictor(), folder, tmp_path / "fresh", progress=False)
    for name in ("detections.json", "detections.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_formats_are_what_their_readers_read(tmp_path):
    for name in ("x", "y"):
        images.write_image(tmp_path / "in" / f"{name}.png", np.full((40, 60, 3), 90, np.uint8))
    out = tmp_path / "out"
    detect_folder(FakePredictor(), tmp_path / "in", out, progress=False, formats=list(FORMATS))
    shutil.copytree(tmp_path / "in", out / "voc" / "JPEGImages")
    shutil.copytree(tmp_path / "in", out / "yolo" / "images")
    readers = {"coco": (out, coco), "voc": (out / "voc", voc), "yolo": (out / "yolo", yolo)}
    for name, (root, reader) in readers.items():
        dataset = reader(root)
        assert dataset.class_names[-1] == "dög", name
        samples = list(dataset)
        assert [sample.id[-1] for sample in samples] == ["x", "y"], name
        for sample in samples:
            np.testing.assert_allclose(sample.boxes, [[0, 0, 30, 40]], atol=1e-3, err_msg=name)
    with pytest.raises(DataError, match="no format 'xml'; there are json, csv, coco, voc, yolo"):
        detect_folder(FakePredictor(), tmp_path / "in", out, progress=False, formats=["xml"])


def test_names_without_suffix_do_not_meet(tmp_path):
    record = {"size": [4, 6], "objects": [{"label": 0, "score": 0.5, "box": [1.4, 0.0, 1.45, 4.0]}]}

    def labels(*files):
        return dict(voc_labels([{"file": name, "number": 0, **record} for name in files], ["cat"]))

    made = labels("a.png", "a.jpg", "d/b.png")
    assert sorted(made) == [f"voc/Annotations/{name}.xml" for name in ("a.jpg", "a.png", "d_b")]
    assert len(labels("d/b.png", "d_b.png")) == 2
    text = made["voc/Annotations/d_b.xml"]
    assert "<xmin>2</xmin>" in text and "<xmax>2</xmax>" in text  # thinner than a pixel: one pixel, not none


def test_a_model_that_has_changed_is_another(tmp_path):
    run, export = tmp_path / "run", tmp_path / "export"
    for file in (run / "model.keras", run / "history.csv", export / "variables" / "data"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    names = [run, export, run / "model.keras", Path("resnet50_imagenet")]
    before = [content_digest(name) for name in names]
    assert len(set(before)) == 4 and before == [content_digest(name) for name in names]
    (run / "history.csv").write_text("12")  # is not the model
    assert content_digest(run) == before[0]
    (run / "model.keras").write_text("12")
    (export / "variables" / "data").write_text("12")
    assert [content_digest(name) == old for name, old in zip(names, before, strict=True)] == [False, False, False, True]


def test_names_in_tables_are_harmless(tmp_path):
    """They come from strangers' models and folders, and are opened in spreadsheets and printed to terminals."""
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "a\x1b]0;title\x07\r\n=1", "caf\u00e9 a=b", ""]
    box = {"score": 0.5, "box": [0, 0, 1, 1]}
    record = {"file": "=1.jpg", "number": 0, "size": [2, 2], "objects": [{"label": k, **box} for k in range(7)]}
    write_csv(tmp_path, [record], names)
    write_classes(tmp_path, [record | {"best": [[0, 0.9], [4, 0.1]]}], names)
    write_areas(tmp_path, [record | {"areas": [[3, 4]]}], names)
    tables = {}
    for name in ("detections.csv", "classes.csv", "areas.csv"):
        with (tmp_path / name).open(newline="") as stream:
            tables[name] = list(csv.reader(stream))[1:]
    escaped = "a\\x1b]0;title\\x07\\r\\n=1"
    shown = ["'=cmd|' /C calc'!A0", "'+1", "'-1", "'@SUM(A1)", escaped, "caf\u00e9 a=b", ""]
    assert [row[:2] for row in tables["detections.csv"]] == [["'=1.jpg", name] for name in shown]
    assert tables["classes.csv"] == [["'=1.jpg", shown[0], "0.9", escaped, "0.1"]]
    assert tables["areas.csv"] == [["'=1.jpg", shown[3], "4", "1.0"]]

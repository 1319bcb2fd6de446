"""Detections of a folder as files."""

import csv
import json

import numpy as np
import pytest
from pycocotools import mask as rle

from visionkit import images
from visionkit.predict.predictor import Predictor
from visionkit.predict.write import DetectionFiles, Report, detect_folder
from visionkit.types import DataError, Detections


class FakePredictor(Predictor):
    """A predictor without a network: one object in the left half of every image, of class 1, score 0.75."""

    class Model:
        image_size, resize, class_names = (8, 8), "stretch", ("cat", "dög")

        def serving(self):
            return self

        def predict_on_batch(self, batch):
            b = len(batch)
            boxes = np.tile(np.float32([[[0, 0, 4, 8], [0, 0, 8, 8]]]), (b, 1, 1))
            scores, labels = np.tile(np.float32([[0.75, 0.25]]), (b, 1)), np.tile(np.int32([[1, 0]]), (b, 1))
            return {"boxes": boxes, "scores": scores, "labels": labels}

    def __init__(self):
        super().__init__(self.Model(), batch_size=2)


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
    assert (report.done, report.found) == (3, 3)
    assert [failure.file for failure in report.failed] == [folder / "b" / "broken.png"]
    files = sorted(f.relative_to(out).as_posix() for f in out.rglob("*") if f.is_file())
    assert files == ["a/x.jpg", "b/x.jpg", "detections.csv", "detections.json", "odd.webp.jpg"]

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
    report = detect_folder(FakePredictor(), [folder / "a" / "x.jpg"], tmp_path / "out", progress=False)
    assert report == Report(done=1, found=1, failed=[])
    assert (tmp_path / "out" / "x.jpg").is_file()
    (result,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert result["file_name"] == "x.jpg"


def test_score_reaches_files_and_nothing_found_is_an_empty_list(folder, tmp_path):
    report = detect_folder(FakePredictor(), folder / "a", tmp_path / "low", score=0.2, progress=False)
    assert report.found == 2
    detect_folder(FakePredictor(), folder / "a", tmp_path / "high", score=0.8, progress=False, pictures=False)
    assert json.loads((tmp_path / "high" / "detections.json").read_text()) == []
    assert sorted(f.name for f in (tmp_path / "high").iterdir()) == ["detections.csv", "detections.json"]


def test_results_inside_the_folder_are_not_taken_for_images(folder):
    for _ in range(2):
        report = detect_folder(FakePredictor(), folder, folder / "out", progress=False)
        assert report.done == 3


def test_sources_are_never_overwritten(folder):
    before = (folder / "a" / "x.jpg").read_bytes()
    with pytest.raises(DataError, match="would overwrite its source"):
        detect_folder(FakePredictor(), folder, folder, progress=False)
    assert (folder / "a" / "x.jpg").read_bytes() == before
    assert not (folder / "detections.json").exists()


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
    with pytest.raises(RuntimeError, match="power cut"), DetectionFiles(tmp_path, ["cat"]) as files:
        files.add(0, "a.png", one)
        raise RuntimeError("power cut")
    assert [f.name for f in tmp_path.iterdir()] == ["detections.json"]
    assert (tmp_path / "detections.json").read_text() == "old"
    with DetectionFiles(tmp_path, ["cat"]) as files:
        files.add(0, "a.png", one)
    (record,) = json.loads((tmp_path / "detections.json").read_text())
    assert record["bbox"] == [0, 0, 1.23, 2] and record["score"] == 0.12346
    assert rle.area(record["segmentation"]) == 16

"""The bench: what its processes say, its rows, its table and its picture. tests/test_deploy_page.py runs the verb."""

import json
import sys
import time

import numpy as np
import pytest
from support.painter import Painter
from support.predictors import FakePredictor

from visionkit import images
from visionkit.bench import measure, worker
from visionkit.predict.predictor import Predictor
from visionkit.types import DataError

ROW = {"model": "runs/a", "runtime": "saved_model", "threads": None, "batch": 8, "load_s": 1.0, "images_per_s": 20.0}
ALONE = ROW | {"latency_ms": 400.0, "p90_ms": 410.0, "peak_mb": 700.0}
FILES = ROW | {
    "images": 50,
    "seconds": 2.8,
    "alone_images_per_s": 21.0,
    "share": 0.95,
    "model_waits": 0.02,
    "peak_mb": 750,
}


@pytest.fixture
def slow():
    """A predictor whose model takes 30 ms, with two images a step."""
    predictor = FakePredictor()
    run = predictor._serving.predict_on_batch

    def sleepy(batch):
        time.sleep(0.03)
        return run(batch)

    predictor._serving.predict_on_batch = sleepy
    return predictor


def test_calls_of_the_model_alone(slow):
    seconds = worker.alone(slow, calls=3)["seconds"]
    assert len(seconds) == 3 and min(seconds) >= 0.03


def test_files_to_results_and_how_long_the_model_waited(slow, tmp_path, monkeypatch):
    files = []
    for i in range(8):
        files.append(str(tmp_path / "in" / f"{i}.png"))
        images.write_image(files[-1], np.full((40, 60, 3), 90, np.uint8))
    run, read = slow._serving.predict_on_batch, images.read_image
    found = worker.through(slow, files, str(tmp_path / "out"))
    assert found["images"] == 8 and found["seconds"] >= 4 * 0.03
    assert 0 <= found["model_waits"] <= 1 - 0.12 / found["seconds"] + 1e-6
    assert (tmp_path / "out" / "detections.csv").is_file() and (tmp_path / "out" / "7.png").is_file()
    assert slow._serving.predict_on_batch is run

    def late(*args):
        time.sleep(0.2)
        return read(*args)

    monkeypatch.setattr(images, "read_image", late)
    assert worker.through(slow, files, str(tmp_path / "late"))["model_waits"] > 0.5  # decoding is what it waits for


def test_images_a_second_count_the_batch_that_the_model_takes(monkeypatch):
    class Half:
        def __init__(self, *_):
            self.about = {"runtime": "keras", "batch": 4, "load_s": 1.0}

        def call(self, calls):
            return {"seconds": [0.5] * calls, "peak_mb": 1}

        def close(self):
            pass

    monkeypatch.setattr(measure, "Worker", Half)
    (row,) = measure.bench(["m"], batches=[8], rounds=1, say=lambda text: None)
    assert (row["batch"], row["images_per_s"]) == (4, 8.0)


def test_a_segmenter_goes_through_files_too(tmp_path):
    images.write_image(tmp_path / "a.png", np.full((40, 60, 3), 90, np.uint8))
    predictor = Predictor(Painter())
    assert worker.through(predictor, [str(tmp_path / "a.png")], str(tmp_path / "out"))["images"] == 1
    assert (tmp_path / "out" / "areas.csv").is_file()


def test_a_worker_answers_lines_and_says_why_it_cannot():
    program = """if True:
        import json, os, sys
        print(json.dumps({"runtime": os.environ["TF_NUM_INTRAOP_THREADS"]}))
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps({"error": "no such model"} if request["calls"] > 2 else {"seconds": [0.5]}))
    """
    process = measure.Worker([sys.executable, "-c", program], threads=3)
    assert process.about == {"runtime": "3"}
    assert process.call(calls=1) == {"seconds": [0.5]}
    with pytest.raises(DataError, match="no such model"):
        process.call(calls=3)
    with pytest.raises(DataError, match="ended; see above"):
        measure.Worker([sys.executable, "-c", "pass"])


def test_images_are_repeated_under_names_of_their_own(tmp_path):
    for name in ("a.png", "b.jpg"):
        images.write_image(tmp_path / "in" / name, np.zeros((4, 4, 3), np.uint8))
    files = measure._repeated(tmp_path / "in", 5, tmp_path / "out")
    assert [file.name for file in files] == ["000000.png", "000001.jpg", "000002.png", "000003.jpg", "000004.png"]
    assert all(images.read_image(file).shape == (4, 4, 3) for file in files)
    assert len(measure._repeated(tmp_path / "in", None, tmp_path / "none")) == 2


def test_rows_for_people_and_for_programs(tmp_path):
    assert len(measure.HEADER) == measure.line(ALONE).index("   400.0 ms a call")
    assert "50 files     20.00      750   0.95 of the model alone, which waits 2% of the time" in measure.line(FILES)
    measure.write([ALONE, FILES], tmp_path / "deep" / "rows.json", tmp_path / "rows.png")
    content = json.loads((tmp_path / "deep" / "rows.json").read_text())
    assert content["rows"] == [ALONE, FILES] and {"machine", "versions", "commit"} <= set(content)
    drawn = images.read_image(tmp_path / "rows.png")
    blue = (np.abs(drawn.astype(int) - (31, 119, 180)).max(axis=2) < 30).any(axis=1)  # of the opaque bar
    assert 10 < blue.sum() < drawn.shape[0] / 2

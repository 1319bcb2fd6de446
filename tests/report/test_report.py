"""`visionkit report`: its words by rule, its charts by number, and the page as a browser shows it."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from support.browser import check_page, needs_browser, open_page
from support.predictors import Says
from support.recipes import recipe

from visionkit.calibrate.record import in_one_line as calibrated
from visionkit.cli import main
from visionkit.data.arrays import arrays
from visionkit.data.files import load_image
from visionkit.data.shapes import SEGMENTATION_NAMES, shape_maps, shapes
from visionkit.data.writers import write_coco
from visionkit.doctor import examine
from visionkit.evaluate.mistakes import BACKGROUND, CloseLook, of_detector, write_mistakes
from visionkit.evaluate.scores import evaluate
from visionkit.fast.kept import Fast, source_of
from visionkit.files import write_json
from visionkit.guarantee.promise import PixelPromise
from visionkit.guarantee.stored import fingerprint_of
from visionkit.html.charts import Line, _log_ticks, _ticks, line_chart, matrix_table
from visionkit.html.document import document
from visionkit.images import read_image
from visionkit.metrics.pictures import compact
from visionkit.report.facts import Assessment, read_run
from visionkit.report.forms import forms
from visionkit.report.model_sections import precision
from visionkit.report.page import page as report_page
from visionkit.report.page import write_report
from visionkit.report.run_sections import promises
from visionkit.report.words import mix_ups, remarks
from visionkit.train.run import run
from visionkit.types import Classification, DataError, Detections, SegmentationMap


def classifier():
    """Eight images, of which it is sure but for number 5, a dog, and half sure that 6, a dog, is a cat."""
    shares = {5: (0.9, 0.1), 6: (0.6, 0.4)}

    def say(sample):
        i = int(sample.id)
        scores = np.float32(shares.get(i, (1.0, 0.0) if i < 4 else (0.0, 1.0)))
        return Classification(id=sample.id, image_size=sample.image_size, scores=scores)

    images = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, 40 * 60 * 3).reshape(8, 40, 60, 3)
    return Says("classify", ["cat", "dog"], say), arrays(images, np.arange(8) // 4, ["cat", "dog"])


def segmenter():
    """All right, but that the left quarter of the second image is said to be the last class."""

    def say(sample):
        found = sample.segmentation.copy()
        if sample.id.endswith("1"):
            found[:, : found.shape[1] // 4] = len(SEGMENTATION_NAMES) - 1
        return SegmentationMap(id=sample.id, image_size=sample.image_size, segmentation=found)

    return Says("segment", list(SEGMENTATION_NAMES), say), shape_maps(3, (48, 64))


def run_folder(folder, columns=("loss",), results=None):
    """A run of six epochs that nobody trained."""
    folder.mkdir()
    (folder / "knobs.json").write_text('{"lr": 0.1, "name": "<b>"}')
    (folder / "recipe.py").write_text('"""Cats & dogs.\n\nMore."""\nraise SystemExit("is not executed")\n')
    with (folder / "history.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", "time", *columns])
        rows.writerows([i, 100.0 + 10 * i, *(1 / i for _ in columns)] for i in range(1, 7))
    if results is not None:
        (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_a_classifier_is_looked_at_closely(tmp_path):
    scores = evaluate(*classifier(), closely=True)
    look = scores["closely"]
    assert look.confusion.tolist() == [[4, 0], [2, 2]]
    assert [(m.id, m.text) for m in look.worst] == [
        ("00005", "dog predicted as cat (90%; dog 10%)"),
        ("00006", "dog predicted as cat (60%; dog 40%)"),
    ]
    assert look.worst[0].draw().mean() == 150
    assert mix_ups(look) == [("dog", "cat", 2, 0.5)]
    write_mistakes(look, tmp_path)
    names = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*"))
    assert names == ["confusion.png", "worst/00-mixed-up-00005.jpg", "worst/01-mixed-up-00006.jpg"]


def test_a_segmenter_is_looked_at_closely():
    predictor, data = segmenter()
    look = evaluate(predictor, data, closely=True)["closely"]
    (mistake,) = look.worst  # the others are right
    wrong = (data[1].segmentation[:, :16] != len(SEGMENTATION_NAMES) - 1).sum() / (48 * 64)
    assert (mistake.id, mistake.text) == (data[1].id, f"{wrong:.1%} of its pixels are wrong")
    picture = mistake.draw().astype(int)
    assert picture.shape[1] == 3 * 64
    assert (picture[:48, :16, 0] - picture[:48, :16, 1]).mean() > 50  # wrong pixels are red
    np.testing.assert_array_equal(picture[:48, 16:64], data[1].image[:, 16:])  # and right ones as they were


def test_the_words_name_what_is_weak_and_mixed_up_and_in_what_order():
    matrix = np.array([[90, 5, 5], [30, 60, 10], [8, 2, 0]])
    look = CloseLook(confusion=matrix, names=["cat", "dog", BACKGROUND], title="objects, at a threshold")
    scores = {
        "mAP50": 0.6,
        "images": 50,
        "mAP_small": 0.1,
        "mAP_large": 0.7,
        "per_class": {"cat": {"mAP50": 0.8}, "dog": {"mAP50": 0.3}},
    }
    said = remarks("detect", scores, look, waited=0.4, data_grades={"error": 2, "warning": 0, "note": 1})
    assert [(r.grade, r.text) for r in said] == [
        (
            "note",
            "At each class's best threshold it finds 150 of 200 objects (75%), and 45 of its 195 detections are wrong.",
        ),
        ("error", "The dataset doctor found 2 errors, 1 note in the data."),
        (
            "warning",
            "Weakest class: dog (mAP50 0.30, the mean is 0.55): 40 of 100 are missed or mistaken for something else.",
        ),
        ("warning", "30% of dog are predicted as cat (30 objects)."),
        (
            "warning",
            "Small objects (below 32 x 32 pixels) have an mAP of 0.10, larger ones 0.70: train at a larger "
            "image_size, or cut images into tiles.",
        ),
        ("warning", "Training waited for data up to 40% of its time: use more --workers, or smaller files."),
        ("note", "All this was measured on 50 images: differences of a few points may be chance."),
    ]


def test_where_all_is_well_nothing_is_warned_of():
    table = {"cat": {"recall": 0.99}, "dog": {"recall": 0.98}}
    look = CloseLook(confusion=np.array([[99, 1], [2, 98]]), names=["cat", "dog"], title="images")
    scores = {"top1": 0.985, "images": 200, "per_class": table}
    history = [{"epoch": i, "loss": 1 / i, "val_top1": 0.98} for i in range(1, 9)]
    said = remarks("classify", scores, look, history, 0.01, {"error": 0, "warning": 0, "note": 0})
    assert [r.grade for r in said] == ["note", "note", "good", "good"]
    assert said[0].text == "197 of 200 images are classified correctly."
    assert remarks(None, {}) == []


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (1, 33, [0, 10, 20, 30, 40]), (-0.3, 0.2, [-0.3, -0.2, -0.1, 0, 0.1, 0.2])],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert _ticks(low, high) == pytest.approx(ticks)


def test_ticks_of_factors():
    assert _log_ticks(0.5, 12) == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert _log_ticks(0.0003, 700) == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000])


def test_a_chart_puts_its_points_where_they_belong():
    drawn = line_chart("y", [Line("a", [0, 5, 10], [0, float("nan"), 1], mark=1)], "x", (0, 10), (0, 1))
    assert 'd="M52.0 230.0L468.0 12.0"' in drawn  # from corner to corner of 52..468 x 230..12; no NaN
    assert 'class="mark" cx="468.0"' in drawn  # the second point that is known
    assert "<path" not in line_chart("y", [Line("a", [], [])], "x")
    stairs = line_chart("y", [Line("a", [0, 0.5, 1], [1, 0.5, 0.75], step=True)], "x", (0, 1), (0, 1))
    path = re.search(r'd="M([0-9.]+) ([0-9.]+)V([0-9.]+)H([0-9.]+)V([0-9.]+)H([0-9.]+)"', stairs)
    x0, y0, y1, x1, y2, x2 = map(float, path.groups())
    assert x0 < x1 < x2 and y0 < y2 < y1  # first to the precision that a recall has, then across to it
    assert line_chart("y", [Line("a", [1], [3])], "x").count("<circle") == 1  # one epoch: no range to divide by
    assert "&lt;b&gt;" in line_chart("<b>", [Line("<b>", [1], [1])], "x") and "<b>" not in drawn


def test_a_matrix_says_shares_of_the_row():
    drawn = matrix_table(np.array([[3, 1], [0, 0]]), ["cat", "<dog>"], compact)
    assert "rgba(var(--blue),0.75)" in drawn and "rgba(var(--red),0.25)" in drawn
    assert 'title="cat predicted as &lt;dog&gt;: 1 (25.0%)"' in drawn


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (9999, "9999"),
        (10_000, "10k"),
        (99_999, "100k"),
        (999_600, "1.0M"),
        (4_531_180, "4.5M"),
        (5e10, "50G"),
    ],
)
def test_counts_are_short(count, text):
    assert compact(int(count)) == text


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "expected the folder of a run, found no knobs.json" in capsys.readouterr().err
    folder = run_folder(tmp_path / "run")
    assert main(["report", str(folder), "--split", "test"]) == 1
    assert "--split is a part of --data" in capsys.readouterr().err
    (folder / "results.json").write_text("{")
    with pytest.raises(DataError, match=r"results\.json: broken JSON"):
        read_run(folder)
    (folder / "history.csv").unlink()
    with pytest.raises(DataError, match=r"no history\.csv yet"):
        read_run(folder)


def test_a_run_that_goes_on_still_has_a_page_that_says_what_is_missing(tmp_path, capsys):
    folder = run_folder(tmp_path / "run", ("loss", "val_top1"))
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert "NOT FINISHED" in page
    assert page.count("a run has one once its training has ended") == 4  # in the place of the scores and three parts
    assert "No knob of the recipe names the folder of its data" in page
    assert "Cats &amp; dogs." in page and "More." not in page
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert re.search(r"an epoch.*?10 s", page)


def test_the_page_says_whether_a_run_is_calibrated_and_what_it_promises(tmp_path):
    folder = run_folder(tmp_path / "run", results={"top1": 0.5})
    lines = promises(read_run(folder))
    assert "<li>Its scores are not calibrated.</li><li>It comes with no guarantee.</li>" in lines
    assert lines in report_page(read_run(folder), Assessment())
    (folder / "model.keras").write_bytes(b"weights")
    error = {"before": [0.1, 0, 0.2], "after": [0.02, 0, 0.03], "less": [0.08, 0, 0.2]}
    record = {"method": "platt", "images": 1087, "sure": None, "error": error}
    (folder / "calibration.json").write_text(json.dumps(record))
    pixels = {"images": 30, "source": "", "looks": {}, "missed": 0.08, "marked": 0.2, "right": 0.7}
    promise = PixelPromise(
        class_names=["a", "<b>"], miss=0.1, of="<b>", threshold=0.25, model=fingerprint_of(folder), **pixels
    )
    promise.save(folder)
    lines = promises(read_run(folder))
    assert "calibrated (platt, with 1,087 images): their calibration error was 0.100 and is 0.020.</li>" in lines
    assert "Promised: on average at most 10% of an image&#x27;s pixels of &lt;b&gt; are missed." in lines
    assert "Threshold: a pixel with a probability of 0.25 of &lt;b&gt;" in lines
    (folder / "calibration.json").write_text(json.dumps(record | {"sure": error | {"after": [0.03, 0, 1]}}))
    assert "calibration error of detections with a score of at least 0.3 was 0.100 and is 0.030." in calibrated(folder)
    (folder / "calibration.json").write_text(json.dumps(record | {"method": "none"}))
    assert calibrated(folder) == "Its scores are not calibrated: no curve made them better on 1,087 images."
    (folder / "calibration.json").write_text("{")
    assert calibrated(folder) == "calibration.json is not what visionkit calibrate writes."
    (folder / "model.keras").write_bytes(b"other weights")
    assert "guarantee.json does not belong to this model" in promises(read_run(folder))


def test_the_page_says_how_far_exports_agree_with_the_model(tmp_path):
    folder = run_folder(tmp_path / "run", results={"top1": 0.5})
    assert "Exports" not in report_page(read_run(folder), Assessment())
    (folder / "model.keras").write_bytes(b"weights")
    scores = {"metric": "top1", "images": 60, "float32": 0.9, "bfloat16": 0.899}
    key = source_of(folder).key("openvino")
    (folder / "fast" / "openvino").mkdir(parents=True)
    write_json(folder / "fast" / "openvino.json", Fast(key=key, precision="bfloat16", images=20, scores=scores))
    report = {"exporter": "onnx", "verdict": "passed", "images": 3, "check": "<photos>", "compared": 3, "agreeing": 1.0}
    report["measures"] = {"probability_difference": {"worst": 1e-5, "mean": 1e-6}}
    for name, content in (("a", report), ("b", report | {"verdict": "failed"}), ("c", [])):
        (folder / name).mkdir()
        write_json(folder / name / "export_report.json", content)
    lines = forms(read_run(folder))
    assert lines in report_page(read_run(folder), Assessment())
    assert re.findall("<li>(.*?)</li>", lines) == [
        "run by default on this kind of machine: openvino in bfloat16, equal to the model on 20 images (top1 0.9000 in "
        "float32, 0.8990 in bfloat16): fast/openvino",
        "onnx in a: 3 images (&lt;photos&gt;) agree: probabilities within 0.00001, the same best class",
        "onnx in b: DIFFERS from the model, see b/export_report.json",
        "c/export_report.json: damaged, or written by another version of visionkit",
    ]
    (folder / "model.keras").write_bytes(b"other weights")
    assert "openvino" not in forms(read_run(folder))
    write_json(folder / "fast" / "openvino.json", Fast(key=source_of(folder).key("openvino"), refused="why", scores={}))
    assert "<li>no form for openvino, so Keras runs the model: why</li>" in forms(read_run(folder))


def test_what_was_asked_for_and_cannot_be_is_an_error(tmp_path, capsys):
    folder = run_folder(tmp_path / "run")
    assert main(["report", str(folder), "--data", str(tmp_path)]) == 1
    assert "a run has one once its training has ended" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "shapes"
    run(recipe, {"epochs": 2, "seed": 1}, folder)
    return folder


def test_a_run_is_scored_again_on_what_it_was_validated_with(trained, capsys):
    assert main(["report", str(trained)]) == 0
    assert capsys.readouterr().out == f"report: {trained / 'report.html'}\n"
    page, results = (trained / "report.html").read_text(), json.loads((trained / "results.json").read_text())
    assert f"<b>{results['mAP50']:.3f}</b>" in page
    assert "6 images: its validation images" in page
    assert all(
        f"<h2>{part}</h2>" in page for part in ("Learning", "Precision and recall", "The worst mistakes", "Speed")
    )
    assert "share of it that training waited for data" in page
    assert "://" not in page and "<script" not in page
    assert page.count("data:image/jpeg;base64,") > 3


def test_a_run_is_scored_on_other_data_which_the_doctor_looks_at(trained, tmp_path, monkeypatch):
    write_coco(shapes(4, (64, 96), seed=9), tmp_path / "data", "test")
    write_coco(shapes(2, (64, 96), seed=8), tmp_path / "data", "train")
    decoded = []
    monkeypatch.setattr(
        examine, "load_image", lambda record: decoded.append(record.file.parent.name) or load_image(record)
    )
    assert main(["report", str(trained), "--data", str(tmp_path / "data"), "--split", "test"]) == 0
    assert decoded == ["train", "train"]  # those of the split test were just read
    page = (trained / "report.html").read_text()
    assert f"4 images: {tmp_path / 'data'}, split test" in page
    assert "COCO JSON in" in page


@needs_browser
def test_a_browser_shows_a_detectors_page(trained, tmp_path):
    assert main(["report", str(trained)]) == 0
    check_page(trained / "report.html", tmp_path)


@needs_browser
@pytest.mark.parametrize("make", [classifier, segmenter])
def test_a_browser_shows_the_other_tasks(make, tmp_path):
    predictor, data = make()
    facts = read_run(run_folder(tmp_path / "run", ("loss", "val_score"), {"train_images": 8, "seconds": 60.0}))
    scores = evaluate(predictor, data, closely=True)
    file = write_report(facts, Assessment(task=predictor.task, scores=scores, measured="drawn images"))
    page = file.read_text()
    assert "drawn images" in page and page.count("<figure") >= 3
    check_page(file, tmp_path)


@needs_browser
def test_the_browser_would_see_a_page_that_is_broken(tmp_path):
    """What is not in the file is not fetched, and both that and a script are complained of; the sheet is near empty."""
    page = tmp_path / "page.html"
    for body in ('<img src="https://nowhere.invalid/a.png">', "<script>document.title = 'x'</script>"):
        page.write_text(document("broken", body))
        (tmp_path / str(len(body))).mkdir()
        image, console = open_page(page, (200, 300), tmp_path / str(len(body)))
        assert any("Content Security Policy" in line for line in console), console
        assert len(np.unique(image.reshape(-1, 3), axis=0)) < 200  # a broken image has some 130


def test_the_first_batch_is_on_the_page(trained):
    facts = read_run(trained)
    page = write_report(facts, Assessment()).read_text()
    assert "The first batch" in page
    assert read_image(trained / "first_batch.jpg").size
    assert replace(facts, results={}).task is None


def test_a_class_of_which_nothing_was_found_is_on_the_page():
    data = shapes(1, (64, 96), max_objects=1)
    sample = replace(data[0], boxes=np.float32([[2, 2, 20, 20], [30, 30, 50, 50]]), labels=np.int32([0, 1]))
    one = {"boxes": sample.boxes[:1], "scores": np.float32([0.9]), "labels": np.int32([0])}
    found = Detections(id=sample.id, image_size=sample.image_size, **one)
    names = ["disc", "ring"]
    scores = {"closely": of_detector([(sample, found)], names, data)}
    scores["per_class"] = {name: {"mAP50": score} for name, score in zip(names, (1.0, 0.0), strict=True)}
    page = precision(Assessment(task="detect", scores=scores, measured="one image"))
    assert "disc: 0.90" in page and "ring: nothing found" in page

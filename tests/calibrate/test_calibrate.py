"""`visionkit calibrate`: what is found, refused and stored, and that a calibrated model answers with it everywhere."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from support.detections import found, sample
from support.models import BUILD, COMMON
from support.tiny import random_batch
from support.tiny_classifier import drawn

import visionkit as vk
from visionkit.calibrate.find import in_words
from visionkit.calibrate.page import page
from visionkit.cli import main
from visionkit.images import write_image
from visionkit.models import MODELS
from visionkit.score_curve import ScoreCurve
from visionkit.train.save import save_model
from visionkit.types import DataError

ISOTONIC = ScoreCurve("isotonic", (0.0, 0.3, 0.6, 1.0, 0.05, 0.25, 0.7, 0.95))
NAMES = ["cat", "dog"]


class Boastful:
    """A detector of one cat and one dog in each image that says 0.9 and 0.6, and is right in 60 % and 30 % of cases."""

    task, class_names = "detect", NAMES

    def __call__(self, dataset, score):
        rng = np.random.default_rng(0)
        for record in dataset.records:
            scores = np.array([0.9, 0.6]) + rng.uniform(-0.05, 0.05, 2)
            hits = rng.random(2) < [0.6, 0.3]
            boxes = record.boxes + np.where(hits, 0, 45)[:, None]  # beside the object
            yield found(boxes, scores, [0, 1], name=record.id)


def pets(images=120):
    black = np.zeros((100, 200, 3), np.uint8)
    there = [sample([[5, 5, 45, 45], [100, 5, 140, 45]], [0, 1], name=str(i), image=black) for i in range(images)]
    return vk.Dataset(there, NAMES, source="pets")


def test_a_boastful_detector_is_brought_to_its_senses():
    calibration = vk.calibrate(Boastful(), pets())
    assert calibration.answers == 240
    assert calibration.curve(0.9) == pytest.approx(0.6, abs=0.1)
    assert calibration.curve(0.6) == pytest.approx(0.3, abs=0.1)
    assert calibration.error.before[0] == pytest.approx(0.3, abs=0.07)
    assert calibration.error.after[0] < 0.12
    assert calibration.error.less[1] > 0
    lines = str(calibration).splitlines()
    assert lines[0].startswith("240 detections of 120 images, of which ")
    assert lines[2].startswith("D-ECE of detections with a score of at least 0.3, with 95 % intervals: 0.")
    assert lines[3].startswith("D-ECE of all detections: 0.")
    assert lines[-1].startswith(
        f"Chosen: {calibration.method}, one curve for all classes. It does not change the order"
    )
    html = page(calibration, "<run>")
    assert "&lt;run&gt;" in html and html.count("<svg") == 3
    kept = json.loads(json.dumps(calibration.to_json()))
    assert ScoreCurve.from_json(kept["curve"]) == calibration.curve


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(DataError, match="19 images are too few to calibrate with: at least 20 are needed"):
        vk.calibrate(Boastful(), pets(19))
    cats = vk.Dataset([replace(s, boxes=s.boxes[:1], labels=s.labels[:1]) for s in pets().records], ["cat"], None)
    with pytest.raises(DataError, match="lacks the model's class dog, whose answers would all count as wrong"):
        vk.calibrate(Boastful(), cats)
    other = vk.Dataset(pets().records, ["cat", "cow"])
    with pytest.raises(DataError, match="the data has classes that the model lacks: cow"):
        vk.calibrate(Boastful(), other)
    with pytest.raises(DataError, match=r"of 48 answers \d+ are right: too few to calibrate with, 20 are needed"):
        vk.calibrate(Boastful(), pets(24))
    calibrated = Boastful()
    calibrated.calibration = ISOTONIC
    with pytest.raises(DataError, match="the model is calibrated already: set its attribute calibration to None"):
        vk.calibrate(calibrated, pets())


@pytest.mark.parametrize("kind", ["nanodet", "mask_rcnn", "fcn"])
def test_a_calibrated_model_answers_through_the_curve_and_keeps_it(kind, tmp_path):
    keras.utils.set_random_seed(0)
    model, (images, y) = BUILD[kind](), random_batch(batch=2)
    before = {name: np.asarray(value) for name, value in model.serving()(images).items()}
    name = "probabilities" if kind == "fcn" else "scores"
    model.calibration = replace(ISOTONIC, exclusive=kind == "fcn")
    save_model(model, tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.calibration == model.calibration
    after = {key: np.asarray(value) for key, value in again.serving()(images).items()}
    assert list(after) == list(before)
    real = before["labels"] >= 0 if "labels" in before else np.True_
    expected = np.where(real[..., None] if kind == "fcn" else real, model.calibration(before[name]), 0)
    np.testing.assert_allclose(after[name], expected, atol=1e-5)
    for key in before.keys() - {name}:
        np.testing.assert_allclose(after[key], before[key], atol=1e-4)
    if kind == "fcn":
        assert again.for_size((96, 96)).calibration == model.calibration
        assert (after[name].argmax(axis=-1) == before[name].argmax(axis=-1)).mean() > 0.999
        again.compile(optimizer="sgd")
        again.fit(images, {"segmentation": y["segmentation"]}, verbose=0)
        assert again.calibration is None  # it was found for other weights
        assert "calibration" not in again.get_config()


def test_ap_stays_as_it_is_and_the_score_that_a_user_gives_is_the_calibrated_one():
    keras.utils.set_random_seed(1)
    model, (images, _) = BUILD["ssd"](), random_batch(batch=4)
    plain = list(vk.Predictor(model)(images, score=0))
    samples = [  # every third detection is right
        vk.Sample(id=str(i), image=image, image_size=image.shape[:2], boxes=one.boxes[::3], labels=one.labels[::3])
        for i, (image, one) in enumerate(zip(images, plain, strict=True))
    ]
    data = vk.Dataset(samples, COMMON["class_names"])
    before = vk.evaluate(model, data, intervals=False)
    model.calibration = ScoreCurve("platt", (1.5, -4.0))  # nearly all scores fall below 0.01
    predictor = vk.Predictor(model)
    after = vk.evaluate(predictor, data, intervals=False)
    assert before["mAP50"] > 0
    assert {name: after[name] for name in ("mAP", "mAP50", "mAR100")} == pytest.approx(
        {name: before[name] for name in ("mAP", "mAP50", "mAR100")}
    )
    limit = float(np.median(np.concatenate([model.calibration(one.scores) for one in plain])))
    kept = [len(one) for one in predictor(data, score=limit)]
    assert sum(kept) == pytest.approx(sum((model.calibration(one.scores) >= limit).sum() for one in plain), abs=1)


def test_a_segmenter_is_calibrated_on_its_pixels():
    keras.utils.set_random_seed(0)
    model, (images, y) = BUILD["fcn"](), random_batch(batch=24)
    maps = [
        vk.Sample(id=str(i), image=image, image_size=image.shape[:2], segmentation=truth)
        for i, (image, truth) in enumerate(zip(images, y["segmentation"], strict=True))
    ]
    calibration = vk.calibrate(model, vk.Dataset(maps, COMMON["class_names"]))
    assert calibration.task == "segment" and calibration.curve.exclusive
    assert 24 * 1500 < calibration.answers < 24 * 1667  # without those whose class is 255
    assert calibration.error.after[0] < calibration.error.before[0]
    assert "It does not change the most probable class of the network's pixels." in in_words(calibration)[-1]
    assert "The curve" not in page(calibration, "run")


@pytest.fixture
def run(tmp_path):
    """A run of an untrained classifier, and class folders of images."""
    keras.utils.set_random_seed(0)
    data = drawn(300, 0)
    for i, record in enumerate(data.records):
        write_image(tmp_path / "data" / data.class_names[record.label] / f"{i}.png", np.asarray(data[i].image))
    backbone = vk.mlp((6, 6, 3), widths=(4,))
    model = MODELS["classifier"](backbone, 3, class_names=data.class_names, image_size=(6, 6), resize="stretch")
    (tmp_path / "run").mkdir()
    save_model(model, tmp_path / "run" / "model.keras")
    return tmp_path / "run"


def test_the_verb(run, capsys, monkeypatch):
    data, numbers = run.parent / "data", run.parent / "deep" / "numbers.json"
    (run / "guarantee.json").write_text("{}")
    (run / "fast").mkdir()
    monkeypatch.setattr("visionkit.fast.model.keep_form", lambda folder, data: f"form of {folder}: {len(data)} images")
    (run / "knobs.json").write_text(json.dumps({"data": str(data)}))
    words = ["calibrate", str(run), str(data), "--json", str(numbers)]
    assert main(words) == 0
    printed, said = capsys.readouterr()
    assert f"form of {run}: 300 images" in said
    assert f"warning: {run} seems to have learned from train of these images, about which it is surer" in printed
    assert "than about others: it has no other part, so give a folder of images that it has not learned from" in printed
    assert "300 images of 300 images, of which " in printed
    assert f"stored: {run / 'model.keras'} and {run / 'calibration.json'}" in printed
    assert "the run's guarantee was made for the scores as they were" in printed
    record = json.loads(numbers.read_text())
    assert record == json.loads((run / "calibration.json").read_text())
    predictor = vk.open_predictor(run)
    assert predictor.calibration == ScoreCurve.from_json(record["curve"])
    assert (run / "calibration.html").read_text().startswith("<!doctype html>")
    assert main(words) == 1
    assert "is calibrated already" in capsys.readouterr().err
    assert main([*words, "--again"]) == 0
    assert json.loads(numbers.read_text()) == record  # from the model's own scores, not from calibrated ones
    assert main(["calibrate", str(run.parent), str(data)]) == 1
    assert "expected the folder of a finished run" in capsys.readouterr().err

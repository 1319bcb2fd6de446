"""`visionkit guarantee` and `visionkit detect --guarantee`: what is promised, stored, refused and warned of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from support.detections import found, sample

import visionkit as vk
from visionkit.cli import main
from visionkit.cli.guarantee import promise_of
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.guarantee.keep import Promised, warning
from visionkit.guarantee.make import make_alarm_promise, make_promise
from visionkit.guarantee.promise import FILE
from visionkit.guarantee.shift import looks, shift
from visionkit.guarantee.stored import fingerprint_of, read_promise
from visionkit.images import write_image
from visionkit.metrics.curves import match
from visionkit.open_model import content_digest
from visionkit.types import DataError, Detections

NAMES = ["cat", "dog"]


def pairs_of(images=40, weak=()):
    """Images of a cat and a dog; the detector is sure of the cats, less so of the dogs, and invents a dog in each.

    In the images `weak` the dog is not found.
    """
    pairs = []
    for i in range(images):
        there = sample([[10, 10, 50, 50], [60, 10, 110, 60]], [0, 1], name=str(i))
        boxes = [[10, 10, 48, 50], [60, 10, 110, 60 - 10 * (i % 2)], [150, 50, 190, 90]]
        scores = [0.9 - i / 1000, 0.01 if i in weak else 0.6 - i / 1000, 0.3]
        labels = [0, 0 if i in weak else 1, 1]
        order = np.argsort(scores)[::-1]
        pairs.append((there, found(np.array(boxes)[order], np.array(scores)[order], np.array(labels)[order])))
    return pairs


def made_for(model, promise):
    """The promise as `guarantee` makes it for a model with that fingerprint."""
    return replace(promise, source="drawn", model=model, looks={"size": [1.0]})


def test_a_promise_for_all_classes_and_for_each():
    together = make_promise(pairs_of(), NAMES, 0.1)
    # Images count equally, and a dog is half of one: (missed / 2 + 1) / 41 <= 0.1 lets the 6 least sure dogs go.
    assert together.thresholds == [pytest.approx(0.6 - 33 / 1000)] * 2
    assert together.missed == pytest.approx(3 / 40)
    assert together.price.detections == pytest.approx(2 - 6 / 40)
    each = make_promise(pairs_of(), NAMES, 0.1, per_class=True)
    assert each.thresholds == pytest.approx([0.9 - 36 / 1000, 0.6 - 36 / 1000])  # (3 + 1) / 41
    assert each.in_words()[1] == "Thresholds: cat 0.864, dog 0.564."
    assert "on average at most 10% of an image's objects of a class are missed" in each.in_words()[0]


def test_from_python_a_detector_keeps_the_promise(tmp_path):
    pairs = pairs_of()
    black = np.zeros((*pairs[0][0].image_size, 3), np.uint8)
    data = vk.Dataset([replace(there, image=black) for there, _ in pairs], NAMES, source="drawn")
    says = SimpleNamespace(task="detect", class_names=NAMES, batch_size=1, runtime="none")

    class Says(SimpleNamespace):
        def __call__(self, items, score=None):
            return (said for _, said in pairs)

    safe = vk.guarantee(Says(**vars(says)), data)
    assert safe.promise == replace(make_promise(pairs, NAMES, 0.1), source="drawn", looks=safe.promise.looks)
    assert str(safe.promise).splitlines() == safe.promise.in_words()
    assert safe.promise.looks  # of the calibration images
    kept = [said.scores.min() for said in safe(data)]
    assert min(kept) >= np.float32(safe.promise.thresholds[0]) and len(kept) == 40
    with pytest.raises(ValueError, match=r"this promise is of no run: `visionkit guarantee .* DATA` stores one"):
        safe.promise.save(tmp_path)
    says.task = "classify"
    with pytest.raises(DataError, match="detectors and segmenters; this model is for the task classify"):
        vk.guarantee(Says(**vars(says)), data)
    with pytest.raises(DataError, match=r"found 'runs/first'; vk\.open_predictor opens a file"):
        vk.guarantee("runs/first", data)


def test_a_class_of_which_nothing_can_be_promised_is_named():
    promise = make_promise(pairs_of(weak=range(10)), NAMES, 0.1, per_class=True)
    assert promise.thresholds[1] == 0
    assert promise.unpromised == {
        "dog": "even at the lowest threshold the model misses too many objects to promise 10%; the least that these 40 "
        "images allow is 26.8%"
    }
    assert any(line.startswith("No promise for dog: even") for line in promise.in_words())
    with pytest.raises(DataError, match=r"to promise 5%; the least that these 40 images allow is 14\.6%"):
        make_promise(pairs_of(weak=range(10)), NAMES, 0.05)


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="8 images with objects are too few to promise 10%: at least 9 are needed"):
        make_promise(pairs_of(8), NAMES, 0.1)
    with pytest.raises(DataError, match="nothing can be promised for any class; of cat: 8 images"):
        make_promise(pairs_of(8), NAMES, 0.1, per_class=True)
    with pytest.raises(
        DataError, match=r"--margin: 8 images with found objects are too few .* in one half of the data"
    ):
        make_promise(pairs_of(17), NAMES, 0.1, margin=True)
    with pytest.raises(DataError, match="--miss: expected a share above 0 and below 1, found 1"):
        make_promise(pairs_of(8), NAMES, 1.0)


def test_false_alarms_are_promised_for_all_classes_and_for_each():
    pairs = pairs_of()  # each image has an invented dog of 0.3, and the dogs of odd images are badly placed
    assert all(match(*pair).tolist().count(-1) == 1 for pair in pairs)
    promise = make_alarm_promise(pairs, NAMES, 0.5)
    # 0.5 * 41 - 10 leaves room for 10 false detections: all of 0.3 are left out, since none is better than another.
    assert promise.thresholds == [np.nextafter(np.float32(0.3), np.float32(1))] * 2
    assert (promise.alarms, promise.price.wrong, promise.missed, promise.images) == (0, 0, 0, 40)
    assert promise.in_words()[0] == (
        "Promised: on average at most 0.5 false detections an image (without an object of their class with an IoU of "
        "0.5; an image with more than 10 counts as one with 10). On the 40 calibration images it is 0.00."
    )
    assert (
        promise.in_words()[2]
        == "Price: 0.0% of an image's objects are missed; 2.0 detections an image, 0.0 of them wrong."
    )
    generous = make_alarm_promise(pairs, NAMES, 1.5, lowest=0.01)
    assert generous.thresholds == [0.01, 0.01]  # down to where the detections were looked at
    assert (generous.cap, generous.alarms, generous.price.wrong) == (15, 1, 1)
    each = make_alarm_promise(pairs, NAMES, 0.5, per_class=True, lowest=0.01)
    assert each.thresholds == [0.01, np.nextafter(np.float32(0.3), np.float32(1))]  # no cat is invented
    assert each.in_words()[0].startswith("Promised: on average at most 0.5 false detections of a class an image (")


def test_false_alarms_that_cannot_be_promised_are_refused():
    text = "18 images are too few to promise 0.5 false detections an image, where one with more than 10 counts as one"
    with pytest.raises(DataError, match=f"{text} with 10: at least 19 are needed"):
        make_alarm_promise(pairs_of(18), NAMES, 0.5)
    assert make_alarm_promise(pairs_of(19), NAMES, 0.5).images == 19
    with pytest.raises(DataError, match="--false-alarms: expected a number above 0, found 0"):
        make_alarm_promise(pairs_of(), NAMES, 0.0)
    empty = vk.Dataset([there for there, _ in pairs_of(18)], NAMES)
    with pytest.raises(DataError, match=text):  # before the model, which has no answers here, is asked
        vk.guarantee(Says(None), empty, false_alarms=0.5)
    sure = [(there, found([[150, 50, 190, 90]], [1.0], [0])) for there, _ in pairs_of()]
    with pytest.raises(DataError, match=r"too many false detections have a score of 1 to promise 0\.5 an image"):
        make_alarm_promise(sure, NAMES, 0.5)


def test_a_margin_makes_boxes_contain_their_objects():
    promise = make_promise(pairs_of(), NAMES, 0.1, margin=True)
    assert promise.images == 20  # half of them
    assert promise.margin == pytest.approx(0.25)  # every other dog's box ends 10 pixels early, and is 40 high
    assert promise.price.growth > 1.5
    said = pairs_of(1)[0][1]
    kept = Promised(Says([said]), promise)([None])
    (only,) = list(kept)
    assert only.scores.tolist() == pytest.approx([0.9, 0.6])  # not the invented one
    assert only.boxes[0].tolist() == [0.5, 0, 57.5, 60]  # 38 wide and 40 high, within the image


class Says:
    """Stands where a detector does: these are its answers."""

    task, batch_size, class_names, runtime = "detect", 1, NAMES, "keras"

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, items, score=None, failures="raise"):
        if isinstance(items, np.ndarray):
            return self.answers[0][self.answers[0].scores >= score]
        return (answer[answer.scores >= score] for answer in self.answers)


def test_a_promised_detector_is_used_like_its_predictor():
    promise = make_promise(pairs_of(), NAMES, 0.1, per_class=True)
    said = found([[0, 0, 9, 9]] * 3, [0.95, 0.7, 0.5], [0, 0, 1])
    only = Promised(Says([said]), promise)(np.zeros((8, 8, 3), np.uint8))
    assert isinstance(only, Detections)
    assert only.scores.tolist() == pytest.approx([0.95])  # a cat of 0.7 and a dog of 0.5 are too unsure
    with pytest.raises(DataError, match="a model with other classes"):
        Promised(Says([said]), replace(promise, class_names=["dog", "cat"]))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.keras").write_bytes(b"some weights")
    return folder


def test_it_is_stored_in_the_run_and_belongs_to_its_model(run):
    promise = made_for(fingerprint_of(run), make_promise(pairs_of(), NAMES, 0.1, margin=True))
    promise.save(run)
    assert read_promise(run) == promise
    written = json.loads((run / FILE).read_text())
    for thresholds in ([0.5, "x"], [0.5, -1], [0.5, 1.5], [0.5], "high"):
        (run / FILE).write_text(json.dumps(written | {"thresholds": thresholds}))
        with pytest.raises(
            DataError, match=r"guarantee\.json: expected what visionkit guarantee writes; make it again"
        ):
            read_promise(run)
    promise.save(run)
    (run / "model.keras").write_bytes(b"other weights")
    with pytest.raises(DataError, match="was made for another model"):
        read_promise(run)
    (run / FILE).write_text('{"version": 1, "miss": 0.1}')
    with pytest.raises(DataError, match="expected what visionkit guarantee writes; make it again"):
        read_promise(run)
    (run / FILE).unlink()
    with pytest.raises(DataError, match=r"has no guarantee\.json; visionkit guarantee .* DATA --miss 0\.1 makes one"):
        read_promise(run)
    with pytest.raises(DataError, match="expected the folder of a finished run or of an export"):
        fingerprint_of(run / "nothing")


def test_classes_without_a_promise_are_named_where_it_is_kept(run, capsys):
    promise = make_promise(pairs_of(weak=range(10)), NAMES, 0.1, per_class=True)
    assert promise.unpromised
    made_for(fingerprint_of(run), promise).save(run)
    promise_of(run, {})
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("Promised: ") and "calibration images it is" not in first  # which is of all classes
    assert others == [f"No promise for {name}: {reason}." for name, reason in promise.unpromised.items()]


def test_it_is_stored_in_an_export_and_belongs_to_its_files(tmp_path):
    for name, content in (("visionkit.json", "{}"), ("model.onnx", "graph"), ("export_report.json", "{}")):
        (tmp_path / name).write_text(content)
    promise = made_for(fingerprint_of(tmp_path), make_alarm_promise(pairs_of(), NAMES, 0.5))
    before = content_digest(tmp_path)
    promise.save(tmp_path)
    assert content_digest(tmp_path) == before  # it is still the same model
    assert read_promise(tmp_path) == promise
    (tmp_path / "export_report.json").write_text('{"seconds": 2}')
    assert read_promise(tmp_path) == promise
    (tmp_path / "model.onnx").write_text("another graph")
    with pytest.raises(DataError, match="was made for another model"):
        read_promise(tmp_path)


def test_blur_and_darkness_are_flagged_and_the_same_kind_of_images_is_not():
    calibration = looks(sample.image for sample in shapes(40, (96, 128), seed=0))
    others = [sample.image for sample in shapes(30, (96, 128), seed=1)]
    assert shift(calibration, looks(others)) == []
    assert "blurrier" in shift(calibration, looks(cv2.GaussianBlur(image, (0, 0), 2) for image in others))
    dark = shift(calibration, looks(image // 2 for image in others))
    assert "darker" in dark and not {"brighter", "blurrier"} & set(dark)
    assert shift(calibration, looks(image // 2 for image in others[:4])) == []  # too few to tell


def test_a_shift_is_flagged_without_a_reason_once_in_a_hundred_times():
    rng, flagged = np.random.default_rng(0), 0
    for _ in range(100):
        before, now = (dict(zip("abcde", rng.normal(size=(5, n)).tolist(), strict=True)) for n in (50, 30))
        names = ("brightness", "contrast", "sharpness", "saturation", "size")
        flagged += bool(shift(*(dict(zip(names, part.values(), strict=True)) for part in (before, now))))
    assert flagged <= 4  # 1 is expected; more than 4 happen in fewer than one of 200 cases


class Rememberers(Says):
    """Finds what was annotated, by the name of the file."""

    def __init__(self, dataset):
        self.truths = {record.id: record for record in dataset.records}
        self.class_names = list(dataset.class_names)

    def __call__(self, items, score=None, failures="raise"):
        return (self._of(items[i], score) for i in range(len(items)))

    def _of(self, item, score):
        record = self.truths[Path(getattr(item, "id", item)).stem]
        scores = np.linspace(0.9, 0.4, len(record.boxes)).astype(np.float32)
        said = {"boxes": record.boxes, "labels": record.labels, "scores": scores}
        result = Detections(id=record.id, image_size=record.image_size, **said)
        return result[scores >= score]


def test_the_verbs(run, tmp_path, monkeypatch, capsys):
    dataset = shapes(24, (64, 96), seed=0)
    write_coco(dataset, tmp_path / "data", "test")
    monkeypatch.setattr("visionkit.open_model.open_predictor", lambda *_, **__: Rememberers(dataset))
    json_file = tmp_path / "deep" / "promise.json"
    words = ["guarantee", str(run), str(tmp_path / "data"), "--miss", "0.2", "--json", str(json_file)]
    assert main(words) == 0
    printed, warned = capsys.readouterr()
    assert warned.startswith(f"warning: it is not known which images {run} has learned from")
    assert "Promised: on average at most 20% of an image's objects are missed" in printed
    assert f"stored: {run / FILE}" in printed
    promise = read_promise(run)
    assert json.loads(json_file.read_text())["thresholds"] == promise.thresholds
    assert main(words) == 1
    assert "has a guarantee already, in guarantee.json; --again replaces it" in capsys.readouterr().err
    (run / "knobs.json").write_text(json.dumps({"data": str(tmp_path / "data"), "learn_from": "val+test"}))
    assert main([*words, "--again"]) == 1
    printed = capsys.readouterr().err
    assert "seems to have learned from val+test of" in printed
    assert "it has no other part, so give a folder of images that it has not learned from" in printed
    write_coco(dataset, tmp_path / "data", "val")
    write_coco(dataset, tmp_path / "data", "train")
    assert main([*words, "--again"]) == 1
    assert "name another part with --split (train), or another folder" in capsys.readouterr().err
    (run / "knobs.json").unlink()
    shutil.rmtree(tmp_path / "data")
    write_coco(dataset, tmp_path / "data", "test")
    for more, message in (
        (["--false-alarms", "1"], "--miss and --false-alarms: a threshold keeps one promise; leave one of them out"),
        (["--of", "cat"], "--of is about a segmenter; this model is for the task detect"),
    ):
        assert main([*words, "--again", *more]) == 1
        assert message in capsys.readouterr().err
    alarms = [*words[:3], "--again", "--false-alarms", "1"]
    assert main([*alarms, "--margin"]) == 1
    assert "--margin is about found objects, and goes with --miss" in capsys.readouterr().err
    assert main(alarms) == 0
    assert "Promised: on average at most 1 false detections an image" in capsys.readouterr().out
    assert read_promise(run).false_alarms == 1
    assert main([*words, "--again"]) == 0
    capsys.readouterr()

    photos = tmp_path / "photos"
    for i in range(24):
        write_image(photos / f"{dataset.records[i].id}.png", dataset[i].image)
    words = ["detect", str(run), str(photos), "--out", str(tmp_path / "out"), "--guarantee", "--no-pictures"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Promised: on average at most 20%") and "warning" not in printed.err
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    scores = [one["score"] for line in lines for one in line.get("objects", ())]  # the first line has the settings
    assert scores and min(scores) >= promise.thresholds[0] - 1e-4

    assert main([*words, "--score", "0.5"]) == 1
    assert "--score and --guarantee: the guarantee has its own threshold" in capsys.readouterr().err
    assert main([*words, "--tile", "64"]) == 1
    assert "the guarantee was made without tiles" in capsys.readouterr().err
    for i in range(24):
        write_image(photos / f"{dataset.records[i].id}.png", dataset[i].image // 3)
    assert main([*words[:4], str(tmp_path / "again"), *words[5:]]) == 0
    assert "these images are unlike the calibration images (darker" in capsys.readouterr().err


def test_an_export_says_that_it_does_not_carry_the_guarantee(run, monkeypatch, capsys):
    monkeypatch.setattr("visionkit.export.export_model.export_model", lambda *_: "exported")
    assert main(["export", str(run), "--out", "out"]) == 0
    assert capsys.readouterr().out == "exported\n"
    (run / FILE).write_text("{}")
    assert main(["export", str(run), "--out", "out"]) == 0
    printed = capsys.readouterr().out
    assert "the run's guarantee holds for its own answers: visionkit guarantee out DATA makes one" in printed


def test_a_class_without_an_object_has_no_promise():
    promise = make_promise(pairs_of(), [*NAMES, "yeti"], 0.1)
    assert promise.unpromised == {"yeti": "no calibration image has one"}
    assert "No promise for yeti: no calibration image has one." in str(promise)


def test_a_broken_photo_does_not_stop_the_shift_check(tmp_path):
    seen = looks(s.image for s in shapes(20, (64, 96), seed=0))
    promise = replace(make_promise(pairs_of(), NAMES, 0.1), looks=seen)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    files = [tmp_path / "broken.png"]
    for i, one in enumerate(shapes(9, (64, 96), seed=2)):
        files.append(tmp_path / f"{i}.png")
        write_image(files[-1], one.image // 4)
    assert "darker" in warning(promise, files)
    assert warning(promise, files[:4]) == ""


def test_promised_photos_are_seen_by_keras_unless_another_runtime_is_named(run, tmp_path, monkeypatch):
    made_for(fingerprint_of(run), make_promise(pairs_of(), NAMES, 0.1)).save(run)
    asked = []

    def opened(model, batch_size, trust, runtime, images):
        asked.append(runtime)
        raise DataError("far enough")

    monkeypatch.setattr("visionkit.open_model.open_predictor", opened)
    words = ["detect", str(run), "photo.jpg", "--out", str(tmp_path / "out")]
    for more in (["--guarantee"], ["--guarantee", "--runtime", "onnx"], []):
        assert main([*words, *more]) == 1
    assert asked == ["keras", "onnx", "auto"]

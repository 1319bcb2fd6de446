"""`visionkit compare`: differences by hand and by simulation, what is refused, and the page as a browser shows it."""

import json
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy import stats
from support.browser import check_page, needs_browser
from support.paths import ROOT
from support.predictors import Says

import visionkit as vk
from visionkit.cli import main
from visionkit.compare.contest import check_alike, hold
from visionkit.compare.differences import Difference, compare, holm, verdict
from visionkit.compare.page import page
from visionkit.data.arrays import arrays
from visionkit.data.shapes import SEGMENTATION_NAMES, shape_maps, shapes
from visionkit.data.writers import write_coco
from visionkit.evaluate.scores import measure
from visionkit.metrics.weighted import Answers
from visionkit.types import Classification, DataError, Detections, SegmentationMap

sys.path.insert(0, str(ROOT / "tools" / "maintenance"))


def answers(right):
    """A classifier of two classes on as many images: right where it says so."""
    labels = np.arange(len(right)) % 2
    return Answers(labels, np.where(right, labels, 1 - labels), np.ones(len(right), bool), 2)


def test_the_difference_of_two_classifiers_is_that_of_the_textbook():
    """The images on which both are right or both are wrong do not count: McNemar's exact test is a binomial one."""
    first = np.arange(60) >= 12  # wrong on 12
    second = first.copy()
    second[:9], second[20:22] = True, False  # mends 9 of them, and is wrong on 2 others
    found = compare([answers(first)], [answers(second)], ["a", "b"], permutations=4000).overall["top1"]
    assert (found.first, found.second, found.by) == (48 / 60, 55 / 60, pytest.approx(7 / 60))
    assert found.p == pytest.approx(stats.binomtest(9, 11).pvalue, abs=0.015)  # 0.065
    half = 1.96 * np.std(second.astype(float) - first) / 60**0.5
    assert (found.low, found.high) == pytest.approx((7 / 60 - half, 7 / 60 + half), abs=0.25 * half)
    turned = compare([answers(second)], [answers(first)], ["a", "b"], permutations=4000).overall["top1"]
    assert (turned.by, turned.p) == (-found.by, found.p)


def test_a_model_compared_with_itself_does_not_differ():
    table = answers(np.arange(40) % 3 > 0)
    comparison = compare([table], [table], ["a", "b"], permutations=50)
    assert comparison.overall["top1"] == Difference(26 / 40, 26 / 40, 0, 0, 1)
    assert set(comparison.per_class) == {"a", "b"}
    assert verdict("A", "B", "top1", comparison.overall["top1"], 40) == (
        "No difference between A and B has been shown on 40 images: top1 +0.000 (95 %: +0.000 to +0.000; p = 1)."
    )


def test_equals_differ_significantly_once_in_twenty_times_whatever_their_scores_mean():
    """A small version of `tools/maintenance/promises.py compare`: the p-values of equals are uniform."""
    from promises import equals

    p = [difference.p for difference in equals(60, resamples=20, permutations=100, power=4.0)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.less(p, 0.05)) <= 0.15


def test_the_order_of_two_detectors_does_not_matter():
    data = shapes(24, (64, 96), seed=0)
    first, second = (measure(detector(poor, data), data).tables for poor in ({0, 3, 5, 11}, {3, 8}))
    one = compare(first, second, data.class_names, permutations=400)
    other = compare(second, first, data.class_names, permutations=400)
    assert 0 < one.overall["mAP50"].p < 1
    for name, difference in one.overall.items():
        assert (other.overall[name].p, other.overall[name].by) == (difference.p, -difference.by), name


def test_words_of_a_verdict():
    contradicted = Difference(0.58, 0.61, -0.01, 0.07, 0.036)  # by the interval
    assert verdict("A", "B", "mAP50", contradicted, 19).startswith("No difference between A and B has been shown on 19")
    sure, unsure = Difference(0.5, 0.45, -0.08, -0.02, 0.004), Difference(0.5, 0.52, -0.02, 0.06, 0.3)
    assert verdict("A", "B", "mAP50", sure, 300) == (
        "A is better than B on these 300 images: mAP50 +0.050 (95 %: +0.020 to +0.080; p = 0.004)."
    )
    assert verdict("A", "B", "mAP50", sure, 300, p=0.06).startswith(
        "No difference between A and B has been shown on 300"
    )
    # The standard error of 0.0204 would have to be 0.02 / 2.8: (2.8 * 0.0204 / 0.02)^2 = 8.2 times as many images.
    assert verdict("A", "B", "mAP50", unsure, 100).endswith("If it is real, about 818 images would show it.")


def test_p_values_are_corrected_for_their_number():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.6]) == [1, 1]


def test_other_classes_and_tasks_are_refused():
    def model(*names, task="detect"):
        return SimpleNamespace(task=task, class_names=names)

    check_alike("ab", [model("cat", "dog"), model("cat", "dog", task="instance")])
    with pytest.raises(DataError, match="of the classes of b and a, 0 are the same, 3 are not"):
        check_alike("ab", [model("cat", "dog"), model("bird")])
    with pytest.raises(DataError, match="b has the classes of a in another order"):
        check_alike("ab", [model("cat", "dog"), model("dog", "cat")])
    with pytest.raises(DataError, match="b is for the task segment and a for detect"):
        check_alike("ab", [model("cat"), model("cat", task="segment")])
    with pytest.raises(DataError, match="expected at least 5 images to compare models on, found 4"):
        compare([answers(np.ones(4, bool))], [answers(np.ones(4, bool))], "ab")
    with pytest.raises(ValueError, match="tables of the same images, found 6 and 5"):
        compare([answers(np.ones(6, bool))], [answers(np.ones(5, bool))], "ab")


class Model(Says):
    """With the number of its weights; it looks at samples, and for the measurement of speed at images."""

    model = SimpleNamespace(count_params=lambda: 1234)

    def __call__(self, samples, score=None):
        return (self.say(sample) for sample in samples if not isinstance(sample, np.ndarray))


def detector(misses, data):
    """Finds all objects but those of the images that it `misses`, where it invents one."""
    names = data.class_names

    def say(sample):
        boxes, labels = sample.boxes, sample.labels
        if int(sample.id[-5:]) in misses:
            boxes, labels = np.float32([[1, 1, 5, 5]]), np.int32([0])
        fields = {"boxes": boxes, "labels": labels, "scores": np.full(len(boxes), 0.9, np.float32)}
        return Detections(id=sample.id, image_size=sample.image_size, class_names=names, **fields)

    return Model("detect", names, say)


def test_the_images_where_they_differ_most_and_what_is_written_as_json():
    data = shapes(12, (64, 96), seed=0)
    contest = hold("AB", [detector({0, 3, 5}, data), detector({5}, data)], [2_000_000, None], data)
    (pair,) = contest.pairs
    assert sorted(pair.images) == [0, 3]  # 5 is wrong in both
    assert pair.comparison.overall["mAP50"].by > 0
    numbers = json.loads(json.dumps(contest.to_json()))
    assert [model["model"] for model in numbers["models"]] == ["A", "B"]
    assert numbers["models"][0]["bytes"] == 2_000_000
    assert numbers["pairs"][0]["images"] == [data.records[i].id for i in pair.images]
    row = numbers["pairs"][0]["overall"]["mAP50"]
    assert row["low"] <= row["difference"] <= row["high"] and row["second"] > row["first"]
    assert set(numbers["pairs"][0]["per_class"]) <= set(data.class_names)


def segmenter(wrong):
    def say(sample):
        found = sample.segmentation.copy()
        if sample.id.endswith(wrong):
            found[:, : found.shape[1] // 4] = len(SEGMENTATION_NAMES) - 1
        return SegmentationMap(id=sample.id, image_size=sample.image_size, segmentation=found)

    return Model("segment", list(SEGMENTATION_NAMES), say)


def classifier(wrong):
    def say(sample):
        i = int(sample.id)
        truth = i // 4 if i != wrong else 1 - i // 4
        return Classification(id=sample.id, image_size=sample.image_size, scores=np.eye(2, dtype=np.float32)[truth])

    return Model("classify", ["cat", "dog"], say)


def contests():
    data = shapes(12, (64, 96), seed=0)
    yield [detector({0, 3}, data), detector({5}, data), detector(set(), data)], data
    yield [segmenter("1"), segmenter("2")], shape_maps(6, (48, 64))
    images = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, 40 * 60 * 3).reshape(8, 40, 60, 3)
    yield [classifier(5), classifier(2)], arrays(images, np.arange(8) // 4, ["cat", "dog"])


def test_from_python_models_are_compared_under_their_names():
    (first, second), data = list(contests())[2]
    contest = vk.compare({"old": first, "new": second}, data)
    assert str(contest).startswith("No difference between old and new has been shown on 8 images: top1 +0.000")
    assert [model.milliseconds for model in contest.models] == [None, None]
    with pytest.raises(DataError, match="expected two or three models to compare, found 1"):
        vk.compare({"old": first}, data)
    with pytest.raises(DataError, match="give the models to compare under their names"):
        vk.compare([first, second], data)
    with pytest.raises(DataError, match="expected a model of visionkit or a Predictor, found Dense; "):
        vk.compare({"old": first, "new": keras.layers.Dense(1)}, data)
    with pytest.raises(DataError, match=r"expected a data set, found list; make one: vk.Dataset\(samples"):
        vk.compare({"old": first, "new": second}, [data[0]])


def test_pages_of_all_tasks(tmp_path):
    for number, (predictors, data) in enumerate(contests()):
        names = [f"<{name}>" for name in "ABC"[: len(predictors)]]
        contest = hold(names, predictors, [None] * len(names), data, timed=False)
        whole = page(contest)
        (tmp_path / f"{number}.html").write_text(whole)
        assert whole.count("<h3>The images where they differ most</h3>") == len(contest.pairs)
        assert "&lt;A&gt;" in whole and "<A>" not in whole
        assert whole.count("data:image/jpeg;base64,") == 3 * sum(len(pair.images) for pair in contest.pairs) > 0
        assert len(contest.verdicts()) == len(contest.pairs) == (3 if number == 0 else 1)
        assert ("corrected for 3 pairs" in whole) == (number == 0)
        assert "1,234" in whole
        cells = [f"<td>{name}: {('mAP50', 'IoU', 'recall')[number]}</td>" for name in data.class_names]
        assert any(cell in whole for cell in cells) == (number != 2)  # four images of a class are too few


@needs_browser
def test_a_browser_shows_the_page(tmp_path):
    predictors, data = next(contests())
    file = tmp_path / "page.html"
    file.write_text(page(hold("ABC", predictors, [None] * 3, data, timed=False)))
    check_page(file, tmp_path)


def test_the_verb(tmp_path, monkeypatch, capsys):
    data = shapes(12, (64, 96), seed=0)
    write_coco(data, tmp_path / "data", "test")
    models = {"one": detector({0, 3}, data), "two": detector(set(), data)}
    monkeypatch.setattr("visionkit.open_model.open_predictor", lambda name, **_: models[name.name])
    out, numbers = tmp_path / "deep" / "page.html", tmp_path / "numbers.json"
    assert main(["compare", "one", "two", str(tmp_path / "data"), "--out", str(out), "--json", str(numbers)]) == 0
    printed = capsys.readouterr().out
    assert "12 images: mAP50 +0." in printed and printed.endswith(f"page: {out}\n")
    assert out.read_text().startswith("<!doctype html>")
    assert json.loads(numbers.read_text())["models"][1]["milliseconds"] >= 0
    assert main(["compare", "one", str(tmp_path / "data")]) == 1
    assert "expected two or three models and then the data" in capsys.readouterr().err
    (tmp_path / "knobs.json").write_text("{}")
    assert main(["compare", str(tmp_path / "data"), "one", str(tmp_path)]) == 1
    assert f"{tmp_path}: is a run; the data come last" in capsys.readouterr().err
    assert main(["compare", "one", "one", str(tmp_path / "data")]) == 1
    assert "a model was named twice" in capsys.readouterr().err
    assert main(["compare", "one", "two", str(tmp_path / "data"), "--json", str(tmp_path)]) == 1
    assert f"{tmp_path}: is a folder; name the file to write" in capsys.readouterr().err
    verb = sys.modules["visionkit.cli.compare"]
    monkeypatch.setattr(verb, "learned_of", lambda model, *_: 3 if model.name == "two" else 0)
    assert main(["compare", "one", "two", str(tmp_path / "data"), "--out", str(out)]) == 0
    said = (
        "warning: two has learned from 3 of these 12 images, so it looks better than on new ones; compare on others\n"
    )
    assert capsys.readouterr().err == said
    assert main(["compare", "one", "two", "three"]) == 1
    assert "three: no such folder; the data come last" in capsys.readouterr().err

"""The intervals of scores are printed, written as JSON and shown in reports and in the table of results."""

import sys

import numpy as np
from support.paths import ROOT
from support.predictors import Says

from visionkit.cli.scores import print_scores
from visionkit.data.arrays import arrays
from visionkit.evaluate.scores import evaluate, numbers, small_test_set, with_intervals
from visionkit.report.facts import Assessment, RunFacts
from visionkit.report.page import page
from visionkit.types import Classification


def classifier(images=20, wrong=(3, 12)):
    """Half of the images are cats and half are dogs; it errs in two of them."""

    def say(sample):
        i = int(sample.id)
        truth = 2 * i // images
        scores = np.eye(2, dtype=np.float32)[1 - truth if i in wrong else truth]
        return Classification(id=sample.id, image_size=sample.image_size, scores=scores)

    pixels = np.zeros((images, 8, 8, 3), np.uint8)
    return Says("classify", ["cat", "dog"], say), arrays(pixels, 2 * np.arange(images) // images, ["cat", "dog"])


def test_they_are_printed_and_a_small_test_set_is_called_small(capsys):
    scores = evaluate(*classifier())
    low, high = scores["intervals"]["top1"]
    assert 0.6 < low < 0.8 and 0.95 < high <= 1  # the exact binomial one is 0.683 to 0.988
    print_scores(scores)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("top1 0.9  top5 1  images 20")
    assert lines[1] == f"95 % intervals over images: top1 {low:.3f} to {high:.3f}  top5 0.832 to 1.000"
    low_of_cats, high_of_cats = scores["class_intervals"]["cat"]["recall"]
    assert f"recall 0.9 ({low_of_cats:.3f} to {high_of_cats:.3f})" in lines[2]
    assert lines[4] == f"20 images are few: on others of the same kind, top1 may as well be {low:.2f} or {high:.2f}."


def test_a_class_without_objects_has_words_for_its_scores(capsys):
    """COCO's -1 would be read as a number."""
    row = {"mAP": -1.0, "mAP50": -1.0, "objects": 0, "detections": 3}
    print_scores({"mAP": 0.5, "images": 4, "per_class": {"cat": row}})
    assert capsys.readouterr().out.splitlines()[1].split() == (
        ["cat", "no", "such", "objects", "in", "the", "data", "objects", "0", "detections", "3"]
    )


def test_what_is_said_of_small_and_of_large_test_sets():
    assert small_test_set({"images": 100, "intervals": {"mIoU": (0.1, 0.2)}}) == ""
    assert small_test_set({"images": 99}) == ""  # without intervals
    few = {"images": 3, "intervals": {}}
    assert small_test_set(few) == "3 images are too few to say how far these scores may be off."
    assert evaluate(*classifier(4, wrong=()))["intervals"] == {}


def test_json_has_them_beside_the_scores():
    scores = evaluate(*classifier())
    flat = with_intervals(scores)
    assert numbers(scores).items() <= flat.items()
    assert (flat["top1_low"], flat["top1_high"]) == scores["intervals"]["top1"]
    assert flat["per_class"]["dog"]["recall"] == 0.9
    assert flat["per_class"]["dog"]["recall_low"] == scores["class_intervals"]["dog"]["recall"][0]
    without = evaluate(*classifier(), intervals=False)
    assert "intervals" not in without
    assert set(flat) - {"per_class"} - set(numbers(without)) == {"top1_low", "top1_high", "top5_low", "top5_high"}


def test_a_report_shows_them(tmp_path):
    scores = evaluate(*classifier())
    facts = RunFacts(folder=tmp_path, about="", knobs={}, options={}, results={}, history=[{"epoch": 1, "loss": 1.0}])
    shown = page(facts, Assessment(task="classify", scores=scores, measured="20 images"))
    low, high = scores["intervals"]["top1"]
    assert f"<b>90.0%</b><span class='ends'>{low:.1%} to {high:.1%}</span>" in shown
    assert "Below a score its 95 % interval" in shown
    low, high = scores["class_intervals"]["cat"]["recall"]
    assert f'0.900<br><span class="soft">{low:.3f} to {high:.3f}</span>' in shown
    assert "20 images are few: on others of the same kind, top1 may as well be" in shown


def test_the_table_of_results_shows_them():
    sys.path.insert(0, str(ROOT / "tools" / "maintenance"))
    import results

    scores = {"mAP50": 0.912, "mAP50_low": 0.8802, "mAP50_high": 0.9357}
    assert results._spread("mAP50", [scores]) == "mAP50 0.912 (95 %: 0.880..0.936)"
    assert results._spread("mAP50", [{"mAP50": 0.912}]) == "mAP50 0.912"
    assert results._spread("mAP50", [scores, {"mAP50": 0.9}]) == "mAP50 0.906 (0.900..0.912, 2 seeds)"

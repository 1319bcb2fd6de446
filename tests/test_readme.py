"""The README does what it says: its commands and programs are run, in order, in a folder as a user would have it."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest
from support.command_line import visionkit
from support.paths import ROOT

from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.images import read_image, write_image

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^visionkit .+$", "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S)), re.M)
PROGRAM = "\n".join(re.findall(r"```python\n(.*?)```", README, re.S))
QUIET = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """my_data with 24 drawn images to learn from and 6 to test on, and photos to try the model on."""
    root = tmp_path_factory.mktemp("user")
    write_coco(shapes(24, (96, 128), seed=5), root / "my_data", "train")
    write_coco(shapes(6, (96, 128), seed=5, split="test"), root / "my_data", "test")
    for i, sample in enumerate(shapes(3, (96, 128), seed=5, split="photos")):
        write_image(root / "photos" / f"{i}.jpg", sample.image)
    return root


@pytest.fixture(scope="module")
def done(folder):
    """Every command of the README, for one epoch and at small size; the training in a process of its own."""
    outputs = {}
    for command in COMMANDS:
        words = command.split()[1:]
        if "--epochs" in words:
            words[words.index("--epochs") + 1] = "1"
            words += ["--image-size", "96", "--batch-size", "8"]
            program = [sys.executable, "-m", "visionkit", *words]
            result = subprocess.run(program, cwd=folder, capture_output=True, text=True, env=QUIET)
        else:
            result = visionkit(words, folder)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        outputs[words[0]] = result
    return outputs


def test_the_four_verbs_are_shown():
    assert [command.split()[1] for command in COMMANDS] == ["finetune", "evaluate", "detect", "export"]


def test_finetune_says_what_it_found_and_evaluate_scores_it(folder, done):
    assert "COCO JSON" in done["finetune"].stdout
    assert "training on train" in done["finetune"].stdout
    scores = json.loads((folder / "scores.json").read_text())
    assert {"mAP", "mAP50", "mAP75", "mAR100", "voc07_mAP50", "voc12_mAP50", "images", "seconds"} <= set(scores)
    assert scores["images"] == 6


def test_detect_leaves_pictures_and_both_tables(folder, done):
    found = json.loads((folder / "found" / "detections.json").read_text())
    rows = list(csv.DictReader((folder / "found" / "detections.csv").read_text().splitlines()))
    assert len(rows) == len(found)
    assert all({"file_name", "category", "bbox", "score"} <= set(record) for record in found)
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        assert read_image(folder / "found" / name).shape == (96, 128, 3)


def test_export_is_compared_with_the_model(folder, done):
    report = json.loads((folder / "exported" / "export_report.json").read_text())
    assert (report["verdict"], report["images"]) == ("passed", 3)
    assert report["compared"] > 10  # detections: an export that is compared on none has passed nothing


def test_the_programs_run(folder, done, preloaded):
    result = preloaded.run([sys.executable, "-c", PROGRAM], cwd=folder, env=QUIET)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") >= 1


def test_an_exported_model_is_taken_where_a_run_is(folder, done):
    result = visionkit(["evaluate", "exported", "my_data", "--split", "test", "--json", "again.json"], folder)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^scoring 6 images: COCO JSON instances_test\.json, boxes$", result.stdout, re.M)
    ours, exported = (json.loads((folder / name).read_text()) for name in ("scores.json", "again.json"))
    assert exported["mAP50"] == pytest.approx(ours["mAP50"], abs=0.01)


def test_a_broken_image_is_named_and_the_others_are_done(folder, done, tmp_path):
    photos = tmp_path / "photos"
    write_image(photos / "good.png", read_image(folder / "photos" / "0.jpg"))
    (photos / "text.jpg").write_text("not an image")
    (photos / "cut.jpg").write_bytes((folder / "photos" / "1.jpg").read_bytes()[:900])
    result = visionkit(["detect", "runs/first", str(photos), "--out", str(tmp_path / "out")], folder)
    assert result.returncode == 3
    assert "text.jpg" in result.stderr
    assert "cut.jpg" in result.stderr
    assert "1 images done" in result.stdout
    assert (tmp_path / "out" / "good.png").exists()


def test_a_run_folder_is_not_overwritten(folder, done):
    result = visionkit(["finetune", "my_data", "--out", "runs/first"], folder)
    assert result.returncode == 1
    assert "must be new or empty" in result.stderr


def test_the_table_of_numbers_is_the_one_that_the_results_give():
    sys.path.insert(0, str(ROOT / "tools" / "maintenance"))
    from results import readme

    assert readme(README) == README, "run: python tools/maintenance/results.py"

"""The built-in recipes: which data they learn from, what they freeze, and that their parts fit together."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
from support import tiny_data

from visionkit.cli import main
from visionkit.data.dataset import Dataset
from visionkit.data.files import load_image
from visionkit.data.recognise import open_dataset
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.evaluate.scores import evaluate
from visionkit.image_files import IMAGE_SUFFIXES
from visionkit.images import write_image
from visionkit.open_model import open_predictor
from visionkit.predict.folders import classify_folder
from visionkit.recipes.classify import classify
from visionkit.recipes.detect import detect
from visionkit.recipes.shared import network_size, training_data
from visionkit.train.run import run
from visionkit.types import DataError, Sample


def sized(*sizes):
    return Dataset([Sample(id=str(i), image_size=size) for i, size in enumerate(sizes)], ["a"], lambda record: record)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(480, 640)] * 3, (256, 320)),  # 240 is between 224 and 256: the even multiple, 8 * 32
        ([(640, 480)], (320, 256)),
        ([(500, 500), (500, 500), (100, 900)], (320, 320)),  # the median, so that an odd image out does not count
        ([(10, 4000)], (32, 320)),
    ],
)
def test_the_networks_size_follows_the_images(sizes, expected):
    assert network_size(sized(*sizes), 320) == expected


def test_a_segmenters_size_has_the_proportions_of_the_images():
    assert network_size(sized((720, 960)), 481, multiple=1) == (361, 481)
    assert network_size(sized((10, 4000)), 320, multiple=1) == (32, 320)


@pytest.mark.parametrize(
    ("splits", "learn_from", "train", "val"),
    [
        (("train", "val", "test"), None, 5, 3),
        (("train", "val", "test"), "train+val", 5 + 3, None),
        (("train", "val", "test"), "train", 5, 3),
        (("train", "test"), None, 5, None),  # test gives the honest score, so nothing is held back
        (("train", "val"), None, 5, 3),
        (("train", "val"), "val", 3, None),
        (("train",), None, 4, 1),
        (("train",), "train", 5, None),
    ],
)
def test_which_samples_are_learned_from(tmp_path, capsys, splits, learn_from, train, val):
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        if split in splits:
            write_coco(shapes(count, (48, 64), split=split), tmp_path, split)
    learned, chosen = training_data(tmp_path, "detect", seed=0, learn_from=learn_from)
    assert len(learned) == train
    assert (chosen and len(chosen)) == val
    out = capsys.readouterr().out
    assert "COCO JSON" in out
    assert ("score it with: visionkit evaluate RUN" in out) == ("test" in splits)
    if chosen:
        assert not {r.id for r in learned.records} & {r.id for r in chosen.records}


@pytest.mark.parametrize(
    ("learn_from", "message"),
    [
        ("train+trainval", "--learn-from train[+]trainval: .* has no split 'trainval'; it has train, val, test"),
        ("train+test", "--learn-from train[+]test: what is learned from gives no honest score; leave test out"),
    ],
)
def test_what_must_not_be_learned_from_is_refused(tmp_path, learn_from, message):
    for split in ("train", "val", "test"):
        write_coco(shapes(2, (48, 64), split=split), tmp_path, split)
    with pytest.raises(DataError, match=message):
        training_data(tmp_path, "detect", seed=0, learn_from=learn_from)


def test_no_test_image_is_learned_from(tmp_path):
    images, trainval, test = {id: [("ant", 1, 1, 9, 9)] for id in "abcxyz"}, list("abc"), list("xyz")
    root = tiny_data.voc(tmp_path / "both", images, {"trainval": trainval, "test": test})
    learned, chosen = training_data(root, "detect", seed=0)
    assert [r.id for r in learned.records] == trainval
    assert chosen is None
    root = tiny_data.voc(tmp_path / "one", images, {"trainval": trainval})
    learned, chosen = training_data(root, "detect", seed=0)
    assert {r.id for part in (learned, chosen) for r in part.records} == set(trainval)
    root = tiny_data.voc(tmp_path / "none", images, {"test": test})
    with pytest.raises(DataError, match="has the splits test; rename the one to learn from"):
        training_data(root, "detect", seed=0)


def test_one_image_is_too_few(tmp_path):
    write_coco(shapes(1, (48, 64)), tmp_path, "train")
    with pytest.raises(DataError, match="holds one image"):
        training_data(tmp_path, "detect", seed=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Red and blue noise in class folders, learned in two phases by a pretrained network."""
    root = tmp_path_factory.mktemp("classify")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, channel in (("red", 0), ("blue", 2)):
            for i in range(count):
                image = rng.integers(0, 90, (40, 50, 3)).astype(np.uint8)
                image[..., channel] += 120
                write_image(root / "data" / split / name / f"{i}.png", image)
    knobs = {"data": root / "data", "epochs": 4, "image_size": 64, "batch_size": 8, "seed": 0}
    return root, run(classify, knobs, root / "run")


def test_a_classifier_learns_two_colours(trained):
    root, results = trained
    assert results["top1"] == 1.0
    with (root / "run" / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]  # both phases, counted on
    assert (root / "run" / "first_batch.jpg").exists()


def test_the_saved_classifier_scores_the_same_and_sorts_a_folder(trained, tmp_path):
    root, results = trained
    predictor = open_predictor(root / "run")
    _, val = training_data(root / "data", "classify", seed=0)
    assert evaluate(predictor, val)["top1"] == results["top1"]
    report = classify_folder(predictor, root / "data" / "val", tmp_path / "out", progress=False)
    assert (report.done, report.rows, report.failed) == (8, 8, [])
    with (tmp_path / "out" / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(row["class1"] == row["file"].split("/")[0] for row in rows)
    assert all(float(row["score1"]) + float(row["score2"]) == pytest.approx(1, abs=1e-4) for row in rows)
    assert (tmp_path / "out" / "red" / "0.png").exists()


def test_phases_free_first_the_last_layer_and_then_the_upper_levels(trained):
    root, _ = trained
    plan = classify(root / "data", epochs=2, image_size=64, batch_size=8)
    plan.phases[0].prepare()
    assert {w.path.split("/")[-2] for w in plan.model.trainable_variables} == {"logits"}
    plan.phases[1].prepare()
    free = {w.path.split("/")[-2] for w in plan.model.trainable_variables}
    assert {"logits", "head_conv"} < free
    assert not any(name.startswith(("stem", "block0", "block4_")) for name in free)  # C3 ends with block 4
    assert any(name.startswith("block5") for name in free)
    (only,) = classify(root / "data", epochs=1, image_size=64, batch_size=8).phases
    assert only.epochs == 1


def test_a_backbone_without_weights_lists_those_that_have_some(trained):
    with pytest.raises(DataError, match=r"no pretrained backbone 'resnet999'; there are .*efficientnet_lite0"):
        classify(trained[0] / "data", backbone="resnet999")


def test_data_with_other_classes_is_refused_by_name(trained):
    root, _ = trained
    for names, said in (
        (["red", "green"], "green; it knows blue, red$"),
        (["red", "BLUE"], r"is 'BLUE' what it calls 'blue'\?"),
    ):
        other = Dataset([Sample(id="a", image_size=(8, 8), label=0)], names, lambda record: record)
        with pytest.raises(DataError, match=f"classes that the model lacks: .*{said}"):
            evaluate(open_predictor(root / "run"), other)


def test_ssdlite_is_an_ssd_with_split_heads(tmp_path):
    write_coco(shapes(3, (48, 64)), tmp_path, "train")
    plans = {name: detect(tmp_path, model=name, image_size=64, epochs=1) for name in ("ssd", "ssdlite")}
    assert {type(plan.model).__name__ for plan in plans.values()} == {"SSD"}
    heads = {name: [w for w in plan.model.weights if "_head" in w.path] for name, plan in plans.items()}
    assert {w.shape[:2] for w in heads["ssd"] if w.name == "kernel"} == {(3, 3)}
    assert {w.shape[:2] for w in heads["ssdlite"] if w.name == "kernel"} == {(1, 1)}
    assert plans["ssdlite"].model.count_params() < plans["ssd"].model.count_params()


def test_a_batch_is_blended_in_one_way(tmp_path):
    with pytest.raises(DataError, match=r"--mixup 0.2 and --cutmix 1: a batch is blended in one way"):
        classify(tmp_path, mixup=0.2, cutmix=1.0)


@pytest.mark.parametrize("name", ["epochs", "image-size", "batch-size", "patience", "keep-checkpoints"])
def test_what_must_be_at_least_1_is_said(tmp_path, capsys, name):
    tiny_data.voc(tmp_path, {"a": [("cat", 2, 2, 20, 20)]})
    assert main(["finetune", str(tmp_path), f"--{name}", "0"]) == 1
    assert f"--{name}: expected 1 or more, found 0" in capsys.readouterr().err


def test_a_count_below_1_is_refused_before_the_data_are_read(tmp_path, capsys):
    assert main(["finetune", str(tmp_path / "nowhere"), "--epochs", "0"]) == 1
    assert "--epochs: expected 1 or more, found 0" in capsys.readouterr().err


def test_the_hint_how_to_score_is_a_command_that_works(tmp_path, capsys):
    for split in ("train", "test"):
        tiny_data.pair(tmp_path / f"my set/images/{split}", tmp_path / f"my set/masks/{split}", "x", [[0, 1], [1, 7]])
    training_data(tmp_path / "my set", "segment", seed=0, void=7)
    hint = capsys.readouterr().out.strip().partition("score it with: visionkit ")[2]
    verb, run, data, *options = shlex.split(hint)
    assert (verb, run, options) == ("evaluate", "RUN", ["--split", "test", "--void", "7"])
    assert open_dataset(Path(data), "test", void=7).class_names == ["0", "1"]


def test_a_broken_image_comes_with_the_command_that_leaves_it_out(tmp_path, capsys):
    write_coco(shapes(3, (64, 64)), tmp_path, "train")
    image = next(file for file in tmp_path.rglob("*") if file.suffix in IMAGE_SUFFIXES)
    image.write_text("no picture")
    assert main(["finetune", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert f"{image.name}: is not an image that can be read" in error
    assert (
        f"; `visionkit doctor {tmp_path} --fix NEW` lists all such images and writes a data set without them" in error
    )


def test_pixels_that_are_broken_are_known_as_such(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])  # its header is whole
    with pytest.raises(DataError, match=r"a\.png") as caught:
        load_image(Sample(id="a", file=tmp_path / "a.png", image_size=(64, 64)))
    assert caught.value.kind == "broken image"

"""Published weights by name on the command line, and checkpoints turned into .keras files."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage
from support.paths import SHARED

from visionkit.cli import main
from visionkit.export import keras_file
from visionkit.images import read_image
from visionkit.open_model import open_predictor
from visionkit.resizing import fit
from visionkit.types import DataError
from visionkit.weights import classifiers, load
from visionkit.weights.classifiers import _build, preparation
from visionkit.weights.store import get_card
from visionkit.weights.torch_file import read_torch_file

CAT = Path(skimage.__file__).parent / "data" / "chelsea.png"  # a tabby cat, photographed from the front
CIFAR = SHARED / "weights" / "cifar-resnets" / "resnet20-12fca82f.th"
NAME = "efficientnet_lite0_imagenet"


def test_the_list_names_what_classify_takes(capsys):
    assert main(["weights", "list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any(row.startswith(f"{NAME} ") and "Apache-2.0" in row for row in rows)
    assert any(row.startswith("resnet50_imagenet ") for row in rows)


def test_path_tells_where_a_file_is_and_pull_agrees(capsys, monkeypatch):
    assert main(["weights", "path", NAME]) == 0
    path = capsys.readouterr().out.strip()
    assert Path(path).is_file()
    monkeypatch.setenv("VISIONKIT_OFFLINE", "0")  # which --offline sets; put back behind the test
    assert main(["weights", "pull", NAME, "--offline"]) == 0
    assert os.environ["VISIONKIT_OFFLINE"] == "1"
    assert capsys.readouterr().out.strip() == path


def test_offline_a_missing_file_is_an_error_that_says_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["weights", "path", "resnet50_imagenet"]) == 1
    error = capsys.readouterr().err
    assert "resnet50-0676ba61.pth" in error
    assert "https://" in error
    assert str(tmp_path) in error
    assert len(error.splitlines()) == 1


def test_a_name_nobody_published_lists_those_there_are(capsys):
    assert main(["weights", "path", "resnet9000_imagenet"]) == 1
    assert "there are no weights 'resnet9000_imagenet'; there are alexnet_imagenet" in capsys.readouterr().err


def test_classify_says_that_the_cat_is_a_cat(tmp_path):
    assert main(["classify", NAME, str(CAT), "--out", str(tmp_path)]) == 0
    with (tmp_path / "classes.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {"tabby", "tiger cat", "Egyptian cat"} == {row["class1"], row["class2"], row["class3"]}
    assert float(row["score1"]) > float(row["score2"]) > 0.1
    assert (tmp_path / "chelsea.png").is_file()


def test_evaluate_takes_folders_named_by_wordnet_id(tmp_path):
    for wordnet_id in ("n02123159", "n01440764"):  # tiger cat, which is right, and tench, which is wrong
        (tmp_path / "data" / wordnet_id).mkdir(parents=True)
        shutil.copy(CAT, tmp_path / "data" / wordnet_id)
    written = ["--json", str(tmp_path / "new" / "scores.json"), "--curves", str(tmp_path / "seen")]
    assert main(["evaluate", NAME, str(tmp_path / "data"), *written]) == 0
    assert read_image(tmp_path / "seen" / "confusion.png").std() > 1  # not an empty sheet
    scores = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert (scores["top1"], scores["top5"], scores["images"]) == (0.5, 0.5, 2)


def test_a_classifier_does_not_detect(tmp_path, capsys):
    assert main(["detect", NAME, str(CAT), "--out", str(tmp_path)]) == 1
    assert "the model is for the task classify: use visionkit classify" in capsys.readouterr().err


def test_weights_without_a_classifier_are_refused():
    with pytest.raises(DataError, match="weights of a backbone without a classifier"):
        open_predictor(Path("vgg16_hed_bsds500"))


@pytest.mark.skipif(not CIFAR.is_file(), reason="shared/weights/cifar-resnets is not beside the checkout")
def test_a_torch_checkpoint_becomes_a_keras_file(tmp_path):
    out = tmp_path / "resnet20.keras"
    assert main(["convert_weights", str(CIFAR), "--arch", "resnet20_cifar", "--out", str(out)]) == 0
    model = keras_file.load(out)
    assert model.class_names[3] == "cat"
    images = np.random.default_rng(0).integers(0, 255, (2, *model.image_size, 3)).astype(np.uint8)
    assert model.predict_on_batch(images)["logits"].shape == (2, 10)


@pytest.mark.skipif(not CIFAR.is_file(), reason="shared/weights/cifar-resnets is not beside the checkout")
def test_a_torch_checkpoint_without_a_last_layer_is_no_classifier(tmp_path, capsys, monkeypatch):
    body = {name: tensor for name, tensor in read_torch_file(CIFAR).items() if "linear" not in name}
    for module in (classifiers, load):
        monkeypatch.setattr(module, "read_torch_file", lambda file: body)
    out = tmp_path / "resnet20.keras"
    assert main(["convert_weights", str(CIFAR), "--arch", "resnet20_cifar", "--out", str(out)]) == 1
    assert "holds no logits.kernel, so no classifier of resnet20_cifar" in capsys.readouterr().err
    assert not out.exists()


def test_a_googlenet_of_ones_own_may_have_been_trained_without_the_published_transform(capsys):
    half, usual = (127.5,) * 3, get_card("resnet50_imagenet").mean
    published = get_card("googlenet_imagenet").file
    for name, option, mean, says in (
        (published, None, half, ""),
        ("mine.pth", None, half, "mine.pth: taken as trained with torchvision's transform_input"),
        ("mine.pth", True, half, ""),
        ("mine.pth", False, usual, ""),
    ):
        card = preparation(Path(name), "googlenet", option)
        assert (card.mean, card.architecture) == (mean, "googlenet")
        said = capsys.readouterr().out
        assert said.startswith(says) and bool(said) == bool(says)
    with pytest.raises(DataError, match="--transform-input is an option of googlenet, not of resnet18; leave it out"):
        preparation(Path("mine.pth"), "resnet18", False)


@pytest.mark.parametrize(
    ("card", "rule"),
    [
        ("efficientnet_lite0_imagenet", "crop 224/256"),
        ("efficientnet_lite1_imagenet", "crop 240/272"),
        ("resnet20_cifar_cifar10", "crop 32/32"),
    ],
)
def test_a_published_network_sees_the_share_of_an_image_that_its_numbers_were_measured_on(card, rule):
    card = get_card(card)
    assert _build(card.architecture, len(card.class_names), card).resize == rule


@pytest.mark.skipif(not CIFAR.is_file(), reason=f"{CIFAR.name} is not here")
def test_a_network_for_small_pictures_sees_them_to_the_border(tmp_path):
    assert main(["convert_weights", str(CIFAR), "--arch", "resnet20_cifar", "--out", str(tmp_path / "r.keras")]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    predictor = open_predictor(tmp_path / "r.keras")
    assert np.array_equal(fit(pixels, predictor.image_size, predictor.resize)[0], pixels)

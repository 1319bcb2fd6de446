"""--from: a recipe that begins with a trained model of the same kind."""

import re

import keras
import numpy as np
import pytest
from support.command_line import visionkit
from support.models import BUILD
from support.paths import SHARED
from support.tiny import tiny_backbone

from visionkit.cli import main
from visionkit.data.readers.folder import folder
from visionkit.data.shapes import shapes
from visionkit.data.writers import write_coco
from visionkit.experiments.rates import rate_of
from visionkit.models.classifier import Classifier
from visionkit.models.fcn import FCN
from visionkit.recipes.classify import classify
from visionkit.recipes.detect import detect
from visionkit.recipes.segment import segment
from visionkit.types import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shapes, of the classes disc, rectangle, triangle and star."""
    root = tmp_path_factory.mktemp("shapes")
    for split, count in (("train", 5), ("val", 2)):
        write_coco(shapes(count, (48, 64), split=split), root, split)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A NanoDet that knows cat, star and cow, as a .keras file."""
    model = BUILD["nanodet"]()
    model.class_names = ["cat", "star", "cow"]
    model._arguments["class_names"] = model.class_names
    model.licence = "Apache-2.0"
    file = tmp_path_factory.mktemp("start") / "nanodet.keras"
    model.save(file)
    return file


def test_a_detector_goes_on_with_what_it_knows(data, start, capsys):
    recipe = detect(data, start=str(start), renamed=("cow=disc",), image_size=64, epochs=2)
    out = capsys.readouterr().out
    assert "disc: from cow\n  rectangle: drawn anew\n  triangle: drawn anew\n  star: kept\n" in out
    assert f"NanoDet from {start} at 64x64" in out
    assert recipe.model.class_names == ["disc", "rectangle", "triangle", "star"]
    assert recipe.model.image_size == (64, 64)
    assert recipe.model.licence == "Apache-2.0"
    still = detect(data, start=str(start), image_size=64, epochs=2, lr=0.0)
    assert float(rate_of(still.phases[0].optimizer)(1)) == 0  # a rate of 0 is no missing rate
    rate = rate_of(recipe.phases[0].optimizer)
    assert 1e-4 < max(float(rate(step)) for step in range(3)) <= 3.001e-4  # from scratch it is 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "faster_rcnn"], "nanodet.keras: is a NanoDet; expected one of FasterRCNN"),
        (["--task", "classify"], "found COCO JSON, which is for detect, not classify"),
        (["--model", "ssd"], "nanodet.keras: is a NanoDet; expected one of SSD"),
        (["--model", "ssdlite"], "--model ssdlite: --from .* brings its own; leave one of the two out"),
        (["--backbone", "resnet18"], "--backbone resnet18: --from .* brings its own; leave one of the two out"),
        (["--map", "cow"], "--map cow: expected OLD=NEW, such as person=pedestrian"),
        (["--map", "dog=star"], "--map dog=star: the start has no class 'dog'; it has cat, star, cow"),
        (["--image-size", "2000"], r"the start does not take images of \d+x\d+: a box can extend at most 320 pixels"),
    ],
)
def test_a_wrong_start_is_one_line(data, start, options, message, capsys, tmp_path):
    assert main(["finetune", str(data), "--from", str(start), "--out", str(tmp_path / "run"), *options]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


NANODET = SHARED / "weights" / "nanodet" / "nanodet.json"


@pytest.mark.skipif(not NANODET.is_file(), reason="shared/weights/nanodet is not beside the checkout")
def test_the_published_detector_goes_on_through_the_command_line(data, tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(NANODET.parent))
    words = ["--from", "nanodet_g_coco", "--map", "person=disc", "--image-size", "64", "--epochs", "1"]
    done = visionkit(["finetune", str(data), *words, "--batch-size", "4", "--out", "run"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "from nanodet_g_coco:\n  disc: from person\n  rectangle: drawn anew\n" in done.stdout
    assert "NanoDet from nanodet_g_coco at 64x64" in done.stdout
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.class_names == ["disc", "rectangle", "triangle", "star"]
    assert model.licence == "Apache-2.0"


def test_map_needs_a_start_and_an_export_is_none(data, capsys, tmp_path):
    assert main(["finetune", str(data), "--map", "cow=disc"]) == 1
    assert "name that model with --from" in capsys.readouterr().err
    named = r"expected a run folder, a \.keras file, an exported model, hf://OWNER/NAME, or a name"
    with pytest.raises(DataError, match=named):
        detect(data, start=str(tmp_path / "nothing"))


def test_classifiers_and_segmenters_start_too(tmp_path, data, capsys):
    from support import tiny_data

    for name in ("ant/1", "ant/2", "ant/3", "bee/1", "bee/2", "bee/3"):
        tiny_data.picture(tmp_path / "photos" / f"{name}.jpg")
    sorter = Classifier(tiny_backbone(), 2, ["bee", "wasp"], (64, 64))
    sorter.save(tmp_path / "sorter.keras")
    recipe = classify(tmp_path / "photos", start=str(tmp_path / "sorter.keras"), image_size=64, class_weights=True)
    assert recipe.model.class_names == folder(tmp_path / "photos").class_names
    assert "ant: drawn anew\n  bee: kept" in capsys.readouterr().out

    for name in "abc":
        tiny_data.picture(tmp_path / "scenes" / "images" / f"{name}.jpg")
        tiny_data.mask(tmp_path / "scenes" / "masks" / f"{name}.png", np.arange(30 * 40).reshape(30, 40) % 2)
    (tmp_path / "scenes" / "classes.txt").write_text("road\nsky\n")
    FCN(tiny_backbone(), 2, ["sky", "sea"], (64, 64), head_units=8).save(tmp_path / "map.keras")
    with pytest.raises(DataError, match="is a Classifier; expected one of DeepLabV3, FCN, LRASPP, UNet"):
        segment(tmp_path / "scenes", start=str(tmp_path / "sorter.keras"))
    with pytest.raises(DataError, match="is a FCN; expected one of UNet"):
        segment(tmp_path / "scenes", model="unet", start=str(tmp_path / "map.keras"))
    recipe = segment(tmp_path / "scenes", start=str(tmp_path / "map.keras"), image_size=64)
    assert recipe.model.class_names == ["road", "sky"]
    assert "road: drawn anew\n  sky: kept" in capsys.readouterr().out

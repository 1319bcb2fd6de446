"""Suspicious regions of class maps: what contradicts many pixels surely, and not by habit."""

import json

import keras
import numpy as np
import pytest
from support import tiny_data
from support.models import BUILD

from visionkit.cli import main
from visionkit.data.recognise import open_dataset
from visionkit.predict.predictor import Predictor
from visionkit.resizing import fit
from visionkit.suspects.pixels import compare, contradictions, suspicious_regions
from visionkit.types import IGNORE, DataError


def shares_of(labels, sure=0.9):
    """Probabilities `[h, w, 3]` of a model that gives each pixel's class so much, and the others the rest."""
    return np.where(np.eye(3, dtype=bool)[labels], np.float32(sure), np.float32((1 - sure) / 2))


def scene(wrong=None, sure=0.9):
    """A map of 40 x 60 whose left half is class 0 and whose right half is class 1; the model sees 20 x 30 pixels."""
    truth = np.repeat(np.int32([[0] * 30 + [1] * 30]), 40, axis=0)
    said = shares_of(truth[::2, ::2], sure)
    given = truth.copy()
    if wrong:
        given[wrong] = 2
    return given, said


def test_a_region_has_its_box_in_the_image_and_a_score_by_size_and_margin():
    given, said = scene(wrong=(slice(10, 22), slice(40, 60)))
    given[10:12, 40:44] = IGNORE  # 2 pixels of the network
    found = compare(3, given, said)
    (region,) = found.regions
    assert (region.image, region.label, region.proposed_label) == (3, 2, 1)
    assert region.box.tolist() == [40, 10, 60, 22] and region.confidence == pytest.approx(0.9)
    # 6 x 10 - 2 pixels with a margin of 0.9 - 0.05, of 20 x 30
    assert region.score == pytest.approx(58 * 0.85 / 600)
    assert found.pixels.tolist() == [300, 240, 58] and found.contradicted[2].tolist() == [0, 58, 0]
    assert found.own == pytest.approx([270, 216, 58 * 0.05])


def test_specks_are_left_out():
    given, said = scene(wrong=(slice(0, 8), slice(0, 12)))  # 4 x 6 = 24 pixels of the network
    assert compare(0, given, said).regions == []


def test_the_largest_surest_regions_come_first():
    large, small = (slice(0, 30), slice(0, 20)), (slice(0, 12), slice(40, 52))
    found = [compare(i, *scene(wrong)) for i, wrong in enumerate((None, small, large, None, None))]
    suspects = suspicious_regions(found)
    assert [suspect.image for suspect in suspects] == [2, 1]
    assert suspects[0].in_words(["road", "sky", "car"]) == "wrong class: car, probably road (0.90)"
    unsure = [compare(i, *scene(wrong, 0.4 if wrong else 0.9)) for i, wrong in enumerate((None, small, None))]
    assert suspicious_regions(unsure) == []  # 0.4 is less than class 1 usually gets


def test_what_a_model_often_contradicts_in_the_same_way_counts_for_less():
    wrong = (slice(0, 30), slice(0, 20))  # 15 x 10 pixels of the network
    once = [compare(i, *scene(wrong if i == 2 else None)) for i in range(4)]
    assert suspicious_regions(once)[0].score == pytest.approx(150 * 0.85 / 600)
    often = [compare(i, *scene(wrong)) for i in range(4)]  # of 600 pixels of class 2 all 600; 150 of them may be wrong
    assert [suspect.score for suspect in suspicious_regions(often)] == pytest.approx([150 * 0.85 / 600 * 150 / 600] * 4)


@pytest.fixture
def maps(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        name = f"{i}"
        (tmp_path / "data" / "images").mkdir(parents=True, exist_ok=True)
        tiny_data.picture(tmp_path / "data" / "images" / f"{name}.png", (50, 90))
        values = np.kron(rng.integers(0, 3, (2, 3)), np.ones((25, 30), int))
        tiny_data.mask(tmp_path / "data" / "masks" / f"{name}.png", values)
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\n")
    return tmp_path / "data"


def test_a_segmenter_is_asked_for_its_probabilities_without_the_border(maps):
    keras.utils.set_random_seed(0)
    model = BUILD["fcn"]()
    dataset = open_dataset(maps, None, "segment", classes=maps.parent / "names.txt")
    found = contradictions(Predictor(model, batch_size=2), dataset)
    for i, sample in enumerate(dataset):
        pixels = fit(sample.image, model.image_size, "letterbox")[0][None].astype(np.float32)
        shares = np.asarray(model.serving()(pixels)["probabilities"])[0][:53]  # 50 x 90 becomes 53 x 96
        expected = compare(i, sample.segmentation, shares)
        assert found[i].pixels.tolist() == expected.pixels.tolist()
        np.testing.assert_allclose(found[i].own, expected.own, rtol=1e-3)
        assert len(found[i].regions) == len(expected.regions)

    class Export:
        task, class_names, model = "segment", ["cat", "dog", "cow"], object()

    with pytest.raises(DataError, match="an export does not say how sure it is of pixels; name the run folder"):
        contradictions(Export(), dataset)


def test_the_command_shows_regions(maps, tmp_path, capsys):
    keras.utils.set_random_seed(0)
    BUILD["fcn"]().save(tmp_path / "model.keras")
    words = ["suspects", str(maps), "--from-run", str(tmp_path / "model.keras"), "--html", str(tmp_path / "p.html")]
    assert main(words) == 1
    assert "classes that the model lacks: 0, 1, 2" in capsys.readouterr().err
    words += ["--classes", str(maps.parent / "names.txt")]
    assert main([*words, "--json", str(tmp_path / "p.json")]) == 0
    assert "3 images," in capsys.readouterr().out
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["images"] == 3 and all(row["kind"] == "wrong class" for row in content["suspects"])
    assert (tmp_path / "p.html").read_text().count("<img") == len(content["suspects"])
    assert main([*words, "--to", "cvat", "--tasks", str(tmp_path / "tasks")]) == 1
    assert "--to writes boxes; the page and --json list images and regions" in capsys.readouterr().err

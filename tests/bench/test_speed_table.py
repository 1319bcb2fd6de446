"""The table and the picture of speed in docs/export.md are those of what `make bench` measured and was filed."""

import hashlib
import json

import pytest
from PIL import Image
from support.paths import ROOT

WRITE = "run: python tools/maintenance/speed.py"


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "maintenance"))
    import speed

    return speed


def test_the_page_has_the_table_of_what_is_filed(speed):
    text = speed.PAGE.read_text()
    assert speed.page(text) == text, WRITE
    assert "| geometric mean |" in text


def test_the_picture_was_drawn_from_what_is_filed(speed):
    with Image.open(speed.PICTURE) as picture:
        assert picture.info["Description"] == hashlib.sha256(speed.FILED.read_bytes()).hexdigest(), WRITE


def test_a_table_has_inference_alone_and_classifiers_first(speed):
    ratios = {
        "fcn_resnet50, inference, batch 1": 0.5,
        "fcn_resnet50, training step, batch 2": 3.0,
        "resnet50, inference, batch 1": 2.0,
        "resnet50, inference, batch 1, openvino": 0.25,
    }
    assert speed.ratio_table.markdown(speed.ratio_table.inferences(ratios)).splitlines() == [
        "| | `Keras` | `openvino` |",
        "|---|---|---|",
        "| resnet50, batch 1 | 2.00 | 0.25 |",
        "| fcn_resnet50 at 520x520, batch 1 | 0.50 | |",
        "| geometric mean | 1.00 | |",
    ]


def test_a_new_result_is_filed_and_shown(speed, tmp_path, monkeypatch):
    for name, file in (("FILED", "ratios.json"), ("PAGE", "export.md"), ("PICTURE", "speed.png")):
        monkeypatch.setattr(speed, name, tmp_path / file)
    speed.PAGE.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    new = {"vgg16, inference, batch 1": 0.75}
    (tmp_path / "new.json").write_text(json.dumps(new))
    speed.write(tmp_path / "new.json")
    assert json.loads(speed.FILED.read_text()) == new
    lines = speed.PAGE.read_text().splitlines()
    assert lines[:2] == ["before", "<!-- speed -->"]
    assert lines[4:] == ["| vgg16, batch 1 | 0.75 |", "| geometric mean | 0.75 |", "<!-- /speed -->", "after"]
    with Image.open(speed.PICTURE) as picture:
        assert picture.info["Description"] == speed.digest()

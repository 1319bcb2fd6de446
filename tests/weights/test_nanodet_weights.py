"""NanoDet-g with its published weights, where ../shared has them: equal to the graph that it was published as."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.paths import GOLDEN, SHARED

from visionkit.backbones.csp_nanodet import csp_nanodet
from visionkit.images import read_image
from visionkit.resizing import fit
from visionkit.types import DataError
from visionkit.weights.detectors import DETECTORS, load_detector
from visionkit.weights.load import load_weights
from visionkit.weights.nanodet import read_nanodet_file
from visionkit.weights.store import find, get_card

FILE = SHARED / "weights" / "nanodet" / "nanodet.json"
CARD = "nanodet_g_coco"
TOLERANCE = 1e-4  # of an output's range; 2e-6 when it was measured
needs_file = pytest.mark.skipif(not FILE.is_file(), reason=f"{FILE.parent.name}/{FILE.name} is not beside the checkout")


@pytest.fixture(scope="module")
def detector():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISIONKIT_WEIGHTS", str(FILE.parent))
        return load_detector(CARD, offline=True, verbose=False)


@needs_file
def test_all_of_the_network_is_in_the_file(detector):
    assert detector.count_params() == 3_786_068
    assert (detector.licence, detector.resize, detector.class_names[0]) == ("Apache-2.0", "letterbox", "person")


@needs_file
def test_raw_outputs_equal_the_published_graphs(detector):
    skimage = pytest.importorskip("skimage")
    golden = np.load(GOLDEN / "nanodet" / "graph.npz")
    assert len(golden["photos"]) == 5
    for photo in golden["photos"]:
        pixels = read_image(Path(skimage.__file__).parent / "data" / str(photo))
        raw = detector.predict_on_batch(fit(pixels, (416, 416), "stretch")[0][None].astype(np.float32))
        ours = {"scores": 1 / (1 + np.exp(-raw["logits"][0])), "bins": raw["bins"][0]}
        for name, values in ours.items():
            found = values.ravel()[golden[f"{photo}_{name}_places"]]
            error = np.abs(found - golden[f"{photo}_{name}"]).max() / golden[f"{photo}_{name}_range"]
            assert error <= TOLERANCE, (photo, name)


@needs_file
def test_the_cat_is_a_cat(detector):
    skimage = pytest.importorskip("skimage")
    pixels = fit(read_image(Path(skimage.__file__).parent / "data" / "chelsea.png"), (416, 416), "letterbox")[0]
    found = detector.serving().predict_on_batch(pixels[None].astype(np.float32))
    assert detector.class_names[found["labels"][0, 0]] == "cat"
    assert found["scores"][0, 0] > 0.5


@needs_file
def test_other_classes_keep_a_new_last_layer_and_batch_norm_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(FILE.parent))
    model = DETECTORS["nanodet_g"](3)
    report = load_weights(model, CARD, offline=True, verbose=False)
    assert report.new == tuple(f"logits{level}.{name}" for level in (3, 4, 5) for name in ("kernel", "bias"))
    assert (len(report.loaded), report.missing, report.skipped) == (68, (), ())
    with pytest.raises(DataError, match=r"25 of the 125 weights of 'csp_nanodet' found as nanodet_g.*stem_bn\.gamma"):
        load_weights(csp_nanodet(), CARD, offline=True)  # its batch norm is folded into kernels and biases
    assert "missing" in capsys.readouterr().out


@needs_file
def test_both_files_are_wanted_and_verified(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(tmp_path))
    shutil.copy(FILE, tmp_path)
    (tmp_path / FILE.name).chmod(0o644)
    binary = tmp_path / "nanodet.bin"
    with pytest.raises(DataError, match=r"nanodet\.json needs nanodet\.bin beside it; put it there from https://git"):
        find(get_card(CARD), offline=True)
    binary.write_bytes(FILE.with_name(binary.name).read_bytes()[:-2] + b"\1\1")
    with pytest.raises(DataError, match=r"nanodet\.bin: damaged, or another file of that name.*5d0e4f8c"):
        find(get_card(CARD), offline=True)
    binary.write_bytes(FILE.with_name(binary.name).read_bytes())
    assert find(get_card(CARD), offline=True) == tmp_path / FILE.name


def test_offline_both_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"put nanodet\.json from https://.*, and nanodet\.bin from there, into"):
        find(get_card(CARD), offline=True)


def test_another_model_of_that_form_is_named(tmp_path):
    (tmp_path / "other.bin").write_bytes(bytes(4))
    entry = '{"name": "kernel", "shape": [1], "dtype": "float32"}'
    (tmp_path / "other.json").write_text(f'{{"weightsManifest": [{{"paths": ["other.bin"], "weights": [{entry}]}}]}}')
    with pytest.raises(DataError, match=r"other\.json: not the weights of NanoDet-g .'PartitionedCall/split'."):
        read_nanodet_file(tmp_path / "other.json")

"""The fast form of a model: made once, proven, found again, and left alone where it is not the model's."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from support.paths import ROOT
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.data.dataset import Dataset
from visionkit.export.verify import ExportError
from visionkit.fast import choice, kept, make, model
from visionkit.fast.kept import Source
from visionkit.models import MODELS
from visionkit.open_model import open_predictor
from visionkit.types import DataError, Sample

NAMES = ("cat", "dog", "cow")
# Runs verbs, each a list of words, and prints what was imported after the first.
VERBS = """
import json, sys
import visionkit.cli
loaded = []
for words in json.load(sys.stdin):
    assert visionkit.cli.main(words) == 0, words
    loaded.append(sorted({"keras", "tensorflow", "jax"} & set(sys.modules)))
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, preloaded):
    """A run folder with a classifier's model.keras, its form for OpenVINO, and what was said about that."""
    folder = tmp_path_factory.mktemp("fast")
    keras.utils.set_random_seed(0)
    network = MODELS["classifier"](tiny_backbone(), 3, NAMES, image_size=SIZE, head="pool")
    (folder / "run").mkdir()
    network.save(folder / "run" / "model.keras")
    images, _ = random_batch(batch=3)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    samples = [Sample(id=str(i), image_size=SIZE, label=i, image=image) for i, image in enumerate(images)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VISIONKIT_RUNTIME")
        patch.setattr(choice, "has_gpu", lambda: False)
        line = model.keep_form(folder / "run", Dataset(samples, NAMES))
    return folder, line


@pytest.fixture
def auto(monkeypatch, tmp_path):
    """No wish of the environment's, no GPU, and a cache of the test's own."""
    monkeypatch.delenv("VISIONKIT_RUNTIME")
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_run_gets_its_form_and_the_verbs_use_it_without_keras(run):
    folder, line = run
    assert line == f"fast form: openvino in float32, equal to the model on 3 images: {folder / 'run/fast/openvino'}"
    words = ["classify", "run", "0.png", "1.png", "2.png", "--out"]
    environment = {k: v for k, v in os.environ.items() if k != "VISIONKIT_RUNTIME"}
    environment |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", VERBS],
        input=json.dumps([[*words, "fast"], [*words, "slow", "--runtime", "keras"]]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded[0] == []
    assert "keras" in loaded[1]
    said = [line for line in done.stderr.splitlines() if line.startswith("runtime")]
    assert said == ["runtime: openvino in float32, equal to the model on 3 images: run/fast/openvino"]
    lines = {name: (folder / name / "results.jsonl").read_text().splitlines() for name in ("fast", "slow")}
    settings = {name: json.loads(text[0])["settings"] for name, text in lines.items()}
    assert {name: one["runtime"] for name, one in settings.items()} == {"fast": "openvino", "slow": "keras"}
    scores = {
        name: {one["file"]: dict(one["best"]) for one in map(json.loads, text) if "best" in one}
        for name, text in lines.items()
    }
    assert scores["fast"].keys() == {"0.png", "1.png", "2.png"}
    for file, fast in scores["fast"].items():
        assert fast == pytest.approx(scores["slow"][file], abs=1e-4)


def test_the_form_of_another_model_is_not_taken(run, tmp_path):
    folder, _ = run
    source = kept.source_of(folder / "run")
    assert kept.find(source, "openvino") is not None
    for other in (Source(name="run", digest="0", beside=source.beside), Source(name="run", digest=source.digest)):
        assert kept.find(other, "openvino") is None


def test_the_key_is_of_model_and_versions(monkeypatch):
    keys = {Source(name="", digest=digest).key(runtime) for digest in "ab" for runtime in choice.PACKAGES}
    monkeypatch.setattr(kept, "version_of", lambda runtime: "1.2.3")
    keys.add(Source(name="", digest="a").key("openvino"))
    monkeypatch.setattr("visionkit.__version__", "9")
    keys.add(Source(name="", digest="a").key("openvino"))
    assert len(keys) == 6


def test_the_option_goes_before_the_variable(monkeypatch):
    assert choice.asked("auto") == "keras"  # the variable, which conftest.py has set
    assert choice.asked("onnx") == "onnx"
    monkeypatch.setenv("VISIONKIT_RUNTIME", "openvno")
    with pytest.raises(DataError, match=r"VISIONKIT_RUNTIME: expected auto, .* found 'openvno'; did you mean"):
        choice.asked("auto")
    monkeypatch.delenv("VISIONKIT_RUNTIME")
    assert choice.asked("auto") == "auto"


def test_a_gpu_or_a_missing_package_leaves_it_to_keras(monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    monkeypatch.setattr(choice, "find_spec", lambda package: package == "onnxruntime" or None)
    assert choice.runtime_for("auto") == "onnx"
    with pytest.raises(DataError, match=r"--runtime openvino: openvino is not installed; .*-visionkit\[openvino"):
        choice.runtime_for("openvino")
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert choice.runtime_for("auto") is None
    assert choice.runtime_for("onnx") == "onnx"


def test_a_form_is_made_for_many_images_only():
    assert [choice.pays(*row) for row in ((199, 10**9), (200, 50_000_000), (200, 49_000_000), (2000, 5_000_000))] == [
        False,
        True,
        False,
        True,
    ]


@pytest.fixture
def refuses(monkeypatch):
    """Exports that differ from their model; returns how often one was tried."""
    tried = []

    def export_model(*words):
        tried.append(words)
        raise ExportError("the export differs from the model on 2 of 3 images (kept in somewhere.failed)")

    monkeypatch.setattr(make, "export_model", export_model)
    return tried


def copied(run, tmp_path):
    """A copy of the model without its form."""
    (tmp_path / "run").mkdir(exist_ok=True)
    file = tmp_path / "run" / "model.keras"
    file.write_bytes((run[0] / "run" / "model.keras").read_bytes())
    return tmp_path / "run"


def test_a_refused_form_leaves_the_model_to_keras_and_is_not_tried_again(run, auto, refuses, tmp_path, capfd):
    folder = copied(run, tmp_path)
    files = [run[0] / f"{i}.png" for i in range(3)]
    for _ in range(2):
        predictor = open_predictor(folder, runtime="openvino", images=lambda: files)
        assert predictor.runtime == "keras"
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("runtime")]
        assert said == ["runtime: keras; no form for openvino: the export differs from the model on 2 of 3 images"]
    assert len(refuses) == 1
    assert not (folder / "fast" / "openvino").exists()


def test_nothing_is_made_for_few_images(run, auto, refuses, tmp_path, capfd):
    predictor = open_predictor(copied(run, tmp_path), runtime="auto", images=lambda: [Path("0.png")] * 199)
    assert (predictor.runtime, refuses, capfd.readouterr().err) == ("keras", [], "")


def test_a_run_that_cannot_be_written_to_has_its_form_in_the_cache(run, auto, refuses, tmp_path):
    folder = copied(run, tmp_path)
    (folder / "fast").write_text("in the way")
    assert "2 of 3 images" in model.keep_form(folder, Dataset([], NAMES))
    source = kept.source_of(folder)
    place, fast = kept.find(source, "openvino")
    assert (place, fast.refused[:10]) == (tmp_path / "cache/visionkit/fast" / source.key("openvino")[:16], "the export")


def test_a_training_survives_whatever_goes_wrong(run, auto, tmp_path, monkeypatch):
    folder = copied(run, tmp_path)
    monkeypatch.setattr(make, "write_json", lambda *_: (_ for _ in ()).throw(DataError("the disk is full")))
    monkeypatch.setattr(make, "export_model", lambda *_: (_ for _ in ()).throw(ExportError("no space")))
    line = model.keep_form(folder, Dataset([], NAMES))
    assert line == f"no fast form was kept in {folder / 'fast'}: the disk is full"


@pytest.mark.parametrize(("score", "precision"), [(0.8019, "bfloat16"), (0.7970, "float32")])
def test_bfloat16_is_taken_where_the_metric_hardly_moves(run, auto, tmp_path, monkeypatch, score, precision):
    folder, made = copied(run, tmp_path), run[0] / "run" / "fast" / "openvino"

    def export_model(model, to, out, shown, count):
        out.mkdir()
        for file in made.iterdir():
            (out / file.name).write_bytes(file.read_bytes())

    found = iter((0.8, score))
    monkeypatch.setattr(make, "export_model", export_model)
    monkeypatch.setattr(make, "has_bfloat16", lambda: True)
    monkeypatch.setattr(make, "evaluate", lambda *_, intervals: {"top1": next(found)})
    image = np.zeros((*SIZE, 3), np.uint8)
    data = Dataset([Sample(id=str(i), image_size=SIZE, label=0, image=image) for i in range(50)], NAMES)
    line = model.keep_form(folder, data)
    scores = f"(top1 0.8000 in float32, {score:.4f} in bfloat16)"
    place = folder / "fast" / "openvino"
    assert line == f"fast form: openvino in {precision}, equal to the model on 3 images {scores}: {place}"
    noted = json.loads((folder / "fast" / "openvino.json").read_text())
    assert noted["scores"] == {"metric": "top1", "images": 50, "float32": 0.8, "bfloat16": score}
    wanted = {"float32": "openvino", "bfloat16": "openvino bfloat16"}[precision]
    assert open_predictor(folder, runtime="auto").runtime == wanted


def test_portraits_are_left_to_the_task(run):
    """Its export has one size."""
    task = MODELS["fcn"](tiny_backbone(), 3, NAMES, image_size=SIZE, levels=("C4", "C5"), head_units=8)
    opened = []
    fast = model.FastModel(
        run[0] / "run" / "fast" / "openvino", "openvino", "float32", lambda: opened.append(1) or task
    )
    assert not fast.any_size
    assert fast.for_size((96, 64)).image_size == (96, 64)
    fast.for_size((64, 64))
    assert opened == [1]


def test_published_weights_have_theirs_in_the_cache(auto, refuses, monkeypatch, tmp_path, capfd):
    card = type("Card", (), {"name": "tiny", "sha256": "ab", "beside": None})()
    source = Source(name=card.name, digest="tiny ab None")
    found = model.fast_model(
        source=lambda: source,
        runtime="openvino",
        size=lambda: 0,
        images=tuple,
        keras_file=lambda: nullcontext(tmp_path / "tiny.keras"),
        open_task=lambda: None,
    )
    assert found is None
    assert kept.find(source, "openvino")[0].parent == tmp_path / "cache" / "visionkit" / "fast"
    assert "making the model's fast form for openvino, once" in capfd.readouterr().err

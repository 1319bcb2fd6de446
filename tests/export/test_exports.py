"""Every MODEL through every EXPORTER: the written files, in a fresh process, give what `serving()` gives."""

import csv
import functools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree

import keras
import numpy as np
import onnx as onnx_file
import pytest
from PIL import Image
from support.models import KEYPOINTS
from support.paths import ROOT
from support.tiny import SIZE, random_batch, tiny_backbone

from visionkit.backbones.convnext import convnext
from visionkit.backbones.mobilenet_v3 import SWISH, mobilenet_v3
from visionkit.export import EXPORTERS, litert, onnx, openvino, saved_model
from visionkit.export.compare import TOLERANCES
from visionkit.export.exported import read_metadata
from visionkit.export.verify import verify
from visionkit.models import MODELS
from visionkit.score_curve import ScoreCurve
from visionkit.types import Classification, Detections

NAMES = ["cat", "dog", "cow"]
COMMON = {"num_classes": 3, "class_names": NAMES, "image_size": SIZE, "licence": "MIT"}
# Rows of MobileNetV3 with everything that they may have; the last is dilated in place of its stride.
TINY_ROWS = (
    *((3, 16, 16, True, "relu", 2), (3, 24, 16, False, SWISH, 2)),
    *((5, 32, 24, True, SWISH, 2), (5, 32, 24, True, SWISH, 2)),
)
# One level: the graphs are those of more, and the converters need a third of the time.
TWO_STAGES = COMMON | {"levels": ("C4",), "pyramid_channels": 0, "anchor_scales": (1.5,), "head_units": 16}
HEADS = COMMON | {"pyramid_channels": 16, "head_convs": 1}
# Some models are calibrated, each in another way: exporters and runtimes meet every operation of a curve.
TEMPERATURE = ScoreCurve("temperature", (0.7,), exclusive=True)
PLATT = ScoreCurve("platt", (0.8, 0.1))
ISOTONIC = ScoreCurve("isotonic", (0.0, 0.3, 0.6, 1.0, 0.05, 0.25, 0.7, 0.95))
OF_PIXELS = ScoreCurve("isotonic", ISOTONIC.numbers, exclusive=True)
BUILD = {
    "classifier": lambda: MODELS["classifier"](tiny_backbone(), head="pool", calibration=TEMPERATURE, **COMMON),
    "ssd": lambda: MODELS["ssd"](tiny_backbone(), extra_levels=0, pyramid_channels=0, levels=("C4", "C5"), **COMMON),
    "nanodet": lambda: MODELS["nanodet"](tiny_backbone(), calibration=ISOTONIC, **HEADS),
    "retinanet": lambda: MODELS["retinanet"](
        tiny_backbone(), levels=("C4",), group_norm=True, calibration=PLATT, **HEADS
    ),
    "fcos": lambda: MODELS["fcos"](tiny_backbone(), levels=("C4",), **HEADS),
    "faster_rcnn": lambda: MODELS["faster_rcnn"](tiny_backbone(), **TWO_STAGES),
    "mask_rcnn": lambda: MODELS["mask_rcnn"](tiny_backbone(), mask_channels=8, **TWO_STAGES),
    "keypoint_rcnn": lambda: MODELS["keypoint_rcnn"](tiny_backbone(), **KEYPOINTS, **TWO_STAGES),
    "fcn": lambda: MODELS["fcn"](tiny_backbone(), levels=("C4", "C5"), head_units=8, calibration=OF_PIXELS, **COMMON),
    "deeplabv3": lambda: MODELS["deeplabv3"](tiny_backbone(levels=("C3", "C4")), units=8, **COMMON),
    # On the smallest backbones with the layers of MobileNetV3 and of ConvNeXt, which the converters see here.
    "lraspp": lambda: MODELS["lraspp"](mobilenet_v3(TINY_ROWS, dilated=True), units=8, **COMMON),
    "unet": lambda: MODELS["unet"](convnext((1, 1, 1, 1), channels=(8, 8, 8, 8)), units=(8,) * 5, **COMMON),
}
# The graph of mask_rcnn holds all of faster_rcnn's, and converting either takes the better part of a minute: the
# converters are shown the larger one. FCOS has the operations of RetinaNet, but three outputs where it is cut for int8;
# lraspp has deeplabv3's kinds of layers: dilated convolutions, the average of the image, and upsampling; and
# keypoint_rcnn has those of mask_rcnn and fcn.
OWN = ("keras_file", "saved_model")
SHOWN = {
    "faster_rcnn": OWN,
    "keypoint_rcnn": (*OWN, "onnx", "litert_int8"),
    "deeplabv3": OWN,
    "fcos": (*OWN, "litert_int8"),
}
PAIRS = [(model, to) for model in BUILD for to in EXPORTERS if to in SHOWN.get(model, EXPORTERS)]
SLOW = [(model, to) for model, to in PAIRS if model in ("mask_rcnn", "keypoint_rcnn") and to not in OWN]
# Loads exports by the folders' names and runs each on 1 and on 3 images; then runs verbs.
RUN = """
import json, sys
import numpy as np
import visionkit.cli
from visionkit.export.load import load_exported
images, outputs = np.load("images.npy"), {}
for name in json.load(sys.stdin):
    serving = load_exported(name).serving()
    run = serving if callable(serving) else serving.predict_on_batch  # Keras' own would trace it
    for batch in (images[:1], images):
        for key, value in run(batch).items():
            outputs[f"{name}/{len(batch)}/{key}"] = np.asarray(value)
for words in json.loads(sys.argv[2]):
    assert visionkit.cli.main(words) == 0, words
print(json.dumps(sorted({"keras", "tensorflow", "jax"} & set(sys.modules))))
np.savez(sys.argv[1], **outputs)
"""
LEFT_TO_A_THREAD = """
import os, signal, sys, threading
from visionkit.export.load import load_exported
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
models = [load_exported(sys.argv[1])]
thread = threading.Thread(target=models.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
"""
VERBS = [
    ["detect", "ssd-onnx", "0.png", "--out", "detected", "--score", "0.2"],
    ["classify", "classifier-openvino", "0.png", "1.png", "--out", "classified"],
    ["evaluate", "classifier-openvino", "labelled", "--json", "scores.json"],
]


def lift(model):
    """Scores of random weights lie close together: this pulls them apart, so that some pass the threshold."""
    for variable in model.serving().variables:
        if "kernel" in variable.path and any(name in variable.path for name in ("class_head", "logits")):
            # Kernels that are drawn with 0.01 need more.
            factors = (("box_logits", 1000), ("class_logits", 40), (r"logits\d", 2000), ("", 12))
            variable.assign(next(factor for name, factor in factors if re.search(name, variable.path)) * variable)
        if variable.path.endswith("box_regression/bias") and variable.shape == (4,):
            variable.assign(variable + 2.0)  # FCOS: half of an untrained box's sides are 0, and such a box has no area


@functools.cache
def traced(network, batch=None, trace=saved_model.network_function):
    """A network as a tf.function, which exporters of the same network and batch can share: tracing takes seconds."""
    return trace(network, batch)


def test_every_model_is_here():
    assert set(BUILD) == set(MODELS)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    kept = {}

    def save(folder, variables, signatures):
        """As `saved_model.save_module`, once for a function: exporters in several precisions begin with the same."""
        (function,) = signatures.values()
        if function not in kept:
            kept[function] = tmp_path_factory.mktemp("kept")
            saved_model.save_module(kept[function], variables, signatures)
        shutil.copytree(kept[function], folder, dirs_exist_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        for exporter in (saved_model, onnx, openvino, litert):
            patch.setattr(exporter, "network_function", traced)
        for exporter in (openvino, litert):
            patch.setattr(exporter, "save_module", save)
        # tf2onnx then keeps no copies of the graph to go back to when one of its optimisations fails.
        patch.setenv("TF2ONNX_CATCH_ERRORS", "no")
        yield patch


@pytest.fixture(scope="module")
def chosen(request):
    """The pairs whose tests were selected, by `-m slow` for example."""
    params = [getattr(item, "callspec", None) and item.callspec.params for item in request.session.items]
    return [pair for pair in PAIRS if {"pair": pair} in params]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, quick, chosen):
    """Outputs as (of the models, of the exports), by "MODEL-EXPORTER/BATCH/OUTPUT"; and the folder of the exports."""
    folder = tmp_path_factory.mktemp("exports")
    images, _ = random_batch(batch=3)
    np.save(folder / "images.npy", images)
    shown = []
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
        shown.append(folder / f"{i}.png")
        (folder / "labelled" / ("cat", "dog")[i % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(shown[-1], folder / "labelled" / ("cat", "dog")[i % 2])
    expected, found = {}, {}
    for name, build in BUILD.items():
        keras.utils.set_random_seed(0)
        model = build()
        if name != "unet":  # whose scores lie far apart as they are
            lift(model)
        network = model.serving()
        model.serving = lambda network=network: network  # built once for all exporters
        for count in (1, 3):
            outputs = network(images[:count])  # at once, not as the graph that is exported
            expected |= {f"{name}/{count}/{key}": np.asarray(value) for key, value in outputs.items()}
        for pair in chosen:
            if pair[0] == name:
                exporter = EXPORTERS[pair[1]]
                options = {"calibration": shown} if getattr(exporter, "calibrates", False) else {}
                exporter.save(model, folder / "-".join(pair), **options)
    for number, group in enumerate((OWN, set(EXPORTERS) - set(OWN))):
        listed = json.dumps(["-".join(pair) for pair in chosen if pair[1] in group])
        verbs = [words for words in VERBS if group != OWN and words[1] in listed]
        command = [sys.executable, "-c", RUN, f"{number}.npz", json.dumps(verbs)]
        paths = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, input=listed, capture_output=True, text=True, cwd=folder, env=paths)
        assert done.returncode == 0, done.stderr
        if group != OWN:
            assert json.loads(done.stdout.splitlines()[-1]) == []  # neither Keras nor a backend was needed
        with np.load(folder / f"{number}.npz") as arrays:
            found |= dict(arrays)
    return expected, found, folder


@pytest.mark.parametrize(
    "pair",
    [pytest.param(pair, marks=[pytest.mark.slow] if pair in SLOW else [], id="-".join(pair)) for pair in PAIRS],
)
def test_outputs_are_equal(runs, pair):
    expected, found, _ = runs
    name, precision = "-".join(pair), getattr(EXPORTERS[pair[1]], "precision", "float32")
    for count in (1, 3):
        one, other = (
            {key.rpartition("/")[2]: value for key, value in outputs.items() if key.startswith(f"{start}/{count}/")}
            for outputs, start in ((expected, pair[0]), (found, name))
        )
        assert {key: (v.shape, v.dtype) for key, v in one.items()} == {k: (v.shape, v.dtype) for k, v in other.items()}
        if precision == "float32":
            for key, value in one.items():
                np.testing.assert_allclose(
                    other[key], value, rtol=0, atol=1e-3 if key == "boxes" else 1e-4, err_msg=key
                )
        elif "probabilities" in one:
            difference = np.abs(one["probabilities"] - other["probabilities"]).max()
            assert difference <= TOLERANCES[precision].probability
        else:
            report = verify(predictions(one), predictions(other), 100, TOLERANCES[precision])
            assert report["verdict"] == "passed", report


def predictions(outputs):
    """Rows of a detector's or classifier's outputs as what the comparison takes."""
    rows = []
    for i, scores in enumerate(outputs["scores"]):
        if "boxes" not in outputs:
            rows.append(Classification(id=str(i), image_size=SIZE, scores=scores))
            continue
        real = outputs["labels"][i] >= 0
        boxes, labels = outputs["boxes"][i][real], outputs["labels"][i][real]
        rows.append(Detections(id=str(i), image_size=SIZE, boxes=boxes, scores=scores[real], labels=labels))
    return rows


@pytest.mark.parametrize("name", ["classifier", "fcn", "lraspp"])
def test_onnx_transposes_only_what_goes_in_and_what_comes_out(runs, name):
    graph = onnx_file.load(runs[2] / f"{name}-onnx" / "model.onnx").graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Transpose"] == 2 < kinds["Conv"], kinds


@pytest.mark.parametrize("name", BUILD)
def test_the_models_here_find_something(runs, name):
    """Else the tests above would compare padding, or the same number everywhere."""
    expected = runs[0]
    if f"{name}/3/boxes" in expected:
        assert (expected[f"{name}/3/scores"] >= 0.3).sum() >= 9
    else:
        key = f"{name}/3/probabilities"
        assert expected[key if key in expected else f"{name}/3/scores"].std() > 0.03


def test_each_export_says_what_it_is(runs, chosen):
    for model, exporter in chosen:
        found = read_metadata(runs[2] / f"{model}-{exporter}")
        assert (found["exporter"], found["model"]) == (exporter, MODELS[model].__name__)
        assert (found["class_names"], found["image_size"], found["channels"]) == (NAMES, list(SIZE), 3)
        assert (found["licence"], found["task"]) == ("MIT", MODELS[model].task)
        assert found["resize"] == ("crop" if model == "classifier" else "letterbox")


@pytest.mark.parametrize("model", ["ssd", "nanodet", pytest.param("mask_rcnn", marks=pytest.mark.slow)])
def test_openvino_need_not_keep_the_order_of_equal_candidates(runs, model):
    """Its stable top-k takes time with N x k: seconds for a detector's thousands of candidates."""
    root = ElementTree.parse(runs[2] / f"{model}-openvino" / "model.xml").getroot()
    found = [layer.find("data").get("stable") for layer in root.find("layers") if layer.get("type") == "TopK"]
    assert found and set(found) == {"false"}


def test_a_signal_is_handled_after_another_thread_dropped_the_model(runs):
    """OpenVINO frees the stack for signals that it gave the first thread, and leaves it in use."""
    words = [sys.executable, "-c", LEFT_TO_A_THREAD, runs[2] / "classifier-openvino"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_verbs_run_an_export_in_its_own_runtime(runs):
    """In the process that was shown to hold neither Keras nor a backend."""
    assert len(json.loads((runs[2] / "detected" / "detections.json").read_text())) >= 3
    with (runs[2] / "classified" / "classes.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["file"] for row in rows} == {"0.png", "1.png"}
    assert json.loads((runs[2] / "scores.json").read_text())["images"] == 3


def test_the_page_says_which_pairs_there_are():
    page = (ROOT / "docs" / "export.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| model |"))
    assert re.findall(r"`(\w+)`", header) == list(EXPORTERS)
    told = {
        name: re.findall(r"yes|no", row) for name, row in re.findall(r"^\| `(\w+)` ((?:\| (?:yes|no) )+)", page, re.M)
    }
    paints = ["yes" if getattr(exporter, "paints", False) else "no" for exporter in EXPORTERS.values()]
    assert told == {name: ["yes"] * len(EXPORTERS) for name in BUILD} | {"style": paints}

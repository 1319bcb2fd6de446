"""The exported SavedModel against the Predictor of the model it was made from."""

import base64
import functools
import io
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import tiny_data
from support.exports import NAMES, detector
from support.paths import ROOT
from support.tiny import tiny_backbone

import visionkit
from visionkit import images
from visionkit.cli import main
from visionkit.export import EXPORTERS, decode_graph, saved_model, verify
from visionkit.export.answer_graph import detections
from visionkit.export.answers import Painting, answer_of, read_answers, write_answers
from visionkit.export.export_model import export_model
from visionkit.export.exported import read_metadata
from visionkit.export.failed import keep_failed, remove_failed
from visionkit.export.load import load_exported
from visionkit.models import Classifier
from visionkit.predict.predictor import Failure, Predictor, _in_original_pixels
from visionkit.types import Classification, DataError, Detections, SegmentationMap, check_detections

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function of how images are resized: a detector, its Predictor, and its export, loaded; each is made once."""

    @functools.cache
    def make(resize):
        model, folder = detector(resize), tmp_path_factory.mktemp("saved_model")
        saved_model.save(model, folder)
        predictor = Predictor(model, one_size=True)
        return SimpleNamespace(model=model, folder=folder, loaded=saved_model.load(folder), predictor=predictor)

    return make


@pytest.fixture(scope="module", params=["letterbox", "stretch"])
def exported(request, made):
    return made(request.param)


def rows(outputs, files):
    """Outputs of a signature as Detections."""
    arrays = {f"{name}_{i}": value for name, values in outputs.items() for i, value in enumerate(values)}
    return [answer_of(arrays, i, file) for i, file in enumerate(files)]


def agree(expected, found):
    report = verify.verify(list(expected), list(found), room=200)
    assert report["verdict"] == "passed", report["failures"]
    assert report["compared"] >= 4 * len(found)  # else the comparison proves little
    worst = {name: row["worst"] for name, row in report["measures"].items()}
    assert worst["box_difference"] < 0.1  # pixels
    assert worst["score_difference"] < 0.01  # where one pixel in six is a grey level off, see decode_graph.fit


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_bytes_give_what_the_predictor_gives(exported, photos, batch):
    found = []
    for start in range(0, len(photos), batch):
        files = photos[start : start + batch]
        found += rows(exported.loaded.predict_bytes([file.read_bytes() for file in files]), files)
    agree(exported.predictor(photos, score=0.2), found)


def test_outputs_keep_the_conventions(exported, photos):
    outputs = exported.loaded.predict_bytes([file.read_bytes() for file in photos])
    shapes = {name: (value.shape[1:], value.dtype) for name, value in outputs.items()}
    assert shapes == {
        "boxes": ((200, 4), np.float32),
        "scores": ((200,), np.float32),
        "labels": ((200,), np.int32),
        "class_names": ((200,), object),
        "image_size": ((2,), np.int32),
    }
    np.testing.assert_array_equal(outputs["image_size"], [images.image_size(file) for file in photos])
    for found in rows(outputs, photos):
        check_detections(found, num_classes=3)
    padding = outputs["labels"] == -1
    assert padding.any() and not padding.all()
    assert not outputs["boxes"][padding].any() and not outputs["scores"][padding].any()
    named = np.array([b"", *(name.encode() for name in NAMES)], object)[outputs["labels"] + 1]
    np.testing.assert_array_equal(outputs["class_names"], named)


def test_float_images_of_any_size(exported, photos):
    for file in photos[:3]:
        image = images.read_image(file)
        outputs = exported.loaded.predict_images(np.stack([image, image]))
        agree(2 * [exported.predictor(image, score=0.2)], [*rows(outputs, ["0", "1"])])


def test_a_loaded_export_takes_the_models_place_in_a_predictor(exported, photos):
    predictor = Predictor(exported.loaded, batch_size=4)
    assert predictor.class_names == NAMES
    agree(exported.predictor(photos, score=0.2), list(predictor(photos, score=0.2)))


def test_metadata_travels_in_the_folder(exported):
    found = read_metadata(exported.folder)
    assert found == {
        "visionkit": visionkit.__version__,
        "exporter": "saved_model",
        "model": "SSD",
        "task": "detect",
        "class_names": NAMES,
        "image_size": [96, 128],
        "channels": 3,
        "resize": exported.model.resize,
        "any_size": exported.model.any_size,
        "licence": "Apache-2.0",
        "calibration": exported.model.calibration.to_json(),
    }


def test_the_signature_is_the_one_tensorflow_serving_wants(exported, photos):
    """One string input whose name ends in _bytes (JSON: {"b64": ...}), and the batch first in every output."""
    loaded = tf.saved_model.load(exported.folder)
    signature = loaded.signatures["serving_default"]
    (wanted,) = signature.structured_input_signature[1].values()
    assert (wanted.name, wanted.dtype, wanted.shape.as_list()) == ("image_bytes", tf.string, [None])
    request = json.loads(json.dumps({"image_bytes": {"b64": base64.b64encode(photos[0].read_bytes()).decode()}}))
    outputs = signature(image_bytes=tf.constant([base64.b64decode(request["image_bytes"]["b64"])] * 2))
    assert {value.shape[0] for value in outputs.values()} == {2}


@pytest.mark.parametrize(
    "bad", [b"no image", b"", b"\xff\xd8\xff\xe0\x00\x10JFIF"], ids=["text", "empty", "broken jpeg"]
)
def test_bad_bytes_are_refused_and_the_next_request_works(exported, photos, bad):
    good = photos[0].read_bytes()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes|JPEG"):
        exported.loaded.predict_bytes([good, bad])
    assert exported.loaded.predict_bytes([good])["scores"].max() > 0.3


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"exporter": "saved_model"}', "[" * 100_000])
def test_a_folder_that_is_no_export_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "visionkit.json").write_text(content)
    with pytest.raises(DataError, match=f"{tmp_path}: not a model exported by visionkit"):
        load_exported(tmp_path)


def test_a_mask_is_spread_over_the_box_that_the_model_gave():
    """A letterboxed image of 48x128 whose object reaches into the filling: only its upper half is on the image."""
    masks = np.zeros((1, 2, 28, 28), np.float32)
    masks[0, :, :21] = 1  # the upper three quarters of the box
    boxes = np.float32([[[10, 8, 50, 88], [60, 50, 90, 90]]])  # the second lies in the filling
    found = {"boxes": boxes, "scores": np.float32([[0.5, 0.9]]), "labels": np.int32([[1, 0]]), "masks": masks}
    sizes = tf.constant([[96, 256]]), tf.constant([[48, 128]])  # (height, width) before and after the resize
    answer = detections({name: tf.constant(value) for name, value in found.items()}, *sizes, tf.constant(NAMES))
    arrays = {f"{name}_0": value[0].numpy() for name, value in answer.items() if value.dtype != tf.string}
    ours = answer_of(arrays, 0, Path("a.png"))
    item = SimpleNamespace(id="a", file=None, image_size=(96, 256), factors=(0.5, 0.5))
    theirs = _in_original_pixels(item, {name: value[0] for name, value in found.items()}, 0.0)
    assert ours.boxes.tolist() == theirs.boxes.tolist() == [[20, 16, 100, 96]]
    assert np.array_equal(ours.masks, theirs.masks) and ours.masks[0, 90, 60] == 1


def test_keypoints_are_those_of_the_predictor():
    """Their maps lie over the boxes in pixels of the network, whatever becomes of the boxes on the image."""
    maps = np.random.default_rng(0).normal(size=(1, 2, 14, 14, 3)).astype(np.float32)
    boxes = np.float32([[[60, 50, 90, 90], [10, 8, 50, 88]]])  # the first lies in the filling
    found = {"boxes": boxes, "scores": np.float32([[0.9, 0.5]]), "labels": np.int32([[1, 0]]), "heatmaps": maps}
    sizes = tf.constant([[96, 256]]), tf.constant([[48, 128]])
    answer = detections({name: tf.constant(value) for name, value in found.items()}, *sizes, tf.constant(NAMES))
    arrays = {f"{name}_0": value[0].numpy() for name, value in answer.items() if value.dtype != tf.string}
    ours = answer_of(arrays, 0, Path("a.png"))
    item = SimpleNamespace(id="a", file=None, image_size=(96, 256), factors=(0.5, 0.5))
    theirs = _in_original_pixels(item, {name: value[0] for name, value in found.items()}, 0.0)
    assert ours.boxes.tolist() == theirs.boxes.tolist() == [[20, 16, 100, 96]]
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-4)
    assert (ours.keypoints[..., 1] <= 96).all() and np.ptp(ours.keypoints[0, :, 0]) > 1


def classifier(channels, resize):
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, channels), name="images")
    features = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(keras.layers.Rescaling(1 / 255)(images))
    backbone = keras.Model(images, {"C2": features}, name="tiny")
    model = Classifier(backbone, 3, NAMES, (64, 96), resize, head="pool")
    model.get_layer("logits").kernel.assign(20 * model.get_layer("logits").kernel)  # else all images look alike
    return model


@pytest.mark.parametrize(("channels", "resize"), [(3, "crop"), (1, "crop"), (1, "letterbox")])
def test_a_classifier_gives_the_same_probabilities(tmp_path, photos, channels, resize):
    model = classifier(channels, resize)
    saved_model.save(model, tmp_path)
    loaded = saved_model.load(tmp_path)
    exact = [file for file in photos if file.name != "alpha.png"]  # decoded within one level, see decode_graph
    expected = np.stack([found.scores for found in Predictor(model)(exact)])
    outputs = loaded.predict_bytes([file.read_bytes() for file in exact])
    np.testing.assert_allclose(outputs["scores"], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(outputs["label"], expected.argmax(axis=1))
    assert [name.decode() for name in outputs["class_name"]] == [NAMES[k] for k in expected.argmax(axis=1)]
    assert expected.std(axis=0).max() > 1e-3  # the photos differ a hundred times more than is tolerated
    again = np.stack([found.scores for found in Predictor(loaded, batch_size=2)(exact)])
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-5)
    one = loaded.predict_images(images.read_image(exact[0])[None])
    np.testing.assert_allclose(one["scores"], expected[:1], rtol=0, atol=1e-5)


def in_process(folder, files):
    return rows(saved_model.load(folder).predict_bytes([file.read_bytes() for file in files]), files)


def flip_channels(monkeypatch):
    fit = decode_graph.fit
    monkeypatch.setattr(decode_graph, "fit", lambda images, *rest: fit(images[..., ::-1], *rest))


def stretch(monkeypatch):
    fit = decode_graph.fit
    monkeypatch.setattr(decode_graph, "fit", lambda images, size, resize: fit(images, size, "stretch"))


def ignore_exif(monkeypatch):
    monkeypatch.setattr(decode_graph, "decode_image", lambda data: tf.io.decode_image(data, 3, expand_animations=False))


@pytest.mark.parametrize("fault", [flip_channels, stretch, ignore_exif])
def test_a_planted_fault_fails_the_check(monkeypatch, tmp_path, photos, fault, made):
    right = made("letterbox")
    with monkeypatch.context() as patched:
        fault(patched)
        saved_model.save(right.model, tmp_path)
    exporter = SimpleNamespace(predict_alone=in_process)
    chosen = [file for file in photos if file.suffix == ".jpg"]
    with pytest.raises(verify.ExportError, match=r"the export differs from the model on \d of 3 images") as caught:
        verify.check_export("in_process", exporter, right.predictor, tmp_path, chosen, 200, "photos")
    assert "\n" not in str(caught.value)
    report = json.loads((tmp_path / verify.REPORT).read_text())
    assert report["verdict"] == "failed" and str(photos[-1]) in report["failures"]  # turned.jpg


def test_altered_weights_fail_in_a_fresh_process(tmp_path, photos, made):
    folder, altered = shutil.copytree(made("letterbox").folder, tmp_path / "export"), detector()
    head = altered.get_layer("class_head4")
    head.kernel.assign(1.1 * head.kernel)
    predictor = Predictor(altered, one_size=True)
    with pytest.raises(verify.ExportError, match=r"only the (model|export) finds class"):
        verify.check_export("saved_model", saved_model, predictor, folder, photos, 200, "photos")


def test_the_lone_runner_insists_on_being_alone(monkeypatch, tmp_path, exported):
    script = ROOT / "visionkit/export/run_saved_model.py"
    assert "import visionkit" not in script.read_text() and "from visionkit" not in script.read_text()
    monkeypatch.setattr(sys, "argv", [str(script), str(exported.folder), str(tmp_path / "out.npz")])
    monkeypatch.setattr(sys, "stdin", io.StringIO("[]"))
    with pytest.raises(AssertionError, match="without visionkit"):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("to", ["keras_file", "saved_model", "onnx"])  # test_exports has them all
def test_export_model_ends_in_a_checked_folder(tmp_path, photos, to, made):
    made("letterbox").model.save(tmp_path / "model.keras")
    (photos[0].parent / "broken.png").write_bytes(b"broken")
    said = export_model(tmp_path, to, tmp_path / "out", check=photos[0].parent, licence="CC-BY-4.0")
    (photos[0].parent / "broken.png").unlink()
    assert said.startswith(f"{to} in {tmp_path / 'out'}: ") and "on 6 images" in said
    report = json.loads((tmp_path / "out" / verify.REPORT).read_text())
    assert (report["verdict"], report["images"], report["exporter"]) == ("passed", 6, to)
    assert report["compared"] > 30 and report["measures"]["iou"]["worst"] > 0.99
    # The portrait, the one that EXIF turns, and the single pixel.
    assert report["other_size"] == 3 and "; 3 of them are portraits or squares, which the model itself sees" in said
    assert report["bytes"] > 20_000
    assert len(report["unreadable"]) == 1 and "broken.png" in report["unreadable"][0]
    loaded = EXPORTERS[to].load(tmp_path / "out")
    assert (loaded.class_names, loaded.licence) == (NAMES, "CC-BY-4.0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "out"]


def test_a_failed_export_leaves_nothing_where_it_was_wanted(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"no archive")
    with pytest.raises(verify.ExportError, match=r"model\.keras: cannot be loaded") as caught:
        export_model(tmp_path, "saved_model", tmp_path / "out")
    assert "\n" not in str(caught.value) and "Traceback" in caught.value.__notes__[0]
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_refused_at_once(tmp_path):
    with pytest.raises(DataError, match="no exporter 'onyx'; there are keras_file, saved_model"):
        export_model(tmp_path, "onyx", tmp_path / "out")
    with pytest.raises(DataError, match=r"a folder that holds model\.keras"):
        export_model(tmp_path, "saved_model", tmp_path / "out")
    with pytest.raises(DataError, match="litert_int8 needs images to calibrate on: --calibrate FOLDER"):
        (tmp_path / "model.keras").touch()
        export_model(tmp_path, "litert_int8", tmp_path / "out")
    with pytest.raises(DataError, match="onnx takes no --calibrate"):
        export_model(tmp_path, "onnx", tmp_path / "out", calibrate=tmp_path)
    with pytest.raises(DataError, match="must be new or empty"):
        export_model(tmp_path, "saved_model", tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(DataError, match="link: is a link or a mounted folder; name a new folder in it"):
        export_model(tmp_path, "saved_model", tmp_path / "link")
    with pytest.raises(DataError, match="--images: expected 1 or more, found 0"):
        export_model(tmp_path, "saved_model", tmp_path / "out", check=tmp_path, count=0)


def test_data_to_score_an_export_on_is_opened_before_it_is_written(tmp_path, capsys):
    model = Classifier(tiny_backbone(), 3, class_names=NAMES, image_size=(32, 32))
    model.save(tmp_path / "model.keras")
    for name in ("bee", "wasp"):
        tiny_data.picture(tmp_path / "data" / name / "1.png")
    for data, message in (("nowhere", "nowhere: no such folder"), ("data", "classes that the model lacks: wasp")):
        words = ["export", str(tmp_path), "--out", str(tmp_path / "out"), "--data", str(tmp_path / data)]
        assert main(words) == 1
        assert message in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "model.keras"]


def test_an_export_that_cannot_be_scored_is_kept_as_failed(tmp_path):
    def score(folder):
        raise DataError("a.png: broken image")

    classifier(3, "crop").save(tmp_path / "model.keras")
    with pytest.raises(verify.ExportError, match=r"a\.png: broken image \(kept in .*out\.failed\)"):
        export_model(tmp_path, "keras_file", tmp_path / "out", score=score)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.keras", "out.failed"]


def test_an_export_removes_what_it_made_and_nothing_else(tmp_path):
    """Folders with the names of a failed export and of a part of one may be anybody's."""
    classifier(3, "crop").save(tmp_path / "model.keras")
    mine = [tmp_path / "out.failed" / "mine.txt", tmp_path / "out.part" / "mine.txt"]
    for file in mine:
        file.parent.mkdir()
        file.write_text("mine")

    def fail():
        with pytest.raises(verify.ExportError, match=r"too bad \(kept in") as caught:
            export_model(tmp_path, "keras_file", tmp_path / "out", score=too_bad)
        return Path(str(caught.value).rpartition("kept in ")[2].rstrip(")"))

    def too_bad(folder):
        raise DataError("too bad")

    assert fail() == tmp_path / "out.failed-2"
    assert [file.read_text() for file in mine] == ["mine", "mine"]
    mine[0].unlink()
    mine[0].parent.rmdir()
    assert fail() == tmp_path / "out.failed"
    (tmp_path / "out.failed" / "notes.txt").write_text("mine")  # into what an export made
    export_model(tmp_path, "keras_file", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out.failed").iterdir()] == ["notes.txt"]
    assert sorted(p.name for p in tmp_path.iterdir())[1:] == ["out", "out.failed", "out.failed-2", "out.part"]


def test_a_failed_export_is_removed_by_the_next_one(tmp_path):
    part = tmp_path / "part"
    (part / "variables").mkdir(parents=True)
    (part / "variables" / "data").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").touch()
    kept = keep_failed(part, tmp_path / "out")
    remove_failed(tmp_path / "out")
    assert kept == tmp_path / "out.failed" and not kept.exists()
    (part / "variables").mkdir(parents=True)
    (part / "variables" / "data").touch()
    keep_failed(part, tmp_path / "out")
    shutil.rmtree(kept / "variables")
    (kept / "variables").symlink_to(tmp_path / "elsewhere")  # must not lead out of the folder
    remove_failed(tmp_path / "out")
    assert (tmp_path / "elsewhere" / "data").exists()


ANSWERS = [
    Detections(
        id="a.png",
        file=Path("a.png"),
        image_size=(4, 6),
        boxes=np.float32([[0, 1, 2, 3], [1, 1, 5, 4]]),
        scores=np.float32([0.9, 0.5]),
        labels=np.int32([2, 0]),
        masks=np.arange(48, dtype=np.uint8).reshape(2, 4, 6) % 2,
        keypoints=np.arange(12, dtype=np.float32).reshape(2, 2, 3),
    ),
    Detections(
        id="b.png",
        file=Path("b.png"),
        image_size=(5, 5),
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int32),
    ),
    Classification(id="c.png", file=Path("c.png"), image_size=(2, 3), scores=np.float32([0.25, 0.75])),
    SegmentationMap(id="d.png", file=Path("d.png"), image_size=(2, 3), segmentation=np.int32([[0, 1, 255], [2, 2, 2]])),
    Painting(id="e.png", file=Path("e.png"), image_size=(1, 2), painting=np.uint8([[[1, 2, 3], [4, 5, 6]]])),
]


def test_answers_come_back_from_their_file(tmp_path):
    """What a fresh process hands back; not as a pickle, which could run code."""
    failure = Failure(id="f.png", file=Path("f.png"), error="f.png: broken image")
    write_answers(tmp_path / "answers.npz", [*ANSWERS, failure])
    files = [Path(f"{name}.png") for name in "abcdef"]
    *found, error = read_answers(tmp_path / "answers.npz", files)
    assert error == "f.png: broken image"
    for expected, answer in zip(ANSWERS, found, strict=True):
        assert type(answer) is type(expected)
        for name, value in vars(expected).items():
            other = getattr(answer, name)
            if isinstance(value, np.ndarray):
                assert (other.dtype, other.tolist()) == (value.dtype, value.tolist())
            else:
                assert other == value


def test_importing_the_exporters_loads_no_framework():
    code = "import sys, visionkit.export; print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"

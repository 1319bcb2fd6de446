"""`import visionkit as vk`: instant, complete for editors, and all that Keras needs to load a saved model."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from support.house import python_files
from support.paths import ROOT

import visionkit as vk
from visionkit.cli import main
from visionkit.data.albumentations_adapter import A
from visionkit.saved_classes import CLASSES, PACKAGE, StandIn, offer


def python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_is_instant_and_loads_no_framework(tmp_path):
    code = "import sys, time; start = time.perf_counter(); import visionkit; print(time.perf_counter() - start)"
    code += "; print([name for name in ('keras', 'tensorflow', 'jax', 'numpy') if name in sys.modules])"
    seconds, loaded = python(code, tmp_path).splitlines()
    assert loaded == "[]"
    assert float(seconds) < 0.3


def test_every_public_name_is_there_documented_and_what_editors_see():
    tree = (ROOT / "visionkit" / "__init__.py").read_text()
    for name in vk.__all__:
        found = getattr(vk, name)
        assert name == "__version__" or inspect.getdoc(found), name
        assert name == "__version__" or f" as {name}" in tree, name  # under TYPE_CHECKING
    assert set(vk.__all__) <= set(dir(vk))
    assert set(vk.BACKBONES) <= set(vk.__all__)


def test_constructors_and_backbones_are_annotated():
    for make in [*vk.MODELS.values(), *vk.BACKBONES.values()]:
        for parameter in inspect.signature(make).parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, (make, parameter)


def test_a_name_that_it_lacks_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'FasterRCCN'; did you mean 'FasterRCNN'"):
        _ = vk.FasterRCCN


def test_packages_that_are_called_are_their_functions():
    assert list(inspect.signature(vk.evaluate).parameters) == ["predictor", "dataset", "closely", "intervals"]
    assert next(iter(inspect.signature(vk.train).parameters)) == "recipe_function"
    from visionkit.export.export_model import export_model

    assert inspect.signature(vk.export) == inspect.signature(export_model)
    with pytest.raises(vk.DataError, match=r"expected a \.keras file"):
        vk.export("no_such_folder", "onnx", "out")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    backbone = vk.lenet(input_shape=(32, 32, 1))
    model = vk.Classifier(backbone, 2, image_size=(32, 32))
    file = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(file)
    return file, np.asarray(model.serving()(np.full((1, 32, 32, 1), 100, "float32"))["scores"])


def test_keras_loads_a_model_after_importing_visionkit_alone(saved, tmp_path):
    file, scores = saved
    code = "import visionkit, sys, numpy as np, keras; assert 'visionkit.models' not in sys.modules\n"
    code += f"model = keras.saving.load_model({str(file)!r})\n"
    code += "print(type(model).__module__, model.serving()(np.full((1, 32, 32, 1), 100, 'float32'))['scores'][0, 0])"
    module, *rest = python(code, tmp_path).split()
    assert module == "visionkit.models.classifier"
    assert str(scores[0, 0])[:6] in " ".join(rest)


def test_classes_that_keras_knows_already_are_left_alone():
    known = {f"{PACKAGE}>SSD": vk.SSD}
    offer(SimpleNamespace(saving=SimpleNamespace(get_custom_objects=lambda: known)))  # as if Keras came first
    assert known[f"{PACKAGE}>SSD"] is vk.SSD
    assert isinstance(known[f"{PACKAGE}>FCN"], StandIn)


def test_an_import_of_keras_that_failed_may_be_tried_again(tmp_path):
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").write_text("import no_such_backend")
    code = "import visionkit, sys\nfor _ in 'ab':\n    try:\n        import keras\n    except ImportError as e:\n"
    code += "        print(e.name, sum('AfterKeras' in type(finder).__name__ for finder in sys.meta_path))"
    assert python(code, tmp_path).splitlines() == ["no_such_backend 1"] * 2


def test_every_class_that_registers_has_a_stand_in():
    """Fails where a class is registered and saved_classes.py does not list it."""
    decorated = {file for file in python_files() if "register_keras_serializable(" in file.read_text()}
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in decorated}
    assert names - {"visionkit.models.task"} <= set(CLASSES)
    for module, classes in CLASSES.items():
        loaded = __import__(module, fromlist=classes)
        registered = keras.saving.get_custom_objects()
        assert all(registered[f"{PACKAGE}>{name}"] is getattr(loaded, name) for name in classes)
    ours = {key for key, value in registered.items() if getattr(value, "__module__", "").startswith("visionkit.")}
    assert ours == {f"{PACKAGE}>{name}" for classes in CLASSES.values() for name in classes}


def test_a_stand_in_builds_the_real_layer():
    layer = StandIn("visionkit.layers.l2_normalize", "L2Normalize").from_config({"name": "norm"})
    assert type(layer).__module__ == "visionkit.layers.l2_normalize"


def test_importing_twice_puts_one_finder_in_place(tmp_path):
    code = "import importlib, sys, visionkit; importlib.reload(visionkit)\n"
    code += "print(sum('AfterKeras' in type(finder).__name__ for finder in sys.meta_path))"
    assert python(code, tmp_path).strip() == "1"


def test_finetune_takes_what_was_registered(tmp_path, monkeypatch):
    """A user's reader, backbone and detector, by their names, through the built-in recipe."""

    def tiny(input_shape=(None, None, 3), name="tiny"):
        inputs = x = keras.Input(input_shape)
        levels = {}
        for n in range(1, 6):
            x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name=f"conv{n}")(x)
            levels[f"C{n}"] = x
        return keras.Model(inputs, {level: levels[level] for level in ("C1", "C2", "C3", "C4", "C5")}, name=name)

    @keras.saving.register_keras_serializable("of_a_test")
    class MySSD(vk.SSD):
        """An SSD of one's own."""

    def read(root, split, repairs=None):
        rng = np.random.default_rng(0)
        box, label = np.array([[8, 8, 40, 40]], np.float32), np.zeros(1, np.int32)
        image = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        samples = [vk.Sample(id=f"{i}", image_size=(64, 64), image=image, boxes=box, labels=label) for i in range(4)]
        return vk.Dataset(samples, ["thing"], source="mine")

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.mine").write_text("")
    mine = vk.Reader(("detect",), "index.mine", lambda root: (root / "index.mine").exists(), lambda root: [], read)
    monkeypatch.setitem(vk.READERS, "mine", mine)
    monkeypatch.setitem(vk.BACKBONES, "tiny", tiny)
    monkeypatch.setitem(vk.MODELS, "my_ssd", MySSD)
    knobs = {"model": "my_ssd", "backbone": "tiny", "epochs": 1, "image_size": 64, "batch_size": 2}
    flip = A.Compose([A.HorizontalFlip(p=1)])
    vk.finetune(tmp_path / "data", tmp_path / "run", augment=flip, **knobs)
    saved = json.loads((tmp_path / "run" / "knobs.json").read_text())["augment"]
    assert saved["transform"]["transforms"][0]["__class_fullname__"] == "HorizontalFlip"
    recipe = vk.RECIPES["detect"](tmp_path / "data", augment=saved, **knobs)
    assert isinstance(recipe.transform, vk.Augment)
    sample = recipe.train[0]
    assert (recipe.transform(sample, 0).image == sample.image[:, ::-1]).all()
    assert type(vk.open_predictor(tmp_path / "run").model) is MySSD
    with pytest.raises(vk.DataError, match="epoch: the recipe for detect has no such knob; did you mean 'epochs'"):
        vk.finetune(tmp_path / "data", tmp_path / "other", epoch=1)
    with pytest.raises(vk.DataError, match="no such model; did you mean 'my_ssd'"):
        vk.finetune(tmp_path / "data", tmp_path / "other", model="myssd")


def test_finetune_takes_the_file_of_a_pipeline(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / name / f"{i}.png")
    A.save(A.Compose([A.HorizontalFlip(), A.ToFloat()]), tmp_path / "augment.json", data_format="json")
    assert main(["finetune", str(tmp_path / "data"), "--augment", str(tmp_path / "augment.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"visionkit: error: {tmp_path / 'augment.json'}: augmentation: ToFloat makes numbers of other"
    )
    (tmp_path / "augment.json").write_text('{"transform": {"__class_fullname__": "os.system"}}')
    assert main(["finetune", str(tmp_path / "data"), "--augment", str(tmp_path / "augment.json")]) == 1
    assert "augment.json: 'os.system' is no transform of albumentations 2.0.8" in capsys.readouterr().err


def test_every_recipe_takes_a_pipeline():
    assert all("augment" in inspect.signature(recipe).parameters for recipe in vk.RECIPES.values())

"""SavedModels from strangers: one that could do more than compute is refused before it is loaded."""

import json
import shutil
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from visionkit.cli import main
from visionkit.export.graph_scan import SAVERS, check_graph
from visionkit.open_model import open_predictor
from visionkit.types import DataError

ABOUT = {
    "visionkit": "0",
    "exporter": "saved_model",
    "model": "Classifier",
    "task": "classify",
    "class_names": ["a", "b"],
    "image_size": [4, 4],
    "channels": 3,
    "resize": "stretch",
    "licence": "unknown",
}
SPEC = tf.TensorSpec([None, 4, 4, 3], tf.float32, name="images")


def save(folder, act=lambda images: images, module=None):
    """A SavedModel that looks like an export of visionkit and calls `act` whenever it is used."""

    def network(images):
        return {"scores": tf.nn.softmax(tf.reduce_mean(act(images), axis=[1, 2])[:, :2])}

    module = module or tf.Module()
    module.weight = tf.Variable([1.0])  # there are functions that save and restore it
    tf.saved_model.save(module, str(folder), signatures={"serving_network": tf.function(network, [SPEC])})
    (folder / "visionkit.json").write_text(json.dumps(ABOUT))
    return folder


def writes(images):
    with tf.control_dependencies([tf.io.write_file("written", "by a model")]):
        return tf.identity(images)


def reads(images):
    return images + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def lists(images):
    return images + tf.cast(tf.size(tf.io.matching_files("/*")), tf.float32)


def python(images):
    return tf.ensure_shape(tf.py_function(lambda x: x, [images], tf.float32), [None, 4, 4, 3])


def restores(images):
    (value,) = tf.raw_ops.RestoreV2(prefix="p", tensor_names=["t"], shape_and_slices=[""], dtypes=[tf.float32])
    return images + value


def hidden(images):
    """In a branch of a branch."""
    deep = tf.function(lambda x: tf.cond(x[0, 0, 0, 0] > 1, lambda: writes(x), lambda: x))
    return tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, deep(x)), [0, images])[1]


ACTS = {"WriteFile": (writes, hidden), "ReadFile": (reads,), "MatchingFiles": (lists,), "EagerPyFunc": (python,)}
ACTS["RestoreV2"] = (restores,)


@pytest.mark.parametrize(("operation", "act"), [(name, act) for name, acts in ACTS.items() for act in acts])
def test_operations_on_files_and_python_are_refused(operation, act, tmp_path):
    folder = save(tmp_path / "export", act)
    with pytest.raises(DataError, match=f"is a program, and this one contains the operation {operation} "):
        open_predictor(folder)


def test_it_is_refused_before_it_can_write_and_opened_where_it_is_trusted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(Path("export"), writes)
    keras.utils.save_img("a.png", [[[0, 0, 0]]], scale=False)
    command = ["classify", "export", "a.png", "--out", "out"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("visionkit: error: export: a SavedModel is a program, and this one contains the operation")
    assert error.endswith("; if you trust it, add --trust\n") and error.count("\n") == 1
    assert not Path("written").exists()
    assert main([*command, "--trust"]) == 0
    assert Path("written").read_text() == "by a model"
    Path("written").unlink()
    measure = ["bench", "export", "--batch", "1", "--rounds", "1"]
    assert main(measure) == 1 and not Path("written").exists()
    assert capsys.readouterr().err.endswith("; if you trust it, add --trust\n")
    assert main([*measure, "--trust"]) == 0 and Path("written").exists()


def test_one_that_only_computes_is_opened(tmp_path):
    folder = save(tmp_path / "export")
    predictor = open_predictor(folder)
    assert predictor.class_names == ["a", "b"]
    shutil.copy(folder / "saved_model.pb", folder / "saved_model.cpb")  # which TensorFlow would read as well
    with pytest.raises(DataError, match=r"holds saved_model\.cpb beside or in place of"):
        check_graph(folder)


def test_functions_that_save_variables_cannot_be_called(tmp_path):
    """They are in every SavedModel, and contain SaveV2: here the network calls one."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = save(tmp_path / "export") / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    library = model.meta_graphs[0].graph_def.library
    saver = next(function for function in library.function if "traced_save" in function.signature.name)
    network = next(function for function in library.function if "signature_wrapper" in function.signature.name)
    node = network.node_def.add(name="sly", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saver.signature.name
    file.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=f"contains the operation ({'|'.join(SAVERS)}) "):
        check_graph(file.parent)


def test_a_tensor_may_be_captured_from_what_computes_and_from_nothing_else(tmp_path):
    """keras.applications' networks capture tensors; here one is of a function that saves variables."""
    from tensorflow.core.protobuf import saved_model_pb2

    file = save(tmp_path / "export") / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    names = [function.signature.name for function in model.meta_graphs[0].graph_def.library.function]
    captured = model.meta_graphs[0].object_graph_def.nodes.add().captured_tensor
    captured.name = "any:0"
    captured.concrete_function = next(name for name in names if "signature_wrapper" in name)
    file.write_bytes(model.SerializeToString())
    check_graph(file.parent)
    captured.concrete_function = next(name for name in names if "traced_save" in name)
    file.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=f"contains the operation ({'|'.join(SAVERS)}) "):
        check_graph(file.parent)


def test_tables_and_files_that_are_read_while_loading_are_refused(tmp_path):
    module, words = tf.Module(), tmp_path / "words.txt"
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words.write_text("a\nb\n")
    table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(str(words), tf.string, line, tf.int64, number), -1)
    module.table = table
    folder = save(tmp_path / "export", lambda x: x + tf.cast(table.lookup(tf.constant("a")), tf.float32), module)
    with pytest.raises(DataError, match=r"this one contains (an object of the kind|the operation)"):
        check_graph(folder)


def test_the_format_of_tensorflow_1_is_refused(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "export"))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    with pytest.raises(DataError, match="is in the format of TensorFlow 1"):
        check_graph(tmp_path / "export")


def test_a_broken_one_is_one_line(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="broken SavedModel"):
        check_graph(tmp_path)
